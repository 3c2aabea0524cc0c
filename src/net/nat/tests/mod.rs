//! One NAT, packet by packet, in simulated time.

mod naive;
mod ports;
mod tcp;
mod udp;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::*;
use crate::net::packet::UnreachableReason;
use crate::net::spec::{Pooling, PortAllocation};

/// A NAT with the outside addresses 11.128.0.1 and on, at a time that the test sets.
struct Bed {
    nat: Nat,
    now: Instant,
}

const A: &str = "192.168.1.2:5000";
const B: &str = "192.168.1.3:5000";
const S1: &str = "11.0.0.1:3478";
const S1_ALT: &str = "11.0.0.1:3479";
const S2: &str = "11.0.0.2:3478";
const OUT: &str = "11.128.0.1:5000";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl Bed {
    fn new(spec: NatSpec) -> Self {
        let outside = (1..=spec.addresses).map(|number| Ipv4Addr::new(11, 128, 0, number as u8)).collect();
        Self { nat: Nat::new(&spec, outside, 7), now: Instant::now() }
    }

    fn class(mapping: Mapping, filtering: Filtering) -> Self {
        Self::new(NatSpec { mapping, filtering, ports: PortAllocation::Random, ..NatSpec::default() })
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// The source with which a packet leaves.
    fn send(&mut self, from: &str, to: impl ToString) -> Result<SocketAddr, DropReason> {
        self.pass_out(Packet::udp(at(from), at(&to.to_string()), &b"out"[..])).map(|packet| packet.source)
    }

    /// The inside host that a packet reaches.
    fn receive(&mut self, from: impl ToString, to: impl ToString) -> Result<SocketAddr, DropReason> {
        let packet = Packet::udp(at(&from.to_string()), at(&to.to_string()), &b"in"[..]);
        self.pass_in(packet).map(|packet| packet.destination)
    }

    fn pass_out(&mut self, mut packet: Packet) -> Result<Packet, DropReason> {
        match self.nat.outbound(self.now, &mut packet) {
            Verdict::Pass => Ok(packet),
            Verdict::Drop(reason) => Err(reason),
            other => panic!("{other:?}"),
        }
    }

    fn pass_in(&mut self, mut packet: Packet) -> Result<Packet, DropReason> {
        match self.nat.inbound(self.now, &mut packet) {
            Verdict::Pass => Ok(packet),
            Verdict::Drop(reason) => Err(reason),
            other => panic!("{other:?}"),
        }
    }

    /// What a packet to an own outside address becomes.
    fn hairpin(&mut self, from: &str, to: impl ToString) -> Result<Packet, DropReason> {
        let mut packet = Packet::udp(at(from), at(&to.to_string()), &b"hairpin"[..]);
        match self.nat.outbound(self.now, &mut packet) {
            Verdict::Back => Ok(packet),
            Verdict::Drop(reason) => Err(reason),
            other => panic!("{other:?}"),
        }
    }
}
