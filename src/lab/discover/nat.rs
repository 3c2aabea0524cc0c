//! The behaviour of a NAT, by RFC 5780.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::lab::place::{Datagrams, Place, receive};
use crate::net::spec::{Filtering, Mapping};
use crate::turn::message::{Attribute, Builder, Class, Message, Method, TransactionId};

/// How often a request is sent before its answer is given up: often enough for links that lose a third.
const ATTEMPTS: u32 = 7;

/// The change of address or port that a request asks for in its answer (RFC 5780, section 7.2).
const CHANGE_ADDRESS_AND_PORT: u32 = 0x06;
const CHANGE_PORT: u32 = 0x02;

/// A STUN server with two addresses and two ports.
#[derive(Clone, Copy, Debug)]
pub struct StunServer {
    /// Address and port that are asked first.
    pub primary: SocketAddr,
    /// The other address, with the other port.
    pub alternate: SocketAddr,
}

/// What a NAT does, seen from inside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Behaviour {
    /// For which destinations an endpoint keeps its mapping.
    pub mapping: Mapping,
    /// Whose packets it lets in.
    pub filtering: Filtering,
}

/// What UDP through a network shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Discovery {
    /// No answer comes back.
    NoUdp,
    /// Answers come back; the NAT, or what else is in between, behaves like this.
    Udp(Behaviour),
}

/// Finds out how the network between a host and a STUN server behaves.
///
/// Filtering is looked at first: the answers that it keeps out are what a peer sends early. A NAT that lets such a packet
/// change its later mappings shows as one whose mapping depends on the destination, which it then is.
///
/// # Errors
///
/// The host has no socket to give.
pub async fn discover(
    place: &dyn Place,
    from: IpAddr,
    server: StunServer,
    patience: Duration,
) -> io::Result<Discovery> {
    let mut agent = Agent::new(place, from)?;
    let StunServer { primary, alternate } = server;
    let Some((first, _)) = agent.ask(primary, 0, patience).await? else { return Ok(Discovery::NoUdp) };
    let mut lets_in = async |change| Ok::<_, io::Error>(agent.ask(primary, change, patience).await?.is_some());
    let filtering = if lets_in(CHANGE_ADDRESS_AND_PORT).await? {
        Filtering::EndpointIndependent
    } else if lets_in(CHANGE_PORT).await? {
        Filtering::AddressDependent
    } else {
        Filtering::AddressAndPortDependent
    };
    let other_address = SocketAddr::new(alternate.ip(), primary.port());
    let second = agent.ask(other_address, 0, patience).await?.map(|(mapped, _)| mapped);
    let third = agent.ask(alternate, 0, patience).await?.map(|(mapped, _)| mapped);
    // A firewall that lets only some ports out leaves the third question open.
    let mapping = if second == Some(first) && third.is_none_or(|third| third == first) {
        Mapping::EndpointIndependent
    } else if second.is_some() && second == third {
        Mapping::AddressDependent
    } else {
        Mapping::AddressAndPortDependent
    };
    Ok(Discovery::Udp(Behaviour { mapping, filtering }))
}

/// Whether a STUN server answers in time.
///
/// # Errors
///
/// The host has no socket to give.
pub async fn answers(place: &dyn Place, from: IpAddr, server: SocketAddr, patience: Duration) -> io::Result<bool> {
    Ok(Agent::new(place, from)?.ask(server, 0, patience).await?.is_some())
}

/// One socket that asks one question after the other.
struct Agent {
    socket: Arc<dyn Datagrams>,
}

impl Agent {
    fn new(place: &dyn Place, from: IpAddr) -> io::Result<Self> {
        Ok(Self { socket: place.bind_udp(SocketAddr::new(from, 0))? })
    }

    /// The address that the server sees, and where its answer came from; absent if none came.
    async fn ask(
        &mut self,
        server: SocketAddr,
        change: u32,
        patience: Duration,
    ) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
        let (id, request) = binding(change);
        let mut buffer = [0; 2048];
        for _ in 0..ATTEMPTS {
            // What the system does not take is sent again.
            let _ = self.socket.send_to(&request, server);
            let awaited = async {
                loop {
                    let (length, source) = receive(&*self.socket, &mut buffer).await?;
                    if let Some((of, Some(mapped))) = answer(&buffer[..length])
                        && of == id
                    {
                        return Ok::<_, io::Error>((mapped, source));
                    }
                }
            };
            match timeout(patience / ATTEMPTS, awaited).await {
                Ok(Ok(found)) => return Ok(Some(found)),
                Ok(Err(error)) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(None)
    }
}

/// A Binding request (RFC 8489), with the change that its answer is to have.
fn binding(change: u32) -> (TransactionId, Vec<u8>) {
    let id = TransactionId::random();
    let mut request = Builder::new(Class::Request, Method::BINDING, id);
    if change != 0 {
        request.number(Attribute::CHANGE_REQUEST, change);
    }
    (id, request.finish())
}

fn answer(datagram: &[u8]) -> Option<(TransactionId, Option<SocketAddr>)> {
    let message = Message::parse(datagram).ok()?;
    let is_answer = message.class() == Class::Success && message.method() == Method::BINDING;
    is_answer.then(|| (message.transaction_id(), message.xor_address(Attribute::XOR_MAPPED_ADDRESS)))
}
