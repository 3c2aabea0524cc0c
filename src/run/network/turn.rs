//! The STUN and TURN server of a run's networks, and what its peers are told of it.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::StartError;
use super::coturn::Coturn;
use super::lab::{STUN_NAME, TURN_NAME};
use super::model::SERVER;
use crate::lab::discover::StunServer;
use crate::net::oracle::RelayTransport;
use crate::peer::network::{IceServer, IceServers, PeerHost};
use crate::plan::{CredentialFault, TurnPlan, TurnServer as Program};
use crate::record::RunDirectory;
use crate::signaling::Identity;
use crate::turn::credentials::{Credentials, Secret, time_limited};
use crate::turn::server::{AllocationError, Config, Misbehaviour, RunningServer, Settings, start_at};

/// Where the CA of the server's certificate goes.
const CA_FILE: &str = "turn-ca.pem";

/// The second port of the server, for RFC 5780.
pub(super) const ALTERNATE_PORT: u16 = 3479;

/// What peers are told of the server.
#[derive(Default)]
pub(super) struct Servers {
    /// For most peers: those of this process look up no names of the networks, and Chromium does not always.
    pub(super) by_address: Arc<IceServers>,
    /// For Firefox, which takes `turns:` URLs with a name only.
    pub(super) by_name: Arc<IceServers>,
}

/// A server that runs.
pub(super) enum TurnServer {
    Bundled(RunningServer),
    Coturn(Coturn),
}

impl TurnServer {
    /// Starts the server at a host, and says what peers are told of it.
    ///
    /// # Errors
    ///
    /// A program that cannot run there, or does not start; a certificate that cannot be made.
    pub(super) async fn start(
        plan: &TurnPlan,
        host: &PeerHost,
        directory: &RunDirectory,
    ) -> Result<(Self, Servers), StartError> {
        let login = Login::new(plan.credential_fault);
        let (identity, pem) = Identity::generate_named(&SERVER, &[TURN_NAME]).map_err(|error| error.to_string())?;
        if let Some(ca) = identity.ca_pem() {
            directory.write(CA_FILE, ca).map_err(|error| error.to_string())?;
        }
        let servers = servers(plan, &login, &identity, directory);
        let server = match plan.server {
            Program::Bundled => Self::Bundled(bundled(plan, host, login, identity)?),
            Program::Coturn => Self::Coturn(Coturn::start(plan, host, &login.accepted, &pem, directory).await?),
        };
        Ok((server, servers))
    }

    /// Where it can be asked for addresses.
    pub(super) fn stun(&self) -> StunServer {
        StunServer {
            primary: SocketAddr::new(SERVER[0], TurnPlan::leg(RelayTransport::Udp).port),
            alternate: SocketAddr::new(SERVER[1], ALTERNATE_PORT),
        }
    }

    /// Ends it.
    pub(super) async fn stop(self) {
        match self {
            Self::Bundled(running) => drop(running.stop().await),
            Self::Coturn(coturn) => coturn.stop().await,
        }
    }
}

fn bundled(plan: &TurnPlan, host: &PeerHost, login: Login, identity: Identity) -> Result<RunningServer, String> {
    let mut config = Config::new(REALM, login.accepted.into(), SERVER[0]);
    config.misbehaviour = misbehaviour(&plan.misbehave)?;
    let ports = |transport| {
        let leg = TurnPlan::leg(transport);
        plan.transports.contains(&transport).then_some(leg.port).into_iter().collect()
    };
    let settings = Settings {
        addresses: SERVER.to_vec(),
        // STUN is always there; without TURN over UDP the peers are not told of it.
        udp_ports: vec![TurnPlan::leg(RelayTransport::Udp).port, ALTERNATE_PORT],
        tcp_ports: ports(RelayTransport::Tcp),
        tls_ports: ports(RelayTransport::Tls),
        identity: Some(identity),
        ..Settings::new(SERVER[0], config)
    };
    start_at(settings, host.place()).map_err(|error| format!("the TURN server: {error}"))
}

fn servers(plan: &TurnPlan, login: &Login, identity: &Identity, directory: &RunDirectory) -> Servers {
    let told = |turn: &str, stun: &str| {
        let urls = plan.legs().into_iter().map(|leg| match leg.transport {
            RelayTransport::Udp => format!("turn:{turn}:{}?transport=udp", leg.port),
            RelayTransport::Tcp => format!("turn:{turn}:{}?transport=tcp", leg.port),
            RelayTransport::Tls => format!("turns:{turn}:{}?transport=tcp", leg.port),
        });
        let credential = Some(login.password.clone());
        let turn_server = IceServer { urls: urls.collect(), username: Some(login.user.clone()), credential };
        // The stack takes answers of a STUN server for those of a TURN server at the same address.
        let stun = format!("stun:{stun}:{}", TurnPlan::leg(RelayTransport::Udp).port);
        let stun = IceServer { urls: vec![stun], username: None, credential: None };
        let mut servers = IceServers::new(vec![stun, turn_server], Some(directory.path().join(CA_FILE)));
        servers.pins = vec![identity.pin(turn, TurnPlan::leg(RelayTransport::Tls).port)];
        Arc::new(servers)
    };
    let by_address = told(&SERVER[0].to_string(), &SERVER[1].to_string());
    Servers { by_address, by_name: told(TURN_NAME, STUN_NAME) }
}

pub(super) const REALM: &str = "harness";

const USER: &str = "harness";

/// What the server accepts.
pub(super) enum Accepted {
    User {
        name: &'static str,
        password: Secret,
    },
    /// Time-limited credentials that were made with it.
    TimeLimited {
        secret: Secret,
    },
}

impl From<Accepted> for Credentials {
    fn from(accepted: Accepted) -> Self {
        match accepted {
            Accepted::User { name, password } => Self::none().with_user(name, password),
            Accepted::TimeLimited { secret } => Self::none().with_secret(secret),
        }
    }
}

/// A credential that is made for one run, and stands in no file.
struct Login {
    accepted: Accepted,
    user: String,
    password: Secret,
}

impl Login {
    fn new(fault: Option<CredentialFault>) -> Self {
        let secret = || Secret::from(format!("{:032x}", rand::random::<u128>()));
        let valid = secret();
        let user = USER.to_owned();
        match fault {
            None => Self { accepted: Accepted::User { name: USER, password: valid.clone() }, user, password: valid },
            Some(CredentialFault::WrongPassword) => {
                Self { accepted: Accepted::User { name: USER, password: valid }, user, password: secret() }
            }
            Some(CredentialFault::Expired) => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let (user, password) = time_limited(&valid, USER, now.saturating_sub(Duration::from_secs(600)));
                Self { accepted: Accepted::TimeLimited { secret: valid }, user, password }
            }
        }
    }
}

/// What the server is told to do wrong, by the names of the scenario.
fn misbehaviour(names: &[String]) -> Result<Misbehaviour, String> {
    let mut told = Misbehaviour::default();
    for name in names {
        match name.as_str() {
            "wrong-realm" => told.realm = Some("elsewhere.example".into()),
            "stale-nonce" => told.stale_nonce_every = Some(NonZeroU32::MIN),
            "alternate-server" => told.redirect = Some(SocketAddr::new(SERVER[1], 1)),
            "mismatch" => told.refuse_allocations = Some(AllocationError::Mismatch),
            "quota" => told.refuse_allocations = Some(AllocationError::Quota),
            "capacity" => told.refuse_allocations = Some(AllocationError::Capacity),
            "drop-first-response" => told.drop_first_responses = true,
            "drop-relayed" => told.drop_relayed = 1.0,
            "silent" => told.silent = true,
            other => return Err(format!("[network.turn] misbehave: the server knows no way to {other:?}")),
        }
    }
    Ok(told)
}
