//! The bundled STUN and TURN server of a run's networks, and what its peers are told of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{SERVER, ca_file};
use crate::lab::discover::StunServer;
use crate::lab::in_process::Host;
use crate::net::oracle::RelayTransport;
use crate::peer::network::{IceServer, IceServers};
use crate::plan::{CredentialFault, TurnPlan, TurnServer as Program};
use crate::record::RunDirectory;
use crate::signaling::Identity;
use crate::turn::credentials::{Credentials, Secret, time_limited};
use crate::turn::server::{Config, Misbehaviour, RunningServer, Settings, start_at};

/// Where the CA of the server's certificate goes.
pub(super) const CA_FILE: &str = "turn-ca.pem";

/// The second port of the server, for RFC 5780.
const ALTERNATE_PORT: u16 = 3479;

const USER: &str = "harness";

/// A server that runs.
#[derive(Debug)]
pub(super) struct TurnServer {
    running: RunningServer,
}

impl TurnServer {
    /// Starts the server at a host, and says what peers are told of it.
    ///
    /// # Errors
    ///
    /// A program that cannot run there; a certificate that cannot be made.
    pub(super) fn start(plan: &TurnPlan, host: Host, directory: &RunDirectory) -> Result<(Self, IceServers), String> {
        if plan.server == Program::Coturn {
            return Err("coturn needs driver = \"kernel\": it cannot use the sockets of this process".into());
        }
        let login = Login::new(plan.credential_fault);
        let identity = Identity::generate(&SERVER).map_err(|error| error.to_string())?;
        if let Some(ca) = identity.ca_pem() {
            directory.write(CA_FILE, ca).map_err(|error| error.to_string())?;
        }
        let mut config = Config::new("harness", login.accepted, SERVER[0]);
        config.misbehaviour = Misbehaviour::of(&plan.misbehave, SocketAddr::new(SERVER[1], 1));
        let stun = TurnPlan::leg(RelayTransport::Udp).port;
        let ports = |transport| {
            let leg = TurnPlan::leg(transport);
            plan.transports.contains(&transport).then_some(leg.port).into_iter().collect()
        };
        let settings = Settings {
            addresses: SERVER.to_vec(),
            // STUN is always there; without TURN over UDP the peers are not told of it.
            udp_ports: vec![stun, ALTERNATE_PORT],
            tcp_ports: ports(RelayTransport::Tcp),
            tls_ports: ports(RelayTransport::Tls),
            identity: Some(identity),
            ..Settings::new(SERVER[0], config)
        };
        let running = start_at(settings, Arc::new(host)).map_err(|error| format!("the TURN server: {error}"))?;
        let urls = plan.legs().into_iter().map(|leg| match leg.transport {
            RelayTransport::Udp => format!("turn:{}:{}?transport=udp", SERVER[0], leg.port),
            RelayTransport::Tcp => format!("turn:{}:{}?transport=tcp", SERVER[0], leg.port),
            RelayTransport::Tls => format!("turns:{}:{}?transport=tcp", SERVER[0], leg.port),
        });
        let turn = IceServer { urls: urls.collect(), username: Some(login.user), credential: Some(login.password) };
        // The stack takes answers of a STUN server for those of a TURN server at the same address.
        let stun = IceServer { urls: vec![format!("stun:{}:{stun}", SERVER[1])], username: None, credential: None };
        Ok((Self { running }, IceServers::new(vec![stun, turn], Some(ca_file(directory)))))
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
        self.running.stop().await;
    }
}

/// A credential that is made for one run, and stands in no file.
struct Login {
    accepted: Credentials,
    user: String,
    password: Secret,
}

impl Login {
    fn new(fault: Option<CredentialFault>) -> Self {
        let secret = || Secret::from(format!("{:032x}", rand::random::<u128>()));
        let valid = secret();
        let user = USER.to_owned();
        match fault {
            None => Self { accepted: Credentials::none().with_user(USER, valid.clone()), user, password: valid },
            Some(CredentialFault::WrongPassword) => {
                Self { accepted: Credentials::none().with_user(USER, valid), user, password: secret() }
            }
            Some(CredentialFault::Expired) => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let (user, password) = time_limited(&valid, USER, now.saturating_sub(Duration::from_secs(600)));
                Self { accepted: Credentials::none().with_secret(valid), user, password }
            }
        }
    }
}
