//! The programs that a scenario names: each at a host of its own behind the networks, told by its environment what it needs
//! to take part, and gone with the run.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, test_kill_process_group, waitpgid};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::peer::network::{IceServer, PeerHost, PeerNetwork};
use crate::plan::{Engine, IceTransportPolicy, Plan, ProgramPlan};
use crate::record::{EventKind, ProgramEnd, Recorder, RunDirectory};

/// How long a program has to end by itself once the calls are over, as a client does, or one that gave a call up.
const OWN_END: Duration = Duration::from_secs(1);

/// How long a program has to end after SIGTERM, and what it leaves behind after SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
const KILL_DEADLINE: Duration = Duration::from_secs(1);

/// How often it is asked whether all of a program has gone.
const ASK: Duration = Duration::from_millis(10);

/// As much of the end of a log as last words are looked for in, and how many lines of it are told.
const TAIL: usize = 2048;
const LINES: usize = 3;

/// Programs that run.
#[derive(Default)]
pub(super) struct Programs {
    watches: JoinSet<()>,
    stop: CancellationToken,
}

impl Programs {
    /// Starts a program at its place.
    ///
    /// # Errors
    ///
    /// A program that is not there, or cannot be run; a log that cannot be written.
    pub(super) fn start(
        &mut self,
        program: &ProgramPlan,
        place: &PeerNetwork,
        plan: &Plan,
        directory: &RunDirectory,
        recorder: &Recorder,
    ) -> Result<(), StartError> {
        let file = format!("{}.log", program.name);
        let log = directory.path().join(&file);
        let failed = |error: io::Error| format!("the log of the program {}: {error}", program.name);
        let output = File::create(&log).map_err(failed)?;
        let (name, arguments) =
            program.command.split_first().ok_or_else(|| "a program without a command".to_owned())?;
        let mut command = Command::new(name);
        command
            .args(arguments)
            .envs(environment(program, place, plan, directory)?)
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(failed)?)
            .stderr(output)
            // What it starts is ended with it.
            .process_group(0)
            .kill_on_drop(true);
        let process = spawn(&place.host, command).map_err(|error| refused(program, &error))?;
        let running = Running { name: program.name.clone(), group: group(&process), process, file, log };
        self.watches.spawn(running.watch(self.stop.clone(), recorder.clone()));
        Ok(())
    }

    /// Ends them all, with what they started.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        while self.watches.join_next().await.is_some() {}
    }
}

struct Running {
    name: String,
    process: Child,
    group: Option<Pid>,
    file: String,
    log: PathBuf,
}

impl Running {
    async fn watch(mut self, stop: CancellationToken, recorder: Recorder) {
        let asked = async {
            stop.cancelled().await;
            sleep(OWN_END).await;
        };
        let ended = tokio::select! {
            // An end that nobody asked for is told, even if somebody was just about to.
            biased;
            ended = self.process.wait() => ended.ok(),
            () = asked => None,
        };
        if let Some(status) = ended {
            recorder.record(EventKind::ProgramEnded(self.ended(status)));
            // What it started may go on.
            stop.cancelled().await;
        }
        self.end().await;
    }

    fn ended(&self, status: ExitStatus) -> ProgramEnd {
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with exit code {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended".into(),
        };
        let said = std::fs::read(&self.log).ok().and_then(|said| last_words(&said));
        let (name, log) = (self.name.clone(), self.file.clone());
        ProgramEnd { name, how, ok: status.success(), last_words: said, log }
    }

    async fn end(mut self) {
        let Some(group) = self.group else { return };
        for (signal, patience) in [(Signal::TERM, GRACE), (Signal::KILL, KILL_DEADLINE)] {
            let _ = kill_process_group(group, signal);
            let deadline = Instant::now() + patience;
            loop {
                let gone = matches!(self.process.try_wait(), Ok(Some(_))) && reap(group);
                if gone {
                    return;
                }
                if Instant::now() >= deadline {
                    break;
                }
                sleep(ASK).await;
            }
        }
        tracing::warn!("the program {} does not end; its processes end with the run", self.name);
    }
}

/// Takes note of those that ended of a group whose first process has; says whether none is left. The run is the first
/// process of its namespace, so that whatever a program leaves behind becomes its child.
fn reap(group: Pid) -> bool {
    while let Ok(Some(_)) = waitpgid(group, WaitOptions::NOHANG) {}
    test_kill_process_group(group).is_err()
}

/// The program leads a group of its own.
fn group(process: &Child) -> Option<Pid> {
    Pid::from_raw(process.id()?.cast_signed())
}

/// What a program is told. Secrets are here and nowhere else.
fn environment(
    program: &ProgramPlan,
    place: &PeerNetwork,
    plan: &Plan,
    directory: &RunDirectory,
) -> Result<Vec<(&'static str, OsString)>, String> {
    let absolute = |path: &Path| std::path::absolute(path).map(PathBuf::into_os_string);
    let failed = |error: io::Error| format!("the path of a CA: {error}");
    let servers: Vec<Value> = place.ice.servers.iter().map(server).collect();
    let policy = match plan.ice.policy {
        IceTransportPolicy::All => "all",
        IceTransportPolicy::Relay => "relay",
    };
    let mut variables = vec![
        ("HARNESS_NAME", program.name.clone().into()),
        ("HARNESS_SIGNALING_URL", place.signaling.url.clone().into()),
        ("HARNESS_CA_FILE", absolute(&directory.path().join("ca.pem")).map_err(failed)?),
        ("HARNESS_ICE_SERVERS", Value::from(servers).to_string().into()),
        ("HARNESS_ICE_POLICY", policy.into()),
    ];
    if let Some(ca) = &place.ice.ca {
        variables.push(("HARNESS_TURN_CA_FILE", absolute(ca).map_err(failed)?));
    }
    for address in place.host.addresses() {
        let name = if address.is_ipv4() { "HARNESS_ADDRESS" } else { "HARNESS_ADDRESS_IPV6" };
        variables.push((name, IpAddr::to_string(address).into()));
    }
    if let Some((room, role)) = call(program, plan) {
        variables.extend([("HARNESS_ROOM", room.into()), ("HARNESS_ROLE", role.into())]);
    }
    Ok(variables)
}

/// As W3C's `RTCIceServer`.
fn server(server: &IceServer) -> Value {
    let mut value = json!({ "urls": server.urls });
    if let Some(username) = &server.username {
        value["username"] = username.as_str().into();
    }
    if let Some(credential) = &server.credential {
        value["credential"] = credential.expose().into();
    }
    value
}

/// The room that the program's call is in, and which end the program is, if there is no doubt about it.
fn call<'a>(program: &ProgramPlan, plan: &'a Plan) -> Option<(&'a str, &'static str)> {
    let site = program.site.as_ref()?;
    let ends = plan.calls.iter().flat_map(|call| {
        [("offerer", &call.offerer), ("answerer", &call.answerer)].map(|(role, peer)| (&*call.room, role, peer))
    });
    let mut clients = ends.filter(|(_, _, peer)| {
        peer.site.as_ref() == Some(site)
            && plan.group(&peer.group).is_some_and(|group| group.engine == Engine::External)
    });
    let (room, role, _) = clients.next()?;
    clients.next().is_none().then_some((room, role))
}

fn spawn(host: &PeerHost, mut command: Command) -> io::Result<Child> {
    match host {
        #[cfg(target_os = "linux")]
        PeerHost::Namespace(host) => host.spawn_async(command).map_err(io::Error::from),
        _ => command.spawn(),
    }
}

fn refused(program: &ProgramPlan, error: &io::Error) -> StartError {
    let file = program.command.first().map_or("", String::as_str);
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => format!("make it a file that this user may run: chmod +x {file}"),
        _ => format!("install {file}, put it on the path, or correct `command` in [[network.program]]"),
    };
    StartError::Missing { reason: format!("the program {} ({file}) does not start: {error}", program.name), remedy }
}

/// The last lines with any text, as one; absent if there is none.
fn last_words(said: &[u8]) -> Option<String> {
    let tail = String::from_utf8_lossy(&said[said.len().saturating_sub(TAIL)..]);
    let lines = tail.lines().rev().filter(|line| !line.trim().is_empty()).take(LINES);
    let mut lines: Vec<String> = lines.map(|line| line.trim().replace(char::is_control, " ")).collect();
    lines.reverse();
    (!lines.is_empty()).then(|| lines.join(" / "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_the_last_words() {
        assert_eq!(last_words(b"one\ntwo\n\nthree\n  four\x1b[0m\n").as_deref(), Some("two / three / four [0m"));
        assert_eq!(last_words(b"\n \n"), None);
    }

    #[test]
    fn servers_are_told_as_browsers_take_them() {
        let stun = IceServer { urls: vec!["stun:11.0.0.2:3478".into()], username: None, credential: None };
        assert_eq!(server(&stun).to_string(), r#"{"urls":["stun:11.0.0.2:3478"]}"#);
        let credential = Some("secret".to_owned().into());
        let turn = IceServer { urls: vec!["turn:11.0.0.1".into()], username: Some("user".into()), credential };
        assert_eq!(server(&turn)["credential"], "secret");
    }
}
