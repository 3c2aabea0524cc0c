//! The server in simulated time, with clients that do exactly what they are told.

mod allocations;
mod binding;
mod credentials;
mod hostile;
mod misbehaving;
mod relaying;
mod streams;

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::*;
use crate::turn::credentials::{Credentials, Key};
use crate::turn::message::{Attribute, Builder, Class, Message, Method, TransactionId};

const SERVER: &str = "11.0.0.1:3478";
const UNIX: Duration = Duration::from_secs(1_800_000_000);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

fn config() -> Config {
    let credentials =
        Credentials::none().with_user("alice", "a secret").with_user("bob", "b secret").with_secret("north");
    let mut config = Config::new("example.org", credentials, "11.0.0.1".parse().unwrap());
    config.relay_addresses.push("2a0f::1".parse().unwrap());
    config.listeners = ["11.0.0.1:3478", "11.0.0.2:3478", "11.0.0.1:3479", "11.0.0.2:3479"].map(at).into();
    config
}

/// A server, its relay ports, and the time.
struct Lab {
    server: Server,
    now: Instant,
    open: HashSet<SocketAddr>,
    /// Ports that some other program has.
    taken: HashSet<u16>,
}

impl Lab {
    fn new() -> Self {
        Self::with(config())
    }

    fn with(config: Config) -> Self {
        let now = Instant::now();
        let server = Server::new(config, [7; 32], now, UNIX);
        Self { server, now, open: HashSet::new(), taken: HashSet::new() }
    }

    fn input(&mut self, input: Inbound<'_>) -> Vec<Output> {
        self.server.handle_input(self.now, input);
        self.outputs()
    }

    /// What comes out, but for relay ports, which are opened and closed.
    fn outputs(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::OpenRelay { relay } => {
                    let free = !self.taken.contains(&relay.port()) && self.open.insert(relay);
                    let result = if free { Ok(()) } else { Err(ErrorKind::AddrInUse.into()) };
                    self.server.handle_input(self.now, Inbound::RelayOpened { relay, result });
                }
                Output::CloseRelay { relay } => assert!(self.open.remove(&relay), "{relay} is not open"),
                other => outputs.push(other),
            }
        }
        outputs
    }

    /// Lets time pass, with each timer when it is due.
    fn pass(&mut self, time: Duration) -> Vec<Output> {
        let end = self.now + time;
        let mut outputs = Vec::new();
        while let Some(next) = self.server.poll_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.server.handle_timeout(self.now);
            outputs.extend(self.outputs());
        }
        self.now = end;
        outputs
    }

    fn send(&mut self, client: Client, data: &[u8]) -> Vec<Output> {
        self.input(Inbound::FromClient { client, data })
    }

    fn peer_sends(&mut self, relay: SocketAddr, peer: &str, data: &[u8]) -> Vec<Output> {
        self.input(Inbound::FromPeer { relay, peer: at(peer), data })
    }
}

/// A client with credentials.
#[derive(Clone)]
struct User {
    client: Client,
    username: String,
    password: String,
    realm: String,
    nonce: String,
    transactions: u8,
}

impl User {
    fn new(remote: &str) -> Self {
        Self::of(remote, "alice", "a secret")
    }

    fn of(remote: &str, username: &str, password: &str) -> Self {
        let client = Client { transport: ClientTransport::Udp, remote: at(remote), local: at(SERVER) };
        let (realm, nonce) = Default::default();
        Self { client, username: username.into(), password: password.into(), realm, nonce, transactions: 0 }
    }

    /// A request; signed, once realm and nonce are known.
    fn request(&mut self, method: Method, add: impl FnOnce(&mut Builder)) -> Vec<u8> {
        self.transactions += 1;
        let mut builder = Builder::new(Class::Request, method, TransactionId([self.transactions; 12]));
        add(&mut builder);
        if !self.nonce.is_empty() {
            builder.text(Attribute::USERNAME, &self.username);
            builder.text(Attribute::REALM, &self.realm).text(Attribute::NONCE, &self.nonce);
            builder.sign(&Key::long_term(&self.username, &self.realm, &self.password.as_str().into()));
        }
        builder.fingerprint();
        builder.finish()
    }

    fn ask(&mut self, lab: &mut Lab, method: Method, add: impl FnOnce(&mut Builder)) -> Reply {
        let request = self.request(method, add);
        self.answer(lab.send(self.client, &request))
    }

    /// The only answer, whose realm and nonce are kept.
    fn answer(&mut self, outputs: Vec<Output>) -> Reply {
        let [Output::ToClient { client, data }] = &outputs[..] else { panic!("not one answer: {outputs:?}") };
        assert_eq!(*client, self.client);
        let reply = Reply(data.to_vec());
        let message = reply.message();
        if let Some(realm) = message.text(Attribute::REALM) {
            self.realm = realm.into();
            self.nonce = message.text(Attribute::NONCE).unwrap().into();
        }
        reply
    }

    /// An Allocate request, and another one with the nonce that was learned.
    fn allocate(&mut self, lab: &mut Lab, add: impl Fn(&mut Builder)) -> Reply {
        let add = |builder: &mut Builder| {
            builder.number(Attribute::REQUESTED_TRANSPORT, 17 << 24);
            add(builder);
        };
        if self.nonce.is_empty() {
            assert_eq!(self.ask(lab, Method::ALLOCATE, add).code(), 401);
        }
        self.ask(lab, Method::ALLOCATE, add)
    }

    /// An allocation without further wishes: its relay port.
    fn relay(&mut self, lab: &mut Lab) -> SocketAddr {
        self.allocate(lab, |_| {}).relay()
    }

    fn refresh(&mut self, lab: &mut Lab, lifetime: u32) -> Reply {
        self.ask(lab, Method::REFRESH, |builder| {
            builder.number(Attribute::LIFETIME, lifetime);
        })
    }

    fn permit(&mut self, lab: &mut Lab, peer: &str) -> Reply {
        self.ask(lab, Method::CREATE_PERMISSION, |builder| {
            builder.xor_address(Attribute::XOR_PEER_ADDRESS, at(peer));
        })
    }

    fn bind(&mut self, lab: &mut Lab, number: u16, peer: &str) -> Reply {
        self.ask(lab, Method::CHANNEL_BIND, |builder| {
            builder.number(Attribute::CHANNEL_NUMBER, u32::from(number) << 16);
            builder.xor_address(Attribute::XOR_PEER_ADDRESS, at(peer));
        })
    }

    fn send(&mut self, lab: &mut Lab, peer: &str, data: &[u8]) -> Vec<Output> {
        let mut builder = Builder::new(Class::Indication, Method::SEND, TransactionId([0; 12]));
        builder.xor_address(Attribute::XOR_PEER_ADDRESS, at(peer)).bytes(Attribute::DATA, data);
        lab.send(self.client, &builder.finish())
    }
}

/// What the server answered.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Reply(Vec<u8>);

impl Reply {
    fn message(&self) -> Message<'_> {
        Message::parse(&self.0).unwrap()
    }

    /// 200 for success.
    fn code(&self) -> u16 {
        match self.message().class() {
            Class::Success => 200,
            _ => self.message().error_code().unwrap().0,
        }
    }

    fn lifetime(&self) -> Option<u32> {
        self.message().number(Attribute::LIFETIME)
    }

    fn relay(&self) -> SocketAddr {
        assert_eq!(self.code(), 200, "{:?}", self.message().error_code());
        self.message().xor_address(Attribute::XOR_RELAYED_ADDRESS).unwrap()
    }
}

/// The peer and the data of a Data indication to a client.
fn indicated(outputs: &[Output]) -> Option<(SocketAddr, Vec<u8>)> {
    let [Output::ToClient { data, .. }] = outputs else { return None };
    let message = Message::parse(data).ok()?;
    assert_eq!((message.class(), message.method()), (Class::Indication, Method::DATA));
    Some((message.xor_address(Attribute::XOR_PEER_ADDRESS)?, message.get(Attribute::DATA)?.to_vec()))
}
