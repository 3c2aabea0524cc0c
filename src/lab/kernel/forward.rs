//! The forwarder: a thread between the wire and the model, and the clock of the model.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::LabError;
use super::wire::Wire;
use crate::net::ip::{self, IpError};
use crate::net::{HostId, Packet, Protocol, Transport, World};

/// Flows of TCP whose last sequence number is remembered; when there are more, all are forgotten.
const FLOWS: usize = 4096;

/// How long packets are read that wait when the lab is stopped.
const DRAIN_DEADLINE: Duration = Duration::from_secs(1);

/// What the driver itself did to packets, apart from what the model did.
#[derive(Clone, Debug)]
pub struct DriverCounters {
    /// Packets that hosts sent and the model was given.
    pub received: u64,
    /// Packets that the model gave and hosts were sent.
    pub sent: u64,
    /// Packets that hosts sent and the kernel dropped, because the forwarder was too slow. Any such loss makes what was
    /// measured worthless. It is complete only once the lab has stopped.
    pub overrun: u64,
    /// Packets that the model gave and the kernel did not take, or that were longer than the host's MTU. As `overrun`.
    pub refused: u64,
    /// Packets that hosts sent and the model does not carry, by reason.
    pub not_carried: BTreeMap<IpError, u64>,
    /// How late the forwarder was at what the model had scheduled, in µs.
    pub lateness_us: Histogram<u64>,
}

/// What the forwarder and the lab's owner share.
pub(super) struct Shared {
    pub(super) world: World,
    pub(super) counters: DriverCounters,
    pub(super) stop: bool,
}

impl Shared {
    pub(super) fn new(world: World) -> Result<Arc<Mutex<Self>>, LabError> {
        // From 1 µs to a minute, which nothing can be late by without a far worse problem.
        let lateness_us = Histogram::new_with_bounds(1, 60_000_000, 3)
            .map_err(|error| LabError::System { what: "count", source: io::Error::other(error) })?;
        let counters =
            DriverCounters { received: 0, sent: 0, overrun: 0, refused: 0, not_carried: BTreeMap::new(), lateness_us };
        Ok(Arc::new(Mutex::new(Self { world, counters, stop: false })))
    }
}

pub(super) fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's state.
pub(super) struct Forwarder {
    wire: Wire,
    shared: Arc<Mutex<Shared>>,
    /// Readable once the owner has changed something.
    wake: Arc<OwnedFd>,
    hosts: Vec<Endpoint>,
    numbers: HashMap<HostId, usize>,
    sequences: HashMap<(SocketAddr, SocketAddr), u32>,
    /// The model's time, which never goes back.
    latest: Instant,
}

/// A host as the forwarder sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Endpoint {
    pub(super) id: HostId,
    pub(super) mtu: u16,
}

impl Forwarder {
    pub(super) fn new(wire: Wire, shared: Arc<Mutex<Shared>>, wake: Arc<OwnedFd>, hosts: Vec<Endpoint>) -> Self {
        let numbers = hosts.iter().enumerate().map(|(number, host)| (host.id, number)).collect();
        Self { wire, shared, wake, hosts, numbers, sequences: HashMap::new(), latest: Instant::now() }
    }

    /// Forwards until it is told to stop.
    pub(super) fn run(mut self) -> io::Result<()> {
        let shared = self.shared.clone();
        let mut more = false;
        loop {
            let (stop, due) = {
                let shared = lock(&shared);
                (shared.stop, shared.world.poll_timeout())
            };
            if stop {
                self.drain()?;
                // What the kernel dropped last comes to light with a packet that it does not drop.
                self.wire.provoke()?;
                return self.drain();
            }
            if !more {
                self.wire.wait(&self.wake, due.map(|due| due.saturating_duration_since(Instant::now())))?;
                let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
            }
            more = self.turn(&mut lock(&shared))?;
        }
    }

    /// Brings into the model what was sent until now, and a little more if hosts send without a pause.
    fn drain(&mut self) -> io::Result<()> {
        let shared = self.shared.clone();
        let deadline = Instant::now() + DRAIN_DEADLINE;
        while self.turn(&mut lock(&shared))? && Instant::now() < deadline {}
        Ok(())
    }

    /// Brings what is there into the model, and what is due out of it; says whether more waits to be read.
    fn turn(&mut self, Shared { world, counters, .. }: &mut Shared) -> io::Result<bool> {
        if let Some(late) = world.poll_timeout().and_then(|due| Instant::now().checked_duration_since(due)) {
            counters.lateness_us.saturating_record(late.as_micros() as u64);
        }
        let Self { wire, hosts, sequences, latest, .. } = self;
        let more = wire.receive(|host, at, bytes| match ip::decode(bytes) {
            Ok(packet) => {
                counters.received += 1;
                remember(sequences, &packet);
                *latest = at.max(*latest);
                world.handle_input(*latest, hosts[host].id, packet);
            }
            Err(error) => *counters.not_carried.entry(error).or_default() += 1,
        })?;
        // What waits to be read was sent before now, and the model's time must not have passed by it.
        if !more {
            *latest = Instant::now();
            world.handle_timeout(*latest);
        }
        counters.overrun = wire.dropped();
        while let Some((to, packet)) = world.poll_output() {
            let Some(number) = self.numbers.get(&to).copied() else { continue };
            let fits = packet.ip_length() <= usize::from(self.hosts[number].mtu);
            let sequence = recall(&self.sequences, &packet);
            if !fits || self.wire.queue(number, &packet, sequence).is_err() {
                counters.refused += 1;
            }
        }
        let (sent, refused) = self.wire.flush()?;
        counters.sent += sent;
        counters.refused += refused;
        Ok(more)
    }
}

/// Keeps a segment's sequence number for an ICMP error about it.
fn remember(sequences: &mut HashMap<(SocketAddr, SocketAddr), u32>, packet: &Packet) {
    if let Transport::Tcp(segment) = &packet.transport {
        if sequences.len() >= FLOWS {
            sequences.clear();
        }
        sequences.insert((packet.source, packet.destination), segment.sequence());
    }
}

/// The sequence number that the host sent last in the flow which an ICMP error is about.
fn recall(sequences: &HashMap<(SocketAddr, SocketAddr), u32>, packet: &Packet) -> u32 {
    match &packet.transport {
        Transport::Unreachable(error) if error.protocol == Protocol::Tcp => {
            sequences.get(&(error.source, error.destination)).copied().unwrap_or(0)
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{TcpSegment, UnreachableReason};

    #[test]
    fn an_error_about_a_segment_finds_its_sequence_number() {
        let (source, destination) = ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap());
        let sent = Packet::tcp(source, destination, TcpSegment::new(TcpSegment::SYN, 77, 0, &[]));
        let mut sequences = HashMap::new();
        remember(&mut sequences, &sent);
        let error = sent.unreachable(destination.ip(), UnreachableReason::Prohibited).unwrap();
        assert_eq!(recall(&sequences, &error), 77);
        assert_eq!(recall(&sequences, &sent), 0);
    }
}
