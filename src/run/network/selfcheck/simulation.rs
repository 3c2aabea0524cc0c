//! The look at the links of a model in simulated time, for which no machine is too slow.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::chain::{Chain, SMALL_BYTES};
use super::{Notes, links};
use crate::lab::discover::{Arrival, Direction, Flight, Sent};
use crate::net::oracle::End;
use crate::net::{HostId, Packet, Transport, World};

/// Headers of IPv4 and UDP.
const HEADERS_BYTES: usize = 28;
/// Longer than any link of a test takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A host, and the address of its socket.
pub(super) type Socket = (HostId, SocketAddr);

/// Looks at the links between a host behind them and one on the internet.
pub(super) async fn look(end: End<'_>, world: World, inside: Socket, outside: Socket) -> Notes {
    let simulation = RefCell::new(Simulation::new(world, inside, outside));
    let mut notes = Notes::new(end);
    for direction in [Direction::Up, Direction::Down] {
        let chain = Chain::new(end, direction);
        let fly = async |packets: &[Sent], enough: usize, patience: Duration| {
            Ok(simulation.borrow_mut().fly(direction, packets, enough, patience))
        };
        let packets = chain.small_packets();
        let flight = simulation.borrow_mut().fly(direction, &packets, packets.len(), chain.longest(SMALL_BYTES));
        links::assess(&chain, &flight, &fly, &mut notes).await.unwrap();
    }
    notes
}

struct Simulation {
    world: World,
    now: Instant,
    inside: Socket,
    outside: Socket,
    /// The inner socket, as the outer one sees it.
    mapped: SocketAddr,
}

impl Simulation {
    fn new(world: World, inside: Socket, outside: Socket) -> Self {
        let mut simulation = Self { world, now: Instant::now(), inside, outside, mapped: inside.1 };
        let knocked = (0..100).find_map(|_| {
            let (host, from) = simulation.inside;
            simulation.world.handle_input(simulation.now, host, Packet::udp(from, simulation.outside.1, Bytes::new()));
            simulation.advance(simulation.now + PATIENCE).pop()
        });
        simulation.mapped = knocked.expect("a way out").source;
        simulation
    }

    /// As [`Way::fly`](crate::lab::discover::Way::fly).
    fn fly(&mut self, direction: Direction, packets: &[Sent], enough: usize, patience: Duration) -> Flight {
        let (host, from, to) = match direction {
            Direction::Up => (self.inside.0, self.inside.1, self.outside.1),
            Direction::Down => (self.outside.0, self.outside.1, self.mapped),
        };
        let begun = self.now;
        let mut flight = Flight { bytes: packets.iter().map(|packet| packet.bytes).collect(), ..Flight::default() };
        let (mut sent, mut seen) = (HashMap::new(), HashSet::new());
        let ends = packets.iter().skip(1).map(|packet| begun + packet.due);
        flight.sending = packets.last().map_or(Duration::ZERO, |packet| packet.due);
        let ends: Vec<Instant> = ends.chain([begun + flight.sending + patience]).collect();
        for ((number, packet), end) in packets.iter().enumerate().zip(ends) {
            let mut content = vec![0; packet.bytes - HEADERS_BYTES];
            content[..size_of::<usize>()].copy_from_slice(&number.to_be_bytes());
            let content = Bytes::from(content);
            sent.insert(content.clone(), number);
            self.world.handle_input(self.now, host, Packet::udp(from, to, content));
            while self.now < end && flight.arrivals.len() < enough {
                for arrived in self.advance(end) {
                    let Transport::Udp(content) = arrived.transport else { continue };
                    match sent.get(&content) {
                        _ if !seen.insert(content.clone()) => flight.duplicates += 1,
                        Some(&number) => {
                            let (sent, arrived) = (packets[number].due, self.now - begun);
                            flight.arrivals.push(Arrival { number, sent, arrived });
                        }
                        None => flight.corrupt += 1,
                    }
                }
            }
        }
        // What is still under way is not of the next flight.
        while self.world.poll_timeout().is_some() {
            self.advance(self.now + PATIENCE);
        }
        flight
    }

    /// Moves on to when something arrives at a host, or to `end`.
    fn advance(&mut self, end: Instant) -> Vec<Packet> {
        let arrived =
            |world: &mut World| std::iter::from_fn(|| world.poll_output()).map(|(_, packet)| packet).collect();
        loop {
            let packets: Vec<Packet> = arrived(&mut self.world);
            if !packets.is_empty() || self.now >= end {
                return packets;
            }
            self.now = self.world.poll_timeout().map_or(end, |at| at.clamp(self.now, end));
            self.world.handle_timeout(self.now);
        }
    }
}
