//! One firewall.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::counters::DropReason;
use super::hash::FastMap;
use super::layer::{Cut, Router, Verdict, refuse, refuse_port};
use super::packet::{Packet, Protocol, TcpSegment, Transport, UnreachableReason};
use super::spec::{FirewallSpec, PortRule, Refusal};
use super::tcp::{Connection, TcpLifetimes, begins};

/// A firewall with the flows that it knows.
pub(super) struct Firewall {
    spec: FirewallSpec,
    router: Router,
    udp_lifetime: Duration,
    tcp_lifetimes: TcpLifetimes,
    flows: FastMap<FlowKey, Flow>,
    /// How many flows there may be before those that are over are cleared away.
    sweep_at: usize,
}

#[derive(Clone, Copy, Eq, Hash, PartialEq)]
struct FlowKey {
    protocol: Protocol,
    inside: SocketAddr,
    outside: SocketAddr,
}

struct Flow {
    expires: Instant,
    connection: Connection,
    greeting: Greeting,
}

/// What a client's first bytes look like.
#[derive(Clone, Copy)]
enum Greeting {
    /// As TLS so far: this many bytes, and the sequence number of the next.
    Open { seen: usize, next: u32 },
    /// TLS, or nobody looks.
    Fine,
    /// Something else; the connection was cut.
    Cut,
}

/// What begins a TLS ClientHello: a handshake record of any 3.x version and length, with the first handshake message
/// (RFC 8446, 4 and 5.1).
const CLIENT_HELLO: [Option<u8>; 6] = [Some(22), Some(3), None, None, None, Some(1)];

impl Firewall {
    const FLOWS: usize = 4_096;

    pub(super) fn new(spec: &FirewallSpec, router: Router) -> Self {
        Self {
            spec: spec.clone(),
            router,
            udp_lifetime: Duration::from_micros(spec.udp_lifetime_us),
            tcp_lifetimes: TcpLifetimes {
                established: Duration::from_micros(spec.tcp_established_us),
                transitory: Duration::from_micros(spec.tcp_transitory_us),
            },
            flows: FastMap::default(),
            sweep_at: Self::FLOWS,
        }
    }

    /// A packet from inside.
    pub(super) fn outbound(&mut self, now: Instant, packet: &mut Packet) -> Verdict {
        match &packet.transport {
            Transport::Udp(_) => self.udp_outbound(now, packet),
            Transport::Tcp(segment) => {
                let segment = segment.clone();
                self.tcp_outbound(now, packet, &segment)
            }
            Transport::Unreachable(error) => {
                let key = FlowKey { protocol: error.protocol, inside: error.destination, outside: error.source };
                self.about(now, &key)
            }
        }
    }

    /// A packet from outside. Those that are not expected vanish silently.
    pub(super) fn inbound(&mut self, now: Instant, packet: &Packet) -> Verdict {
        let key = FlowKey { protocol: packet.protocol(), inside: packet.destination, outside: packet.source };
        let rule = match &packet.transport {
            Transport::Udp(_) => &self.spec.udp,
            Transport::Tcp(_) => &self.spec.tcp,
            Transport::Unreachable(error) => {
                let key = FlowKey { protocol: error.protocol, inside: error.source, outside: error.destination };
                return self.about(now, &key);
            }
        };
        if !self.spec.stateful {
            return if rule.allows(packet.source.port()) {
                Verdict::Pass
            } else {
                Verdict::Drop(DropReason::Forbidden)
            };
        }
        let Some(flow) = self.flows.get_mut(&key).filter(|flow| now < flow.expires) else {
            return Verdict::Drop(DropReason::Unsolicited);
        };
        if let Greeting::Cut = flow.greeting {
            return Verdict::Drop(DropReason::NotTls);
        }
        if let Transport::Tcp(segment) = &packet.transport {
            flow.connection.observe(segment, false);
            flow.expires = now + flow.connection.lifetime(self.tcp_lifetimes);
        } else {
            flow.expires = now + self.udp_lifetime;
        }
        Verdict::Pass
    }

    fn udp_outbound(&mut self, now: Instant, packet: &mut Packet) -> Verdict {
        if !self.spec.udp.allows(packet.destination.port()) {
            return refused(packet, &self.spec.udp, self.router);
        }
        if self.spec.stateful {
            let key = FlowKey { protocol: Protocol::Udp, inside: packet.source, outside: packet.destination };
            let expires = now + self.udp_lifetime;
            match self.flows.get_mut(&key) {
                Some(flow) => flow.expires = expires,
                None => self.insert(now, key, expires),
            }
        }
        Verdict::Pass
    }

    fn tcp_outbound(&mut self, now: Instant, packet: &mut Packet, segment: &TcpSegment) -> Verdict {
        if !self.spec.tcp.allows(packet.destination.port()) {
            return refused(packet, &self.spec.tcp, self.router);
        }
        if !self.spec.stateful {
            return Verdict::Pass;
        }
        let key = FlowKey { protocol: Protocol::Tcp, inside: packet.source, outside: packet.destination };
        let known = self.flows.get(&key).is_some_and(|flow| now < flow.expires);
        if !known {
            if !begins(segment) {
                return Verdict::Drop(DropReason::NoConnection);
            }
            self.insert(now, key, now + self.tcp_lifetimes.transitory);
        }
        let (inspects, lifetimes) = (self.spec.tls_only, self.tcp_lifetimes);
        let Some(flow) = self.flows.get_mut(&key) else { return Verdict::Drop(DropReason::NoConnection) };
        if begins(segment) {
            // A new connection between the same ends is looked at anew, whatever became of the one before.
            flow.greeting =
                if inspects { Greeting::Open { seen: 0, next: segment.next_sequence() } } else { Greeting::Fine };
        }
        flow.connection.observe(segment, true);
        flow.expires = now + flow.connection.lifetime(lifetimes);
        match flow.greeting {
            Greeting::Fine => Verdict::Pass,
            Greeting::Cut => Verdict::Drop(DropReason::NotTls),
            Greeting::Open { seen, next } => {
                flow.greeting = greeting(segment, seen, next);
                if !matches!(flow.greeting, Greeting::Cut) {
                    return Verdict::Pass;
                }
                let reset = TcpSegment::new(TcpSegment::RST, segment.sequence(), 0, &[]);
                let inside = Packet::tcp(packet.destination, packet.source, segment.reset());
                let outside = Packet::tcp(packet.source, packet.destination, reset);
                Verdict::Cut(DropReason::NotTls, Box::new(Cut { inside, outside }))
            }
        }
    }

    /// An ICMP error passes if the firewall knows what it is about.
    fn about(&self, now: Instant, key: &FlowKey) -> Verdict {
        if !self.spec.stateful || self.flows.get(key).is_some_and(|flow| now < flow.expires) {
            Verdict::Pass
        } else {
            Verdict::Drop(DropReason::Unsolicited)
        }
    }

    fn insert(&mut self, now: Instant, key: FlowKey, expires: Instant) {
        if self.flows.len() >= self.sweep_at {
            self.flows.retain(|_, flow| now < flow.expires);
            self.sweep_at = Self::FLOWS.max(2 * self.flows.len());
        }
        self.flows.insert(key, Flow { expires, connection: Connection::default(), greeting: Greeting::Fine });
    }
}

fn refused(packet: &mut Packet, rule: &PortRule, router: Router) -> Verdict {
    let reporter = router.address(packet.source);
    match rule.otherwise {
        Refusal::Drop => Verdict::Drop(DropReason::Forbidden),
        Refusal::Prohibited => refuse(packet, reporter, UnreachableReason::Prohibited, DropReason::Forbidden),
        Refusal::Unreachable => refuse_port(packet, reporter, DropReason::Forbidden),
    }
}

/// What the greeting looks like after one more segment. Bytes out of turn are passed and not looked at: they come again.
fn greeting(segment: &TcpSegment, seen: usize, next: u32) -> Greeting {
    let payload = segment.payload();
    if segment.syn() || segment.sequence() != next {
        return Greeting::Open { seen, next };
    }
    let fits = |(byte, wanted): (&u8, &Option<u8>)| wanted.is_none_or(|wanted| wanted == *byte);
    if !payload.iter().zip(&CLIENT_HELLO[seen..]).all(fits) {
        return Greeting::Cut;
    }
    match seen + payload.len() {
        seen if seen >= CLIENT_HELLO.len() => Greeting::Fine,
        seen => Greeting::Open { seen, next: next.wrapping_add(payload.len() as u32) },
    }
}
