//! The machine and the versions of everything that takes part, for the record.

use std::collections::BTreeMap;

use crate::peer::browser::BrowserInfo;
use crate::plan::Engine;

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

/// The versions of the browsers and drivers that are there: what several groups have in common once, and every person's.
pub(super) fn browsers<'a>(found: impl Iterator<Item = &'a BrowserInfo>) -> BTreeMap<String, String> {
    let mut versions: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for browser in found {
        let name = browser.engine.name();
        let driver = browser.driver_version.as_deref().map(|version| (format!("{name}_driver"), version));
        for (name, version) in [(name.to_owned(), browser.browser_version.as_str())].into_iter().chain(driver) {
            let known = versions.entry(name).or_default();
            if browser.engine == Engine::Human || !known.contains(&version) {
                known.push(version);
            }
        }
    }
    versions.into_iter().map(|(name, versions)| (name, versions.join("; "))).collect()
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
    use super::*;

    #[test]
    fn every_group_has_its_say() {
        let info = |engine, browser: &str, driver: Option<&str>| BrowserInfo {
            engine,
            browser_version: browser.into(),
            driver_version: driver.map(str::to_owned),
        };
        let found = [
            info(Engine::Chromium, "140", Some("140.1")),
            info(Engine::Human, "Firefox, test picture and tone", None),
            info(Engine::Chromium, "141", Some("140.1")),
            info(Engine::Human, "Safari, camera and microphone", None),
            info(Engine::Human, "Safari, camera and microphone", None),
        ];
        let environment = browsers(found.iter());
        assert_eq!(environment["chromium"], "140; 141");
        assert_eq!(environment["chromium_driver"], "140.1");
        let people = "Firefox, test picture and tone; Safari, camera and microphone; Safari, camera and microphone";
        assert_eq!(environment["human"], people);
    }

    #[test]
    fn the_version_of_the_stack_is_the_pinned_one() {
        let manifest = include_str!("../../Cargo.toml");
        assert!(manifest.lines().any(|line| line == format!("webrtc = \"={WEBRTC}\"")));
    }
}
