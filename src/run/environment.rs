//! The machine and the versions of everything that takes part, for the record.

use std::collections::BTreeMap;

use crate::peer::browser::BrowserInfo;

/// The version of the stack of native peers, as `Cargo.toml` pins it.
const WEBRTC: &str = "0.21.1";

/// What is known of the machine, by name. What it does not tell is absent.
pub(super) fn describe() -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            environment.insert(name.to_owned(), value);
        }
    };
    let uname = rustix::system::uname();
    put("harness", Some(env!("CARGO_PKG_VERSION").into()));
    put("webrtc", Some(WEBRTC.into()));
    put("host", hostname::get().ok().and_then(|name| name.into_string().ok()));
    put("os", os_release());
    put("kernel", Some(format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy())));
    put("architecture", Some(uname.machine().to_string_lossy().into_owned()));
    put("cores", std::thread::available_parallelism().ok().map(|cores| cores.to_string()));
    put("cpu", cpu_model());
    put("memory_bytes", memory_bytes());
    environment
}

/// The versions of the browsers and drivers that are there.
pub(super) fn browsers<'a>(found: impl Iterator<Item = &'a BrowserInfo>) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    for browser in found {
        let name = browser.engine.name();
        environment.insert(name.to_owned(), browser.browser_version.clone());
        if let Some(version) = &browser.driver_version {
            environment.insert(format!("{name}_driver"), version.clone());
        }
    }
    environment
}

fn os_release() -> Option<String> {
    let text = std::fs::read_to_string("/etc/os-release").ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches('"').to_owned())
}

fn cpu_model() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_bytes() -> Option<String> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kilobytes: u64 = text.lines().next()?.split_whitespace().nth(1)?.parse().ok()?;
    Some((kilobytes * 1024).to_string())
}

#[cfg(test)]
mod tests {
    use super::WEBRTC;

    #[test]
    fn the_version_of_the_stack_is_the_pinned_one() {
        let manifest = include_str!("../../Cargo.toml");
        assert!(manifest.lines().any(|line| line == format!("webrtc = \"={WEBRTC}\"")));
    }
}
