//! What a process may have on this machine at most.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Memory;

/// How the hard limit of open descriptors is raised.
pub(crate) const MORE_OPEN_FILES: &str = "LimitNOFILE of the service, limits.conf, or ulimit -Hn as root";
/// How the range of ephemeral ports is widened.
pub(crate) const MORE_PORTS: &str = "sysctl -w net.ipv4.ip_local_port_range=\"10000 65535\"";
/// How memory becomes available.
pub(crate) const MORE_MEMORY: &str = "end other programs, or raise the control group's limit";

/// The limits that decide how many peers fit. What the system does not tell, or does not limit, is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Limits {
    /// How many descriptors this process may have open: the soft `RLIMIT_NOFILE`.
    pub(crate) open_files_soft: Option<u64>,
    /// How far the process may raise that by itself: the hard `RLIMIT_NOFILE`.
    pub(crate) open_files_hard: Option<u64>,
    /// How many ports the system gives to sockets that ask for none in particular, per address and protocol.
    pub(crate) ports: Option<u64>,
    /// The memory that is there.
    pub(crate) memory: Option<Memory>,
    /// The largest receive buffer that a socket may ask for, in bytes: `net.core.rmem_max`.
    pub(crate) receive_buffer: Option<u64>,
    /// The largest send buffer that a socket may ask for, in bytes: `net.core.wmem_max`.
    pub(crate) send_buffer: Option<u64>,
    /// Cores that this process may run on.
    pub(crate) cores: Option<u64>,
    /// Cores' worth of time that the control group's quota gives.
    pub(crate) quota_cores: Option<f64>,
    /// How the clock of the first core is governed, such as `performance` or `powersave`.
    pub(crate) governor: Option<String>,
}

/// The limits of this process on this machine.
pub(crate) fn limits() -> Limits {
    let open_files = getrlimit(Resource::Nofile);
    Limits {
        open_files_soft: open_files.current,
        open_files_hard: open_files.maximum,
        ports: read("/proc/sys/net/ipv4/ip_local_port_range").as_deref().and_then(count_ports),
        memory: memory(),
        receive_buffer: number("/proc/sys/net/core/rmem_max"),
        send_buffer: number("/proc/sys/net/core/wmem_max"),
        cores: cores(),
        quota_cores: super::control_group::ControlGroup::own().cores(),
        governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    }
}

/// Raises the soft limit of open descriptors to `wanted`, or as near to it as the hard limit allows. Programs that are
/// started afterwards have the new limit, too.
///
/// # Errors
///
/// That of setrlimit(2), for a limit that the system does not grant.
pub(crate) fn raise_open_files(wanted: u64) -> rustix::io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum.map_or(wanted, |hard| wanted.min(hard));
    setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum: limit.maximum })
}

/// Without regard to the control group's quota, which the standard library takes off.
#[cfg(target_os = "linux")]
fn cores() -> Option<u64> {
    rustix::thread::sched_getaffinity(None).ok().map(|cores| cores.count().into())
}

#[cfg(not(target_os = "linux"))]
fn cores() -> Option<u64> {
    std::thread::available_parallelism().ok().map(|cores| cores.get() as u64)
}

#[cfg(target_os = "linux")]
fn memory() -> Option<Memory> {
    super::linux::memory()
}

#[cfg(not(target_os = "linux"))]
fn memory() -> Option<Memory> {
    None
}

/// How many there are from the first to the last.
fn count_ports(range: &str) -> Option<u64> {
    let (first, last) = range.split_once(char::is_whitespace)?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.trim().parse().ok()?);
    Some((last + 1).saturating_sub(first))
}

fn number(path: &str) -> Option<u64> {
    read(path)?.parse().ok()
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_counted_with_both_ends() {
        assert_eq!(count_ports("32768\t60999"), Some(28_232));
        assert_eq!(count_ports("5000 5000"), Some(1));
        assert_eq!(count_ports("5000"), None);
    }

    #[test]
    fn a_soft_limit_is_never_raised_past_the_hard_one() {
        let before = getrlimit(Resource::Nofile);
        raise_open_files(u64::MAX - 1).unwrap_or_default();
        let after = getrlimit(Resource::Nofile);
        assert_eq!(after.maximum, before.maximum);
        assert!(after.current >= before.current);
    }
}
