//! `harness probe`: say whether a STUN or TURN server works.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Exit;
use crate::record::write_whole;
use crate::scenario::{Rate, Time, UnitError};
use crate::signaling::CertificateError;
use crate::turn::client::{IceUrl, Scheme, Transport, Trust, UrlError};
use crate::turn::credentials::{Login, Secret};
use crate::turn::probe::{Options, Verdict, probe};

/// Say whether a STUN or TURN server works
///
/// Each URL is probed on its own: name, TCP, TLS, STUN, allocation, permission, and datagrams through the relay. What is
/// wrong comes with its code and what to do about it.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// stun:HOST, turn:HOST:PORT?transport=udp, turn:HOST:PORT?transport=tcp, turns:HOST:PORT
    #[arg(required = true, value_name = "URL", value_parser = url)]
    urls: Vec<IceUrl>,
    /// User name for TURN; with --secret, the part after the expiry
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Password for TURN; better in the environment, where other users do not see it
    #[arg(long, value_name = "PASSWORD", env = "HARNESS_TURN_PASSWORD", hide_env_values = true)]
    password: Option<Secret>,
    /// Secret that the server shares with its application, to make time-limited credentials from
    #[arg(long, value_name = "SECRET", env = "HARNESS_TURN_SECRET", hide_env_values = true)]
    secret: Option<Secret>,
    /// PEM file of a CA to trust beside those of this machine
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Write the result as JSON to this file; `-` is standard output, and silences the text
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Allocate this often, too, such as 20/s; 2000 times at most
    #[arg(long, value_name = "RATE", value_parser = rate)]
    allocations: Option<Rate>,
    /// How long the paced stream through the relay, and the allocations, last; up to 60s
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    duration: Duration,
}

/// How long the time-limited credentials of a probe last.
const LIFETIME: Duration = Duration::from_secs(600);

pub(super) async fn run(args: Args) -> Exit {
    let login = match login(&args) {
        Ok(login) => login,
        Err(message) => return usage(&message),
    };
    // Said before the servers are probed, which takes its time.
    let folder = args.json.as_deref().and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return usage(&format!("--json: there is no directory {}", folder.display()));
    }
    let needed = args.ca.is_some() || args.urls.iter().any(|url| url.transport == Transport::Tls);
    let trust = match needed.then(|| Trust::new(args.ca.as_deref())).transpose() {
        Ok(trust) => trust,
        Err(error @ CertificateError::NoSystemRoots { .. }) => {
            eprintln!("error: {error}");
            return Exit::Invalid;
        }
        Err(error) => return usage(&format!("--ca: {error}")),
    };
    let (urls, duration, allocations) = (args.urls, args.duration, args.allocations);
    let report = probe(&Options { urls, login, trust, duration, allocations }).await;
    let quiet = args.json.as_deref() == Some(Path::new("-"));
    if !quiet {
        eprint!("{}", report.to_text());
    }
    if let Some(path) = &args.json {
        let written = report.to_json().map_err(|error| error.to_string()).and_then(|text| write(path, &text));
        if let Err(error) = written {
            eprintln!("error: cannot write {}: {error}", path.display());
            return Exit::Error;
        }
    }
    match report.verdict {
        Verdict::Pass => Exit::Pass,
        Verdict::Fail => Exit::Fail,
        Verdict::Invalid => Exit::Invalid,
        Verdict::Error => Exit::Error,
    }
}

fn login(args: &Args) -> Result<Option<Login>, String> {
    // A variable that is set to nothing is as good as none.
    let given = |secret: &Option<Secret>| secret.clone().filter(|secret| !secret.expose().is_empty());
    let made = match (given(&args.secret), &args.user, given(&args.password)) {
        (Some(_), _, Some(_)) => {
            return Err("a password and a secret are given: leave out one of them, or unset HARNESS_TURN_PASSWORD or \
                        HARNESS_TURN_SECRET"
                .into());
        }
        (Some(secret), user, None) => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            Some(Login::time_limited(&secret, user.as_deref().unwrap_or_default(), now + LIFETIME))
        }
        (None, Some(user), Some(password)) => Some(Login::new(user, password)),
        (None, Some(_), None) => return Err("--user needs --password (or HARNESS_TURN_PASSWORD), or --secret".into()),
        (None, None, _) => None,
    };
    match args.urls.iter().find(|url| url.scheme == Scheme::Turn) {
        Some(url) if made.is_none() => Err(format!(
            "{url} needs credentials: give --user and --password (or HARNESS_TURN_PASSWORD), \
             or --secret (or HARNESS_TURN_SECRET)"
        )),
        _ => Ok(made),
    }
}

fn url(text: &str) -> Result<IceUrl, String> {
    text.parse().map_err(|UrlError { reason, remedy, .. }| format!("{reason}; {remedy}"))
}

fn rate(text: &str) -> Result<Rate, String> {
    let rate: Rate = text.parse().map_err(|error: UnitError| format!("{error}; {}", error.help()))?;
    if rate.is_zero() { Err("nothing would be allocated; give a rate above zero".into()) } else { Ok(rate) }
}

fn duration(text: &str) -> Result<Duration, String> {
    let time: Time = text.parse().map_err(|error: UnitError| format!("{error}; {}", error.help()))?;
    let duration = Duration::from_micros(time.us);
    let bounds = Duration::from_millis(100)..=Duration::from_secs(60);
    if bounds.contains(&duration) { Ok(duration) } else { Err("100ms to 60s is accepted".into()) }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    if path != Path::new("-") {
        return write_whole(path, text).map_err(|error| error.error.to_string());
    }
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // A reader that has seen enough is no error.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn usage(message: &str) -> Exit {
    eprintln!("error: {message}");
    Exit::Usage
}
