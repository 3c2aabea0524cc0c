//! The bundled STUN and TURN server on real sockets, for real clients.

#[path = "turn/coturn.rs"]
mod coturn;
#[path = "turn/sockets.rs"]
mod sockets;

use std::net::{IpAddr, Ipv4Addr};

use harness::signaling::Identity;
use harness::turn::credentials::Credentials;
use harness::turn::server::{Config, Settings};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LOOPBACK_2: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn config() -> Config {
    let credentials = Credentials::none().with_user("alice", "a secret").with_secret("north");
    Config::new("example.org", credentials, LOOPBACK)
}

/// UDP, TCP and TLS at 127.0.0.1, on free ports.
fn settings() -> Settings {
    let mut settings = Settings::new(LOOPBACK, config());
    settings.tls_ports = vec![0];
    settings.identity = Some(Identity::generate(&[]).unwrap());
    settings
}
