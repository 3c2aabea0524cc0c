//! What a NAT or a firewall knows of a TCP connection (RFC 5382, RFC 7857).

use std::time::Duration;

use super::packet::TcpSegment;

/// A connection as it is seen from the middle.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Connection {
    /// Who has opened its direction: inside, outside.
    opened: [bool; 2],
    /// Who has closed its direction: inside, outside.
    closed: [bool; 2],
    reset: bool,
}

/// How long an idle connection is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct TcpLifetimes {
    pub(super) established: Duration,
    pub(super) transitory: Duration,
}

impl Connection {
    /// Sees a segment; `outbound` ones come from inside.
    pub(super) fn observe(&mut self, segment: &TcpSegment, outbound: bool) {
        let side = usize::from(!outbound);
        if begins(segment) && self.is_over() {
            *self = Self::default();
        }
        self.opened[side] |= segment.syn();
        self.closed[side] |= segment.fin();
        self.reset |= segment.rst();
    }

    /// Whether it was reset, or closed by both ends.
    pub(super) fn is_over(&self) -> bool {
        self.reset || self.closed == [true, true]
    }

    /// How long it is known from now on if nothing more is seen of it.
    pub(super) fn lifetime(&self, lifetimes: TcpLifetimes) -> Duration {
        if self.opened == [true, true] && !self.is_over() { lifetimes.established } else { lifetimes.transitory }
    }
}

/// Whether the segment opens a new connection.
pub(super) fn begins(segment: &TcpSegment) -> bool {
    segment.syn() && !segment.ack() && !segment.rst()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIMES: TcpLifetimes =
        TcpLifetimes { established: Duration::from_secs(7_440), transitory: Duration::from_secs(240) };

    fn seen(segments: &[(u8, bool)]) -> Connection {
        let mut connection = Connection::default();
        for (flags, outbound) in segments {
            connection.observe(&TcpSegment::new(*flags, 0, 0, &[]), *outbound);
        }
        connection
    }

    #[test]
    fn a_connection_is_transitory_until_both_ends_have_opened_it() {
        let (syn, ack, fin, rst) = (TcpSegment::SYN, TcpSegment::ACK, TcpSegment::FIN, TcpSegment::RST);
        for (segments, lifetime) in [
            (&[(syn, true)][..], LIFETIMES.transitory),
            (&[(syn, true), (syn | ack, false)], LIFETIMES.established),
            (&[(syn, true), (syn | ack, false), (fin | ack, true)], LIFETIMES.established),
            (&[(syn, true), (syn | ack, false), (fin | ack, true), (fin | ack, false)], LIFETIMES.transitory),
            (&[(syn, true), (syn | ack, false), (rst, false)], LIFETIMES.transitory),
            (&[(syn, true), (syn | ack, false), (rst, false), (syn, true), (syn | ack, false)], LIFETIMES.established),
        ] {
            assert_eq!(seen(segments).lifetime(LIFETIMES), lifetime, "{segments:?}");
        }
    }
}
