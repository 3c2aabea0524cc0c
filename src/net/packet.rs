//! What travels through the model: UDP datagrams, TCP segments and ICMP errors, without the IP header's bytes.

use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, Bytes, BytesMut};

/// One IP packet.
///
/// ICMP errors have no ports: those of `source` and `destination` are 0 when `transport` is [`Transport::Unreachable`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Packet {
    /// Where it comes from.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// What it carries.
    pub transport: Transport,
}

/// What a packet carries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Transport {
    /// The payload of a UDP datagram.
    Udp(Bytes),
    /// A TCP segment.
    Tcp(TcpSegment),
    /// An ICMP or ICMPv6 error about a packet sent before.
    Unreachable(Unreachable),
}

/// A TCP segment as on the wire. The ports and the checksum in its header mean nothing in the model: those of the
/// [`Packet`] hold, and whoever encodes the packet writes them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TcpSegment {
    /// The TCP header, at least 20 bytes, and what follows it.
    pub header_and_payload: Bytes,
}

/// An ICMP error: destination unreachable, or packet too big.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unreachable {
    /// What went wrong.
    pub reason: UnreachableReason,
    /// The source of the packet that it is about, as its sender sent it.
    pub source: SocketAddr,
    /// The destination of the packet that it is about, as its sender sent it.
    pub destination: SocketAddr,
    /// The protocol of the packet that it is about.
    pub protocol: Protocol,
}

/// Why a packet did not arrive, in the words of ICMP (RFC 792, RFC 4443).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum UnreachableReason {
    /// No such host.
    Host,
    /// Nobody listens on the port.
    Port,
    /// Communication is administratively prohibited.
    Prohibited,
    /// The packet is longer than a link takes.
    TooBig {
        /// The longest IP packet that the link takes, in bytes.
        mtu: u16,
    },
}

impl UnreachableReason {
    /// The words of people for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "no such host",
            Self::Port => "nobody listens on the port",
            Self::Prohibited => "administratively prohibited",
            Self::TooBig { .. } => "packet too big",
        }
    }
}

/// A protocol above IP.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    /// User Datagram Protocol.
    Udp,
    /// Transmission Control Protocol.
    Tcp,
    /// ICMP or ICMPv6.
    Icmp,
}

impl Packet {
    /// A UDP datagram.
    pub fn udp(source: SocketAddr, destination: SocketAddr, payload: impl Into<Bytes>) -> Self {
        Self { source, destination, transport: Transport::Udp(payload.into()) }
    }

    /// A TCP segment.
    pub fn tcp(source: SocketAddr, destination: SocketAddr, segment: TcpSegment) -> Self {
        Self { source, destination, transport: Transport::Tcp(segment) }
    }

    /// The ICMP error that `reporter` sends about this packet; absent for an ICMP error, about which none may be sent
    /// (RFC 1122, 3.2.2).
    pub fn unreachable(&self, reporter: IpAddr, reason: UnreachableReason) -> Option<Self> {
        let protocol = match self.protocol() {
            Protocol::Icmp => return None,
            protocol => protocol,
        };
        let error = Unreachable { reason, source: self.source, destination: self.destination, protocol };
        let destination = SocketAddr::new(self.source.ip(), 0);
        Some(Self { source: SocketAddr::new(reporter, 0), destination, transport: Transport::Unreachable(error) })
    }

    /// The protocol that it carries.
    pub fn protocol(&self) -> Protocol {
        match self.transport {
            Transport::Udp(_) => Protocol::Udp,
            Transport::Tcp(_) => Protocol::Tcp,
            Transport::Unreachable(_) => Protocol::Icmp,
        }
    }

    /// Its length in bytes with the IP header, which has no options.
    pub fn ip_length(&self) -> usize {
        let header = if self.source.is_ipv4() { 20 } else { 40 };
        header
            + match &self.transport {
                Transport::Udp(payload) => 8 + payload.len(),
                Transport::Tcp(segment) => segment.header_and_payload.len(),
                // The ICMP header, then the IP header and 8 bytes of the packet that it is about (RFC 792).
                Transport::Unreachable(_) => 8 + header + 8,
            }
    }
}

impl TcpSegment {
    /// FIN: the sender has no more data.
    pub const FIN: u8 = 0x01;
    /// SYN: the first segment of a direction.
    pub const SYN: u8 = 0x02;
    /// RST: the connection is over.
    pub const RST: u8 = 0x04;
    /// PSH: hand the data to the application.
    pub const PSH: u8 = 0x08;
    /// ACK: the acknowledgement number counts.
    pub const ACK: u8 = 0x10;

    const HEADER: usize = 20;

    /// A segment without options; ports, window and checksum are left to the encoder or 0.
    pub fn new(flags: u8, sequence: u32, acknowledgement: u32, payload: &[u8]) -> Self {
        let mut bytes = BytesMut::with_capacity(Self::HEADER + payload.len());
        bytes.put_u32(0);
        bytes.put_u32(sequence);
        bytes.put_u32(acknowledgement);
        bytes.put_u8(((Self::HEADER / 4) << 4) as u8);
        bytes.put_u8(flags);
        bytes.put_u16(if flags & Self::RST == 0 { u16::MAX } else { 0 });
        bytes.put_u32(0);
        bytes.put_slice(payload);
        Self { header_and_payload: bytes.freeze() }
    }

    /// The flags of the header; 0 if the segment is cut short.
    pub fn flags(&self) -> u8 {
        self.header_and_payload.get(13).copied().unwrap_or(0)
    }

    /// The sequence number.
    pub fn sequence(&self) -> u32 {
        self.word(4)
    }

    /// The acknowledgement number.
    pub fn acknowledgement(&self) -> u32 {
        self.word(8)
    }

    /// What follows the header and its options.
    pub fn payload(&self) -> &[u8] {
        let header = self.header_and_payload.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4);
        self.header_and_payload.get(header.max(Self::HEADER)..).unwrap_or(&[])
    }

    /// Whether it opens a direction.
    pub fn syn(&self) -> bool {
        self.flags() & Self::SYN != 0
    }

    /// Whether it acknowledges something.
    pub fn ack(&self) -> bool {
        self.flags() & Self::ACK != 0
    }

    /// Whether it ends a direction.
    pub fn fin(&self) -> bool {
        self.flags() & Self::FIN != 0
    }

    /// Whether it ends the connection.
    pub fn rst(&self) -> bool {
        self.flags() & Self::RST != 0
    }

    /// The sequence number after this segment: SYN and FIN count as one byte each.
    pub fn next_sequence(&self) -> u32 {
        let length = self.payload().len() as u32 + u32::from(self.syn()) + u32::from(self.fin());
        self.sequence().wrapping_add(length)
    }

    /// The reset with which the destination of this segment would refuse it (RFC 9293, 3.5.2).
    pub fn reset(&self) -> Self {
        if self.ack() {
            Self::new(Self::RST, self.acknowledgement(), 0, &[])
        } else {
            Self::new(Self::RST | Self::ACK, 0, self.next_sequence(), &[])
        }
    }

    fn word(&self, at: usize) -> u32 {
        let bytes = self.header_and_payload.get(at..at + 4);
        bytes.map_or(0, |bytes| bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn lengths_count_every_header() {
        let (v4, v6) = (address("192.168.1.2:5000"), address("[2a0f::1]:5000"));
        assert_eq!(Packet::udp(v4, v4, vec![0; 1200]).ip_length(), 1228);
        assert_eq!(Packet::udp(v6, v6, vec![0; 1200]).ip_length(), 1248);
        assert_eq!(Packet::tcp(v4, v4, TcpSegment::new(TcpSegment::SYN, 7, 0, &[])).ip_length(), 40);
        let error = Packet::udp(v4, v4, vec![0; 1200]).unreachable(v4.ip(), UnreachableReason::Port).unwrap();
        assert_eq!(error.ip_length(), 56);
    }

    #[test]
    fn no_error_is_sent_about_an_error() {
        let at = address("192.168.1.2:5000");
        let error = Packet::udp(at, at, Bytes::new()).unreachable(at.ip(), UnreachableReason::Host).unwrap();
        assert_eq!(error.unreachable(at.ip(), UnreachableReason::Host), None);
    }

    #[test]
    fn a_segment_reads_back_what_it_was_made_of() {
        let segment = TcpSegment::new(TcpSegment::ACK | TcpSegment::FIN, 0xfffffffe, 9, b"abc");
        assert_eq!((segment.sequence(), segment.acknowledgement(), segment.payload()), (0xfffffffe, 9, &b"abc"[..]));
        assert!(segment.fin() && segment.ack() && !segment.syn() && !segment.rst());
        assert_eq!(segment.next_sequence(), 2);
        assert_eq!(segment.reset().sequence(), 9);
    }

    #[test]
    fn a_segment_cut_short_has_no_flags_and_no_payload() {
        let segment = TcpSegment { header_and_payload: Bytes::from_static(&[0; 5]) };
        assert_eq!((segment.flags(), segment.sequence(), segment.payload()), (0, 0, &[][..]));
    }
}
