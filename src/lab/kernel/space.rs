//! The lab's own user, pid and mount namespaces: entering them, and dying with them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::process::{Pid, Signal, getegid, geteuid, kill_process, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::LabError;

/// Set inside the lab: its scratch directory.
const SCRATCH: &str = "HARNESS_LAB";

/// Where the scratch directory can be mounted: these exist everywhere, and a lab's programs need nothing in them.
/// `/dev/shm` comes last because a record is more likely to be written to it than to the others.
const MOUNT_POINTS: [&str; 4] = ["/mnt", "/media", "/srv", "/dev/shm"];

/// How long the program has after a second signal before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether this process is inside a lab's namespaces.
pub fn inside() -> bool {
    std::env::var_os(SCRATCH).is_some()
}

/// A directory that vanishes with the lab, on a file system of its own.
pub(super) fn scratch() -> Result<PathBuf, LabError> {
    std::env::var_os(SCRATCH).map(PathBuf::from).ok_or(LabError::Outside)
}

/// Replaces this process by `harness lab`, which starts it again with the same arguments inside a lab's namespaces.
/// Returns only when that fails.
pub fn enter() -> LabError {
    let mut command = std::process::Command::new("/proc/self/exe");
    command.args(["lab", "--"]);
    match std::env::current_exe() {
        Ok(program) => command.arg(program),
        Err(error) => return LabError::System { what: "find its own program", source: error },
    };
    let source = command.args(std::env::args_os().skip(1)).exec();
    LabError::System { what: "start itself again", source }
}

/// Runs `program` inside namespaces of its own and waits for its end.
///
/// `again` is the subcommand of this program that calls [`settle`] with the arguments that follow it: the id of this
/// process, the mount point of the scratch directory, and `program`. SIGINT and SIGTERM are passed on.
///
/// # Errors
///
/// When the namespaces are refused, or there is more than one thread: no process with threads may enter a user namespace.
pub fn enclose(again: &[&str], program: &[OsString]) -> Result<ExitStatus, LabError> {
    separate()?;
    let mount_point = mount_point(program).ok_or_else(|| LabError::System {
        what: "find a place for its files",
        source: io::Error::other(format!("none of {} can be used", MOUNT_POINTS.join(", "))),
    })?;
    // No thread can be started any more in this process, whose children live in another pid namespace.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(LabError::system("start its runtime"))?;
    runtime.block_on(async {
        let mut command = tokio::process::Command::new("/proc/self/exe");
        command.args(again).arg(std::process::id().to_string()).arg(mount_point).arg("--").args(program);
        // Ctrl-C reaches the foreground process group: this process alone, so that the program sees each signal once.
        command.process_group(0);
        wait(command).await.map_err(LabError::system("run its first process"))
    })
}

/// Prepares the namespaces from inside, as their first process, and becomes `program`. Returns only when that fails.
///
/// `outer` is the id of the process that called [`enclose`]; when that dies, this process does, and with it, being the
/// first of its pid namespace, every other one in there.
pub fn settle(outer: u32, mount_point: &Path, program: &[OsString]) -> LabError {
    match prepare(outer, mount_point) {
        Ok(()) => {}
        Err(error) => return error,
    }
    let Some((program, arguments)) = program.split_first() else { return LabError::Outside };
    // Programs that are killed leave their temporary files behind: those must lie where they vanish.
    let source =
        std::process::Command::new(program).args(arguments).env(SCRATCH, mount_point).env("TMPDIR", mount_point).exec();
    LabError::System { what: "start the program", source }
}

/// Leaves the pid and mount namespaces, and where that takes one, the user namespace.
fn separate() -> Result<(), LabError> {
    let flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    let (uid, gid) = (geteuid(), getegid());
    if uid.is_root() {
        match unshare(flags) {
            // In a container, root may lack the right; a user namespace may give it.
            Err(nix::Error::EPERM) => {}
            other => {
                let failed = |error: nix::Error| LabError::Namespace { what: "make namespaces", source: error.into() };
                return other.map_err(failed);
            }
        }
    }
    unshare(CloneFlags::CLONE_NEWUSER | flags).map_err(|error| LabError::UserNamespaces(error.into()))?;
    // In the new namespace this user is root. Groups cannot be mapped by who could still drop one (CVE-2014-8989).
    let maps = [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {} 1", uid.as_raw())),
        ("/proc/self/gid_map", format!("0 {} 1", gid.as_raw())),
    ];
    maps.iter().try_for_each(|(path, text)| fs::write(path, text)).map_err(LabError::UserNamespaces)
}

fn prepare(outer: u32, mount_point: &Path) -> Result<(), LabError> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| LabError::System { what: "tie its life to its parent's", source: error.into() })?;
    // The signal comes only if the parent dies from now on.
    if parent() != Some(outer) {
        return Err(LabError::System { what: "start", source: io::Error::other("its parent is dead") });
    }
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(|error| match error {
        // AppArmor lets anybody make a user namespace, and then gives no rights in it.
        nix::Error::EPERM | nix::Error::EACCES => LabError::UserNamespaces(error.into()),
        error => LabError::Namespace { what: "keep its mounts to itself", source: error.into() },
    })?;
    mount_on("proc", Path::new("/proc"), none)?;
    mount_on("tmpfs", mount_point, Some("mode=1777"))
}

fn mount_on(what: &'static str, target: &Path, data: Option<&str>) -> Result<(), LabError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some(what), target, Some(what), flags, data).map_err(|error| LabError::Mount {
        what,
        target: target.display().to_string(),
        source: error.into(),
    })
}

/// The parent's id in the namespace of the `/proc` that is mounted, which is still the parent's: `getppid` would say 0.
fn parent() -> Option<u32> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// The first mount point that hides nothing that is in use: no file in it, and no mention of it in the arguments.
fn mount_point(arguments: &[OsString]) -> Option<&'static str> {
    let used: Vec<OsString> = [std::env::current_dir().ok(), std::env::current_exe().ok()]
        .into_iter()
        .flatten()
        .map(PathBuf::into_os_string)
        .chain(std::env::var_os("HARNESS_OUT"))
        .chain(arguments.iter().cloned())
        .collect();
    let free = |point: &&str| match fs::read_dir(point) {
        // What others share in there is of no use inside.
        Ok(_) if *point == "/dev/shm" => true,
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => false,
    };
    MOUNT_POINTS.into_iter().filter(|point| !mentions(&used, point)).find(free)
}

fn mentions(texts: &[OsString], point: &str) -> bool {
    let holds = |text: &OsStr| text.as_bytes().windows(point.len()).any(|part| part == point.as_bytes());
    texts.iter().any(|text| holds(text))
}

async fn wait(mut command: tokio::process::Command) -> io::Result<ExitStatus> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut child = command.spawn()?;
    let process = child.id().and_then(|id| Pid::from_raw(id as i32));
    let mut signals = 0;
    let mut deadline = None;
    loop {
        let passed_on = tokio::select! {
            status = child.wait() => return status,
            _ = interrupt.recv() => Signal::INT,
            _ = terminate.recv() => Signal::TERM,
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => Signal::KILL,
        };
        signals += 1;
        if signals == 2 {
            deadline = Some(Instant::now() + PATIENCE);
        }
        if let Some(process) = process {
            kill_process(process, passed_on)?;
        }
    }
}

/// The number that a shell would give to a process that ended so.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_in_use_is_found_in_every_spelling() {
        let texts = |text: &str| [OsString::from("run"), OsString::from(text)];
        for used in ["/mnt", "/mnt/out", "--out=/mnt/out", "file:///mnt"] {
            assert!(mentions(&texts(used), "/mnt"), "{used}");
        }
        assert!(!mentions(&texts("--out=/tmp/mn"), "/mnt"));
    }

    #[test]
    fn the_parent_is_known() {
        assert_eq!(parent(), Some(std::os::unix::process::parent_id()));
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
    }
}
