//! What became of the packets of a network.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeMap};

/// What passed a network's border, and what did not.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Packets that came out of its up link.
    pub outbound: u64,
    /// Packets that came in through its layers: from its down link, or sent back by one of the layers.
    pub inbound: u64,
    /// Packets between its own hosts that did not pass its border.
    pub local: u64,
    dropped: [u64; DropReason::ALL.len()],
}

/// Why a packet did not arrive.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum DropReason {
    /// A NAT or a firewall did not expect it.
    Unsolicited,
    /// A TCP segment of a connection that a NAT or a firewall does not know.
    NoConnection,
    /// A NAT had no free port, or a one-to-one NAT no free address.
    PortsExhausted,
    /// It was sent to an outside address of the NAT that it was behind, which does not hairpin.
    NoHairpin,
    /// A firewall's rule forbids it.
    Forbidden,
    /// A firewall wanted TLS and saw something else.
    NotTls,
    /// The hosts of the LAN cannot reach each other.
    Isolated,
    /// No such host in the network that its address belongs to.
    NoSuchHost,
    /// Nothing on the internet has its destination: a private address, or one that nobody owns.
    BlackHole,
    /// A source that does not belong to its sender, or a private one on the internet.
    BadSource,
    /// The link was cut.
    LinkCut,
    /// It was longer than the link takes.
    TooBig,
    /// The link's queue was full.
    QueueFull,
    /// The link lost it.
    Lost,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Unsolicited,
        Self::NoConnection,
        Self::PortsExhausted,
        Self::NoHairpin,
        Self::Forbidden,
        Self::NotTls,
        Self::Isolated,
        Self::NoSuchHost,
        Self::BlackHole,
        Self::BadSource,
        Self::LinkCut,
        Self::TooBig,
        Self::QueueFull,
        Self::Lost,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unsolicited => "unsolicited",
            Self::NoConnection => "no-connection",
            Self::PortsExhausted => "ports-exhausted",
            Self::NoHairpin => "no-hairpin",
            Self::Forbidden => "forbidden",
            Self::NotTls => "not-tls",
            Self::Isolated => "isolated",
            Self::NoSuchHost => "no-such-host",
            Self::BlackHole => "black-hole",
            Self::BadSource => "bad-source",
            Self::LinkCut => "link-cut",
            Self::TooBig => "too-big",
            Self::QueueFull => "queue-full",
            Self::Lost => "lost",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Counters {
    /// Packets that passed the border, in both directions.
    pub fn forwarded(&self) -> u64 {
        self.outbound + self.inbound
    }

    /// Packets that ended for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// The reasons for which packets ended, with how many.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL.into_iter().map(|reason| (reason, self.dropped(reason))).filter(|(_, count)| *count > 0)
    }

    pub(super) fn count(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }
}

impl Serialize for Counters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("outbound", &self.outbound)?;
        map.serialize_entry("inbound", &self.inbound)?;
        map.serialize_entry("local", &self.local)?;
        for (reason, count) in self.drops() {
            map.serialize_entry(reason.name(), &count)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_counts_for_itself() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            let mut counters = Counters::default();
            counters.count(reason);
            assert_eq!(counters.drops().collect::<Vec<_>>(), [(reason, 1)]);
        }
    }
}
