//! coturn as the STUN and TURN server of the networks, in a namespace of its own.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use super::StartError;
use super::model::SERVER;
use super::turn::{ALTERNATE_PORT, Accepted, REALM};
use crate::lab::discover::answers;
use crate::net::oracle::RelayTransport;
use crate::peer::network::PeerHost;
use crate::plan::TurnPlan;
use crate::record::RunDirectory;
use crate::signaling::KeyPem;

const PROGRAM: &str = "turnserver";

/// What it says, in the directory of the run.
const LOG: &str = "coturn.log";

/// How long it may take to answer, and how often it is asked.
const START: Duration = Duration::from_secs(20);
const ASK: Duration = Duration::from_millis(50);

/// A coturn that runs, with the directory of its files; both end with it.
pub(super) struct Coturn {
    process: Child,
    directory: PathBuf,
}

impl Coturn {
    /// Starts it at a host; returns once it answers.
    ///
    /// # Errors
    ///
    /// It is not installed, or does not answer; the host is no place for programs.
    pub(super) async fn start(
        plan: &TurnPlan,
        host: &PeerHost,
        accepted: &Accepted,
        pem: &KeyPem,
        run: &RunDirectory,
    ) -> Result<Self, StartError> {
        let failed = |error: io::Error| format!("coturn's files: {error}");
        let directory = std::env::temp_dir().join(format!("coturn-{:08x}", rand::random::<u32>()));
        // For nobody else: there are secrets in it.
        DirBuilder::new().mode(0o700).create(&directory).map_err(failed)?;
        let log = run.path().join(LOG);
        let process = configure(plan, accepted, pem, &directory).and_then(|()| command(&directory, &log));
        let process = process.map_err(|error| failed(error).into()).and_then(|command| spawn(host, command));
        let mut coturn = match process {
            Ok(process) => Self { process, directory },
            Err(error) => {
                let _ = std::fs::remove_dir_all(&directory);
                return Err(error);
            }
        };
        match coturn.answers(host).await {
            Ok(()) => Ok(coturn),
            Err(error) => {
                coturn.stop().await;
                Err(format!("coturn {error}; see {}", log.display()).into())
            }
        }
    }

    async fn answers(&mut self, host: &PeerHost) -> Result<(), String> {
        let server = SocketAddr::new(SERVER[0], TurnPlan::leg(RelayTransport::Udp).port);
        let place = host.place();
        let begun = Instant::now();
        while begun.elapsed() < START {
            if let Ok(Some(status)) = self.process.try_wait() {
                return Err(format!("ended at once ({status})"));
            }
            let answers = answers(&*place, server.ip(), server, ASK).await;
            if answers.map_err(|error| format!("cannot be asked: {error}"))? {
                return Ok(());
            }
        }
        Err(format!("does not answer within {} s", START.as_secs()))
    }

    /// Ends it and removes its files.
    pub(super) async fn stop(mut self) {
        let _ = self.process.kill().await;
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn configure(plan: &TurnPlan, accepted: &Accepted, pem: &KeyPem, directory: &Path) -> io::Result<()> {
    let path = |name: &str| directory.join(name).display().to_string();
    std::fs::write(path("certificate.pem"), &pem.certificate)?;
    std::fs::write(path("key.pem"), &pem.key)?;
    let mut lines = vec![
        format!("realm={REALM}"),
        "fingerprint".into(),
        format!("listening-port={}", TurnPlan::leg(RelayTransport::Udp).port),
        format!("alt-listening-port={ALTERNATE_PORT}"),
        format!("tls-listening-port={}", TurnPlan::leg(RelayTransport::Tls).port),
        format!("relay-ip={}", SERVER[0]),
        format!("cert={}", path("certificate.pem")),
        format!("pkey={}", path("key.pem")),
        format!("pidfile={}", path("pid")),
        format!("userdb={}", path("users")),
        "log-file=stdout".into(),
        "no-cli".into(),
        "no-dtls".into(),
    ];
    lines.extend(SERVER.map(|address| format!("listening-ip={address}")));
    match accepted {
        Accepted::User { name, password } => {
            lines.extend(["lt-cred-mech".into(), format!("user={name}:{}", password.expose())]);
        }
        Accepted::TimeLimited { secret } => {
            lines.extend(["use-auth-secret".into(), format!("static-auth-secret={}", secret.expose())]);
        }
    }
    // STUN is always there; without TURN over UDP the peers are not told of it.
    for (transport, line) in [(RelayTransport::Tcp, "no-tcp"), (RelayTransport::Tls, "no-tls")] {
        if !plan.transports.contains(&transport) {
            lines.push(line.into());
        }
    }
    let mut file = File::create(path("turnserver.conf"))?;
    lines.iter().try_for_each(|line| writeln!(file, "{line}"))
}

fn command(directory: &Path, log: &Path) -> io::Result<Command> {
    let log = File::create(log)?;
    let mut command = Command::new(PROGRAM);
    command.arg("-c").arg(directory.join("turnserver.conf")).current_dir(directory);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    Ok(command)
}

fn spawn(host: &PeerHost, mut command: Command) -> Result<Child, StartError> {
    let spawned = match host {
        #[cfg(target_os = "linux")]
        PeerHost::Namespace(host) => host.spawn_async(command).map_err(io::Error::from),
        _ => command.spawn(),
    };
    spawned.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StartError::Missing {
            reason: "coturn is not installed".into(),
            remedy: "apt-get install coturn, or server = \"bundled\" in [network.turn]".into(),
        },
        _ => StartError::Broken(format!("coturn does not start: {error}")),
    })
}
