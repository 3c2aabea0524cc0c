//! Drivers and browsers as programs: finding them, asking their versions, starting a driver behind a guard.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::guarded::Guarded;
use crate::peer::network::PeerHost;
use crate::plan::{BrowserPlan, Engine};

/// How long a program may take to say its version; a cold disk makes browsers slow.
const VERSION_DEADLINE: Duration = Duration::from_secs(20);
/// How long a driver may take to listen.
const LISTEN_DEADLINE: Duration = Duration::from_secs(20);

/// Why a browser cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum Unavailable {
    /// A program is not installed.
    #[error("{what} is not installed ({looked})")]
    Missing {
        /// What it is.
        what: &'static str,
        /// Where it was looked for.
        looked: String,
        /// How to get it.
        remedy: &'static str,
    },
    /// A program does not say its version.
    #[error("{program} does not say its version: {reason}")]
    NoVersion {
        /// The program.
        program: String,
        /// Why.
        reason: String,
    },
    /// A driver cannot drive this browser.
    #[error("{driver} is for another major version than {browser}")]
    Mismatch {
        /// The driver with its version.
        driver: String,
        /// The browser with its version.
        browser: String,
    },
    /// A driver does not start.
    #[error("{driver} does not start: {reason}")]
    Driver {
        /// The driver.
        driver: String,
        /// Why.
        reason: String,
    },
    /// The driver starts no browser.
    #[error("{engine} does not start: {reason}")]
    Session {
        /// The engine.
        engine: &'static str,
        /// Why.
        reason: String,
    },
    /// The browser does not load the page of the harness.
    #[error("{engine} does not load {url}: {reason}")]
    Page {
        /// The engine.
        engine: &'static str,
        /// The page.
        url: String,
        /// Why.
        reason: String,
    },
    /// The browser cannot do what the plan asks for.
    #[error("{engine} cannot take part: {reason}")]
    Incapable {
        /// The engine.
        engine: &'static str,
        /// What is lacking.
        reason: String,
    },
    /// People were invited, and not all of them came.
    #[error("{}", describe_absent(*joined, *of, *waited))]
    Nobody {
        /// How many have joined.
        joined: usize,
        /// Of how many.
        of: usize,
        /// For how long they were waited for.
        waited: Duration,
    },
    /// There is no network that the browser would use.
    #[error("firefox gathers no candidates on a machine without a default route")]
    NoRoute,
}

impl Unavailable {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Missing { remedy, .. } => (*remedy).into(),
            Self::NoVersion { program, .. } => format!("run `{program} --version` and repair the installation"),
            Self::Mismatch { .. } => {
                "install both from one source, such as `apt-get install chromium chromium-driver`".into()
            }
            Self::Driver { .. } => "run the driver by hand and repair the installation".into(),
            Self::Session { .. } => "run `harness doctor`, and start the browser by hand to see what it lacks".into(),
            Self::Page { .. } => "open the page by hand; check that the server runs and that its certificate is the \
                                  one the harness was told"
                .into(),
            Self::Incapable { .. } => "choose another codec or engine in the scenario".into(),
            Self::Nobody { .. } => {
                "open each person's link in a browser and press Join there; with a greater `wait` of the \
                                    group the run waits longer"
                    .into()
            }
            Self::NoRoute => "give the machine a route, such as `ip route add default dev lo`".into(),
        }
    }
}

fn describe_absent(joined: usize, of: usize, waited: Duration) -> String {
    let seconds = waited.as_secs_f64();
    if joined == 0 {
        format!("nobody has joined within {seconds} s")
    } else {
        format!("{joined} of {of} people have joined within {seconds} s")
    }
}

/// A driver and a browser that fit together.
#[derive(Clone, Debug)]
pub struct Installation {
    /// The driver's program.
    pub driver: PathBuf,
    /// The driver's version.
    pub driver_version: String,
    /// The browser's program.
    pub browser: PathBuf,
    /// The browser's version.
    pub browser_version: String,
}

/// Finds the driver and the browser of an engine: those that `plan` names, else the first on the path.
///
/// # Errors
///
/// When one of them is missing, does not say its version, or does not fit the other.
pub async fn find(engine: Engine, plan: &BrowserPlan) -> Result<Installation, Unavailable> {
    let known = Known::of(engine);
    let browser = locate(known.browser, plan.binary.as_deref(), known.browsers, known.browser_remedy)?;
    let driver = locate(known.driver, plan.driver.as_deref(), &[known.driver], known.driver_remedy)?;
    let (driver_version, browser_version) = tokio::try_join!(version(&driver), version(&browser))?;
    // geckodriver speaks to every current Firefox; ChromeDriver to the Chromium of its own major version.
    if engine == Engine::Chromium && major(&driver_version) != major(&browser_version) {
        return Err(Unavailable::Mismatch {
            driver: format!("{} ({driver_version})", driver.display()),
            browser: format!("{} ({browser_version})", browser.display()),
        });
    }
    Ok(Installation { driver, driver_version, browser, browser_version })
}

/// A driver that runs behind a guard and listens.
#[derive(Debug)]
pub(super) struct Driver {
    /// Where it listens.
    pub(super) url: String,
    /// The process.
    pub(super) process: Guarded,
}

impl Driver {
    /// Starts a driver at a host, on a free port; returns once it listens.
    pub(super) async fn start(
        harness: &Path,
        engine: Engine,
        driver: &Path,
        host: &PeerHost,
    ) -> Result<Self, Unavailable> {
        let failed = |reason| Unavailable::Driver { driver: driver.display().to_string(), reason };
        let (args, announcement): (&[&str], _) = match engine {
            // The WebSocket port is for WebDriver BiDi, which is not used; its fixed default would be taken twice.
            Engine::Firefox => (&["--port=0", "--websocket-port=0", "--log=info"], "Listening on 127.0.0.1:"),
            _ => (&["--port=0"], "started successfully on port "),
        };
        let process = Guarded::start(harness, driver, args, host).map_err(|error| failed(error.to_string()))?;
        match timeout(LISTEN_DEADLINE, process.line_with(announcement)).await {
            Ok(Ok(line)) => match port_after(&line, announcement) {
                Some(port) => Ok(Self { url: format!("http://127.0.0.1:{port}"), process }),
                None => Err(failed(format!("it announces no port: {line}"))),
            },
            Ok(Err(reason)) => Err(failed(reason)),
            Err(_) => {
                let said = process.last_words();
                process.end().await;
                Err(failed(format!("it does not listen after {} s{said}", LISTEN_DEADLINE.as_secs())))
            }
        }
    }
}

struct Known {
    driver: &'static str,
    driver_remedy: &'static str,
    browser: &'static str,
    browsers: &'static [&'static str],
    browser_remedy: &'static str,
}

impl Known {
    fn of(engine: Engine) -> Self {
        match engine {
            Engine::Firefox => Self {
                driver: "geckodriver",
                driver_remedy: "cargo install geckodriver --locked",
                browser: "firefox",
                browsers: &["firefox-esr", "firefox"],
                browser_remedy: "apt-get install firefox-esr (Debian), or snap install firefox (Ubuntu)",
            },
            _ => Self {
                driver: "chromedriver",
                driver_remedy: "apt-get install chromium-driver (Debian), or snap install chromium (Ubuntu)",
                browser: "chromium",
                browsers: &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"],
                browser_remedy: "apt-get install chromium chromium-driver (Debian), or snap install chromium (Ubuntu)",
            },
        }
    }
}

fn locate(
    what: &'static str,
    told: Option<&str>,
    names: &[&str],
    remedy: &'static str,
) -> Result<PathBuf, Unavailable> {
    let missing = |looked| Unavailable::Missing { what, looked, remedy };
    if let Some(told) = told {
        return on_path(told).ok_or_else(|| missing(format!("the scenario names {told}, which is not a program")));
    }
    let found = names.iter().find_map(|name| on_path(name));
    found.ok_or_else(|| missing(format!("looked for {} on PATH", names.join(", "))))
}

/// The program of this name, as a shell would find it.
fn on_path(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return is_program(Path::new(name)).then(|| name.into());
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

async fn version(program: &Path) -> Result<String, Unavailable> {
    let failed = |reason| Unavailable::NoVersion { program: program.display().to_string(), reason };
    let output = Command::new(program).arg("--version").stdin(std::process::Stdio::null()).kill_on_drop(true).output();
    let output = match timeout(VERSION_DEADLINE, output).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(_) => return Err(failed(format!("no answer after {} s", VERSION_DEADLINE.as_secs()))),
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    version_in(&text).ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        failed(if said.is_empty() { format!("it says {:?}", text.trim()) } else { said })
    })
}

/// The first word that begins with a number and holds a dot.
fn version_in(text: &str) -> Option<String> {
    let is_version = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.');
    text.split_whitespace().find(is_version).map(str::to_owned)
}

fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or(version)
}

fn port_after(line: &str, announcement: &str) -> Option<u16> {
    let (_, rest) = line.split_once(announcement)?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        for (text, version) in [
            ("ChromeDriver 156.0.8078.79 (a21ce95c-refs/branch-heads/8078@{#1704})\n", "156.0.8078.79"),
            ("Chromium 156.0.8078.79 built on Debian GNU/Linux 12 (bookworm)\n", "156.0.8078.79"),
            ("Mozilla Firefox 153.7.0esr\n", "153.7.0esr"),
            ("geckodriver 0.37.1 (e5a6f2b 2026-01-01)\n\nThe source code", "0.37.1"),
        ] {
            assert_eq!(version_in(text).as_deref(), Some(version));
        }
        assert_eq!(version_in("command not found"), None);
        assert_eq!(major("156.0.8078.79"), "156");
    }

    #[test]
    fn ports_are_found_in_what_drivers_announce() {
        let chrome = "ChromeDriver was started successfully on port 40215.";
        assert_eq!(port_after(chrome, "started successfully on port "), Some(40215));
        let gecko = "1700000000000\tgeckodriver\tINFO\tListening on 127.0.0.1:4444";
        assert_eq!(port_after(gecko, "Listening on 127.0.0.1:"), Some(4444));
        assert_eq!(port_after("port 99999", "port "), None);
    }

    #[tokio::test]
    async fn a_driver_that_is_named_but_missing_is_told_with_a_remedy() {
        let plan = BrowserPlan { binary: Some("/nonexistent/chromium".into()), ..BrowserPlan::default() };
        let error = find(Engine::Chromium, &plan).await.unwrap_err();
        assert!(error.to_string().contains("/nonexistent/chromium"), "{error}");
        assert!(error.remedy().contains("apt-get install"));
    }

    #[tokio::test]
    async fn a_driver_of_another_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str| {
            use std::os::unix::fs::PermissionsExt;
            let path = dir.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\necho {text}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            Some(path.to_str().unwrap().to_owned())
        };
        let plan = BrowserPlan {
            driver: script("driver", "ChromeDriver 114.0.1"),
            binary: script("browser", "Chromium 156.0.2"),
            ..BrowserPlan::default()
        };
        let error = find(Engine::Chromium, &plan).await.unwrap_err();
        assert!(matches!(error, Unavailable::Mismatch { .. }), "{error}");
        assert!(error.to_string().contains("114.0.1") && error.to_string().contains("156.0.2"), "{error}");
    }
}
