//! The STUN and TURN server of `harness serve`.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;

use crate::signaling::Identity;
use crate::turn::client::{IceUrl, Scheme, Transport};
use crate::turn::credentials::{Credentials, Secret};
use crate::turn::server::{Config, Flaw, Misbehaviour, Prefix, RunningServer, Settings, start};

/// Where `--turn` listens without an address.
const LISTEN: &str = "127.0.0.1:3478";
/// Who may use it, unless that is said.
const USER: &str = "harness";
const REALM: &str = "harness";
/// Where clients are sent that are to be sent elsewhere: an address of documentation (RFC 5737), where nobody is.
const ALTERNATE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 3478);

#[derive(clap::Args, Debug)]
#[command(next_help_heading = "STUN and TURN")]
pub(super) struct Args {
    /// Run a STUN and TURN server, too, over UDP and TCP; without an address at 127.0.0.1:3478
    #[arg(long, value_name = "ADDR:PORT", num_args = 0..=1, default_missing_value = LISTEN)]
    turn: Option<SocketAddr>,
    /// Also over TLS, on this port, with the certificate of the signaling server; 0 takes a free one
    #[arg(long, value_name = "PORT", requires = "turn")]
    turn_tls: Option<u16>,
    /// Who may use it; the password is in HARNESS_TURN_PASSWORD, or made and printed [default: harness]
    #[arg(long, value_name = "NAME", requires = "turn", value_parser = user)]
    turn_user: Option<String>,
    /// Take time-limited credentials, made from the secret in HARNESS_TURN_SECRET
    #[arg(long, requires = "turn")]
    turn_secret: bool,
    /// How many allocations a user may hold; one more is answered with 486
    #[arg(long, value_name = "COUNT", requires = "turn")]
    turn_quota: Option<NonZeroUsize>,
    /// The ports to relay from; with all of them taken the answer is 508 [default: 49152-65535]
    #[arg(long, value_name = "FIRST-LAST", requires = "turn", value_parser = ports)]
    turn_relay_ports: Option<RangeInclusive<u16>>,
    /// Do something wrong on purpose; may be given several times
    #[arg(long, value_name = "NAME", requires = "turn", value_enum)]
    turn_misbehave: Vec<Flaw>,
}

/// A server that runs, and how to use it.
pub(super) struct Turn {
    pub(super) server: RunningServer,
    pub(super) introduction: String,
    /// Its STUN URLs, which need no login.
    pub(super) stun: Vec<String>,
}

impl Args {
    /// Where it listens, if there is one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.turn.map(|listen| listen.ip())
    }

    /// Starts it, if it is asked for. `ca` is the file that the CA of the certificate is in, if it is in one.
    ///
    /// # Errors
    ///
    /// What is wrong with the arguments, or with an address.
    pub(super) fn start(&self, identity: &Identity, ca: Option<&str>) -> Result<Option<Turn>, String> {
        let Some(listen) = self.turn else { return Ok(None) };
        if listen.ip().is_unspecified() {
            let what = "answers must come from the address that the client sent to";
            return Err(format!("--turn {listen}: {what}; give one of this machine's addresses"));
        }
        let login = Login::new(self)?;
        let mut config = Config::new(REALM, login.credentials.clone(), listen.ip());
        if !listen.ip().is_loopback() {
            config.refused_peers = own();
        }
        if let Some(quota) = self.turn_quota {
            config.limits.allocations_per_user = quota.get();
        }
        if let Some(ports) = &self.turn_relay_ports {
            config.relay_ports = ports.clone();
        }
        config.misbehaviour = Misbehaviour::of(&self.turn_misbehave, ALTERNATE);
        let settings = Settings {
            udp_ports: vec![listen.port()],
            tcp_ports: vec![listen.port()],
            tls_ports: self.turn_tls.into_iter().collect(),
            identity: Some(identity.clone()),
            ..Settings::new(listen.ip(), config)
        };
        let server = start(settings).map_err(|error| format!("--turn: {error}"))?;
        let addresses = server.addresses();
        let stun: Vec<String> = addresses.udp.iter().map(|at| url(Scheme::Stun, Transport::Udp, at)).collect();
        let introduction = self.introduction(&server, &stun, &login, ca);
        Ok(Some(Turn { server, introduction, stun }))
    }

    fn introduction(&self, server: &RunningServer, stun: &[String], login: &Login, ca: Option<&str>) -> String {
        let addresses = server.addresses();
        let udp = addresses.udp.iter().map(|at| url(Scheme::Turn, Transport::Udp, at));
        let tcp = addresses.tcp.iter().map(|at| url(Scheme::Turn, Transport::Tcp, at));
        let tls = addresses.tls.iter().map(|at| url(Scheme::Turn, Transport::Tls, at));
        let plain: Vec<String> = udp.chain(tcp).collect();
        let turn: Vec<String> = plain.iter().cloned().chain(tls).collect();
        let (tried, trust) = match ca {
            Some(file) if turn.len() > plain.len() => (&turn, format!(" --ca {file}")),
            _ => (&plain, String::new()),
        };

        let mut text = format!("stun:      {}\nturn:      {}\n", stun.join(", "), turn.join("\n           "));
        for line in &login.lines {
            let _ = writeln!(text, "login:     {line}");
        }
        let urls = tried.iter().map(|url| format!("'{url}'")).collect::<Vec<_>>().join(" ");
        let _ = writeln!(text, "try:       {}harness probe {urls} --user {}{trust}", login.environment, login.user);
        if ca.is_none() && turn.len() > plain.len() {
            text +=
                "           for turns: end this, add --ca-out FILE, and give the same file to the prober with --ca\n";
        }
        if !self.turn_misbehave.is_empty() {
            let names = self.turn_misbehave.iter().filter_map(clap::ValueEnum::to_possible_value);
            let names: Vec<String> = names.map(|name| name.get_name().to_owned()).collect();
            let _ = writeln!(text, "wrong:     {}, on purpose", names.join(", "));
        }
        if self.turn.is_some_and(|listen| !listen.ip().is_loopback()) {
            text += "warning:   the TURN server can be reached from other machines; whoever has its password can send \
                     from here to every host\n           that this machine reaches, loopback and link-local addresses apart\n";
        }
        text
    }
}

fn url(scheme: Scheme, transport: Transport, address: &SocketAddr) -> String {
    IceUrl { scheme, transport, host: address.ip().to_string(), port: address.port() }.to_string()
}

/// Who gets in, and what to say of it.
struct Login {
    credentials: Credentials,
    lines: Vec<String>,
    /// For the command line of the prober: what it needs in its environment, if that is not a secret of the user's.
    environment: String,
    user: String,
}

impl Login {
    fn new(args: &Args) -> Result<Self, String> {
        let mut credentials = Credentials::none();
        let (mut lines, mut environment) = (Vec::new(), String::new());
        if args.turn_secret {
            let secret = from_environment("HARNESS_TURN_SECRET");
            credentials = credentials.with_secret(secret.ok_or("--turn-secret needs HARNESS_TURN_SECRET")?);
            lines.push("time-limited credentials, made from the secret in HARNESS_TURN_SECRET".into());
        }
        let user = args.turn_user.clone().unwrap_or_else(|| USER.to_owned());
        if !args.turn_secret || args.turn_user.is_some() {
            let password = match from_environment("HARNESS_TURN_PASSWORD") {
                Some(password) => {
                    lines.push(format!("{user}, with the password in HARNESS_TURN_PASSWORD"));
                    password
                }
                None => {
                    let password = format!("{:032x}", rand::random::<u128>());
                    lines.push(format!("{user}, with the password {password}, made for this run"));
                    environment = format!("HARNESS_TURN_PASSWORD={password} ");
                    Secret::from(password)
                }
            };
            credentials = credentials.with_user(&user, password);
        }
        Ok(Self { credentials, lines, environment, user })
    }
}

/// A variable that is set, and not to nothing.
fn from_environment(name: &str) -> Option<Secret> {
    std::env::var(name).ok().filter(|value| !value.is_empty()).map(Secret::from)
}

/// This machine, as nobody but itself can reach it: what a relay that strangers can reach must not open to them.
fn own() -> Vec<Prefix> {
    let v4 = |a, b, length| Prefix { address: Ipv4Addr::new(a, b, 0, 0).into(), length };
    let v6 = |address: Ipv6Addr, length| Prefix { address: address.into(), length };
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);
    vec![v4(0, 0, 8), v4(127, 0, 8), v4(169, 254, 16), v6(Ipv6Addr::LOCALHOST, 128), v6(link_local, 10)]
}

fn user(text: &str) -> Result<String, String> {
    // With a colon it could be taken for the user of another realm, or for a time-limited one.
    match text {
        "" => Err("it is empty".into()),
        text if text.contains(':') => Err("it must not have a colon".into()),
        text => Ok(text.to_owned()),
    }
}

fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let shape = || format!("{text:?} is no range of ports; write 50000-50100");
    let (first, last) = text.split_once('-').ok_or_else(shape)?;
    let (first, last): (u16, u16) =
        (first.trim().parse().map_err(|_| shape())?, last.trim().parse().map_err(|_| shape())?);
    if first == 0 || first > last { Err(shape()) } else { Ok(first..=last) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_ports_has_a_first_and_a_last_one() {
        assert_eq!(ports("50000-50100"), Ok(50_000..=50_100));
        assert_eq!(ports("7-7"), Ok(7..=7));
        for wrong in ["", "7", "8-7", "0-7", "1-70000", "a-b"] {
            assert!(ports(wrong).unwrap_err().contains("write 50000-50100"), "{wrong}");
        }
    }

    #[test]
    fn a_machine_is_not_opened_to_strangers() {
        let refused = |address: &str| own().iter().any(|prefix| prefix.contains(address.parse().unwrap()));
        for own in ["127.0.0.1", "127.9.9.9", "0.0.0.1", "169.254.169.254", "::1", "fe80::1"] {
            assert!(refused(own), "{own}");
        }
        for other in ["192.168.1.2", "203.0.113.1", "2001:db8::1"] {
            assert!(!refused(other), "{other}");
        }
    }
}
