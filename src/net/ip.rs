//! The IP codec: bytes of IPv4 and IPv6 packets to [`Packet`] and back.
//!
//! Checksums are computed in full when a packet is written and not looked at when one is read: a sender whose interface
//! offloads them hands out packets with half a checksum, and nothing between such a sender and here can break a packet.
//! IP options and extension headers are skipped and not kept; neither are the time to live, DSCP and ECN.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

use super::{Packet, Protocol, TcpSegment, Transport, Unreachable, UnreachableReason};

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const UDP_HEADER: usize = 8;
const TCP_HEADER: usize = 20;
const ICMP_HEADER: usize = 8;
/// An ICMP error quotes the IP header and this much behind it (RFC 792): the ports, and the sequence number of TCP.
const QUOTED: usize = 8;

/// The hop limit of what is written: the default of common systems.
const HOPS: u8 = 64;

const ICMPV4: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const FRAGMENT: u8 = 44;

/// Why bytes are no [`Packet`], or a packet has no bytes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, thiserror::Error)]
#[non_exhaustive]
pub enum IpError {
    /// Shorter than its headers say.
    #[error("the packet is cut short")]
    Truncated,
    /// Neither IPv4 nor IPv6.
    #[error("IP version {0}")]
    Version(u8),
    /// A header contradicts itself.
    #[error("the {0} header contradicts itself")]
    Header(&'static str),
    /// A part of a packet; the model carries whole ones only.
    #[error("a fragment")]
    Fragment,
    /// A protocol that the model does not carry.
    #[error("IP protocol {0}")]
    Protocol(u8),
    /// An ICMP message that is no error of those that the model carries, such as an echo request.
    #[error("ICMP type {kind} code {code}")]
    Icmp {
        /// The type, in the numbers of the packet's IP version.
        kind: u8,
        /// The code.
        code: u8,
    },
    /// Source and destination are of different IP versions.
    #[error("source and destination are of different IP versions")]
    Families,
    /// More than an IP packet can hold.
    #[error("longer than 65,535 bytes")]
    Long,
}

/// Reads one IP packet; bytes behind its end, such as the padding of a frame, are ignored.
///
/// # Errors
///
/// When the bytes are no packet, or one that the model does not carry.
pub fn decode(bytes: &[u8]) -> Result<Packet, IpError> {
    let Header { source, destination, protocol, body } = Header::read(bytes)?;
    let packet = |source_port, destination_port, transport| Packet {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
        transport,
    };
    match protocol {
        UDP => {
            let length = usize::from(word(body, 4)?);
            if length < UDP_HEADER {
                return Err(IpError::Header("UDP"));
            }
            let payload = body.get(UDP_HEADER..length).ok_or(IpError::Truncated)?;
            Ok(packet(word(body, 0)?, word(body, 2)?, Transport::Udp(Bytes::copy_from_slice(payload))))
        }
        TCP => {
            let header = usize::from(body.get(12).ok_or(IpError::Truncated)? >> 4) * 4;
            if header < TCP_HEADER {
                return Err(IpError::Header("TCP"));
            }
            if body.len() < header {
                return Err(IpError::Truncated);
            }
            let segment = TcpSegment { header_and_payload: Bytes::copy_from_slice(body) };
            Ok(packet(word(body, 0)?, word(body, 2)?, Transport::Tcp(segment)))
        }
        ICMPV4 if source.is_ipv4() => Ok(packet(0, 0, Transport::Unreachable(read_error(body, reason_v4)?))),
        ICMPV6 if source.is_ipv6() => Ok(packet(0, 0, Transport::Unreachable(read_error(body, reason_v6)?))),
        other => Err(IpError::Protocol(other)),
    }
}

/// Appends the packet's bytes to `out`, or nothing in case of an error.
///
/// `sequence` goes into the quote of an ICMP error about a TCP segment, whose sender believes only errors about what it
/// has in flight (RFC 5927, 4.1); it means nothing to other packets.
///
/// # Errors
///
/// When the packet cannot be expressed: it mixes IP versions, is too long, or holds a TCP segment without a header.
pub fn encode(packet: &Packet, sequence: u32, out: &mut Vec<u8>) -> Result<(), IpError> {
    let start = out.len();
    let done = write(packet, sequence, out);
    if done.is_err() {
        out.truncate(start);
    }
    done
}

fn write(packet: &Packet, sequence: u32, out: &mut Vec<u8>) -> Result<(), IpError> {
    let (source, destination) = (packet.source, packet.destination);
    match &packet.transport {
        Transport::Udp(payload) => {
            let length = UDP_HEADER + payload.len();
            let pseudo = header(source.ip(), destination.ip(), UDP, length, out)?;
            let body = out.len();
            out.extend_from_slice(&source.port().to_be_bytes());
            out.extend_from_slice(&destination.port().to_be_bytes());
            // The IP header took the length, so that it fits.
            out.extend_from_slice(&(length as u16).to_be_bytes());
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(payload);
            // 0 would say that there is none (RFC 768).
            let sum = match checksum(pseudo, &out[body..]) {
                0 => u16::MAX,
                sum => sum,
            };
            out[body + 6..body + 8].copy_from_slice(&sum.to_be_bytes());
        }
        Transport::Tcp(TcpSegment { header_and_payload: segment }) => {
            if segment.len() < TCP_HEADER {
                return Err(IpError::Truncated);
            }
            let pseudo = header(source.ip(), destination.ip(), TCP, segment.len(), out)?;
            let body = out.len();
            out.extend_from_slice(segment);
            out[body..body + 2].copy_from_slice(&source.port().to_be_bytes());
            out[body + 2..body + 4].copy_from_slice(&destination.port().to_be_bytes());
            out[body + 16..body + 18].fill(0);
            let sum = checksum(pseudo, &out[body..]);
            out[body + 16..body + 18].copy_from_slice(&sum.to_be_bytes());
        }
        Transport::Unreachable(error) => write_error(source.ip(), destination.ip(), error, sequence, out)?,
    }
    Ok(())
}

/// What an IP header says.
struct Header<'a> {
    source: IpAddr,
    destination: IpAddr,
    /// The first protocol that is no extension header.
    protocol: u8,
    /// What that protocol carries.
    body: &'a [u8],
}

impl<'a> Header<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, IpError> {
        Self::read_quoted(bytes, false)
    }

    /// A quote in an ICMP error may end anywhere behind the header.
    fn read_quoted(bytes: &'a [u8], quoted: bool) -> Result<Self, IpError> {
        match bytes.first().ok_or(IpError::Truncated)? >> 4 {
            4 => Self::read_v4(bytes, quoted),
            6 => Self::read_v6(bytes, quoted),
            version => Err(IpError::Version(version)),
        }
    }

    fn read_v4(bytes: &'a [u8], quoted: bool) -> Result<Self, IpError> {
        let header = usize::from(bytes[0] & 0xf) * 4;
        if header < IPV4_HEADER {
            return Err(IpError::Header("IPv4"));
        }
        let total = usize::from(word(bytes, 2)?);
        if total < header {
            return Err(IpError::Header("IPv4"));
        }
        // More fragments to come, or an offset.
        if word(bytes, 6)? & 0x3fff != 0 {
            return Err(IpError::Fragment);
        }
        let body = body(bytes, header, total, quoted)?;
        Ok(Self {
            source: Ipv4Addr::from(array(bytes, 12)?).into(),
            destination: Ipv4Addr::from(array(bytes, 16)?).into(),
            protocol: *bytes.get(9).ok_or(IpError::Truncated)?,
            body,
        })
    }

    fn read_v6(bytes: &'a [u8], quoted: bool) -> Result<Self, IpError> {
        let total = IPV6_HEADER + usize::from(word(bytes, 4)?);
        let mut body = body(bytes, IPV6_HEADER, total, quoted)?;
        let mut protocol = bytes[6];
        // Hop-by-hop options, routing, destination options: next header, then the length in units of 8 bytes, less one.
        while matches!(protocol, 0 | 43 | 60) {
            let (next, length) = (body.first(), body.get(1));
            let (Some(next), Some(length)) = (next, length) else { return Err(IpError::Truncated) };
            protocol = *next;
            body = body.get(8 + usize::from(*length) * 8..).ok_or(IpError::Truncated)?;
        }
        if protocol == FRAGMENT {
            return Err(IpError::Fragment);
        }
        Ok(Self {
            source: Ipv6Addr::from(array(bytes, 8)?).into(),
            destination: Ipv6Addr::from(array(bytes, 24)?).into(),
            protocol,
            body,
        })
    }
}

fn body(bytes: &[u8], header: usize, total: usize, quoted: bool) -> Result<&[u8], IpError> {
    let end = if quoted { total.min(bytes.len()) } else { total };
    bytes.get(header..end).ok_or(IpError::Truncated)
}

/// Reads an ICMP error; `reason` knows the types and codes of the IP version.
fn read_error(body: &[u8], reason: fn(u8, u8, u32) -> Option<UnreachableReason>) -> Result<Unreachable, IpError> {
    let (kind, code) = (*body.first().ok_or(IpError::Truncated)?, *body.get(1).ok_or(IpError::Truncated)?);
    let reason = reason(kind, code, u32::from_be_bytes(array(body, 4)?)).ok_or(IpError::Icmp { kind, code })?;
    let quote = Header::read_quoted(body.get(ICMP_HEADER..).ok_or(IpError::Truncated)?, true)?;
    let protocol = match quote.protocol {
        UDP => Protocol::Udp,
        TCP => Protocol::Tcp,
        other => return Err(IpError::Protocol(other)),
    };
    Ok(Unreachable {
        reason,
        source: SocketAddr::new(quote.source, word(quote.body, 0)?),
        destination: SocketAddr::new(quote.destination, word(quote.body, 2)?),
        protocol,
    })
}

/// RFC 792 and RFC 1812, 5.2.7.1; the MTU is in the last two bytes of the header (RFC 1191, 4).
fn reason_v4(kind: u8, code: u8, rest: u32) -> Option<UnreachableReason> {
    match (kind, code) {
        (3, 3) => Some(UnreachableReason::Port),
        (3, 4) => Some(UnreachableReason::TooBig { mtu: rest as u16 }),
        (3, 9 | 10 | 13) => Some(UnreachableReason::Prohibited),
        (3, 0 | 1 | 5..=8 | 11 | 12) => Some(UnreachableReason::Host),
        _ => None,
    }
}

/// RFC 4443, 3.1 and 3.2.
fn reason_v6(kind: u8, code: u8, rest: u32) -> Option<UnreachableReason> {
    match (kind, code) {
        (1, 4) => Some(UnreachableReason::Port),
        (1, 1 | 5 | 6) => Some(UnreachableReason::Prohibited),
        (1, 0 | 2 | 3) => Some(UnreachableReason::Host),
        (2, 0) => Some(UnreachableReason::TooBig { mtu: u16::try_from(rest).unwrap_or(u16::MAX) }),
        _ => None,
    }
}

fn write_error(
    source: IpAddr,
    destination: IpAddr,
    error: &Unreachable,
    sequence: u32,
    out: &mut Vec<u8>,
) -> Result<(), IpError> {
    let v4 = source.is_ipv4();
    let quoted_header = if error.source.is_ipv4() { IPV4_HEADER } else { IPV6_HEADER };
    let protocol = if v4 { ICMPV4 } else { ICMPV6 };
    let pseudo = header(source, destination, protocol, ICMP_HEADER + quoted_header + QUOTED, out)?;
    let body = out.len();
    let (kind, code, mtu) = match (error.reason, v4) {
        (UnreachableReason::Host, true) => (3, 1, 0),
        (UnreachableReason::Port, true) => (3, 3, 0),
        (UnreachableReason::Prohibited, true) => (3, 13, 0),
        (UnreachableReason::TooBig { mtu }, true) => (3, 4, mtu),
        (UnreachableReason::Host, false) => (1, 3, 0),
        (UnreachableReason::Port, false) => (1, 4, 0),
        (UnreachableReason::Prohibited, false) => (1, 1, 0),
        (UnreachableReason::TooBig { mtu }, false) => (2, 0, mtu),
    };
    out.extend_from_slice(&[kind, code, 0, 0]);
    out.extend_from_slice(&u32::from(mtu).to_be_bytes());
    let (quoted, length) = match error.protocol {
        Protocol::Udp => (UDP, UDP_HEADER),
        Protocol::Tcp => (TCP, TCP_HEADER),
        // No error is sent about an error (RFC 1122, 3.2.2).
        Protocol::Icmp => return Err(IpError::Protocol(protocol)),
    };
    header(error.source.ip(), error.destination.ip(), quoted, length, out)?;
    out.extend_from_slice(&error.source.port().to_be_bytes());
    out.extend_from_slice(&error.destination.port().to_be_bytes());
    match error.protocol {
        Protocol::Tcp => out.extend_from_slice(&sequence.to_be_bytes()),
        _ => out.extend_from_slice(&[0, UDP_HEADER as u8, 0, 0]),
    }
    let sum = checksum(if v4 { 0 } else { pseudo }, &out[body..]);
    out[body + 2..body + 4].copy_from_slice(&sum.to_be_bytes());
    Ok(())
}

/// Appends an IP header for `length` bytes; gives the sum of the pseudo header (RFC 768, RFC 8200 8.1).
fn header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize, out: &mut Vec<u8>) -> Result<u64, IpError> {
    let start = out.len();
    let addresses = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = u16::try_from(IPV4_HEADER + length).map_err(|_| IpError::Long)?;
            out.extend_from_slice(&[0x45, 0]);
            out.extend_from_slice(&total.to_be_bytes());
            // Not to be fragmented; such a packet needs no identification (RFC 6864, 4.1).
            out.extend_from_slice(&[0, 0, 0x40, 0, HOPS, protocol, 0, 0]);
            out.extend_from_slice(&source.octets());
            out.extend_from_slice(&destination.octets());
            let sum = checksum(0, &out[start..]);
            out[start + 10..start + 12].copy_from_slice(&sum.to_be_bytes());
            start + 12
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            out.extend_from_slice(&[0x60, 0, 0, 0]);
            out.extend_from_slice(&u16::try_from(length).map_err(|_| IpError::Long)?.to_be_bytes());
            out.extend_from_slice(&[protocol, HOPS]);
            out.extend_from_slice(&source.octets());
            out.extend_from_slice(&destination.octets());
            start + 8
        }
        _ => return Err(IpError::Families),
    };
    Ok(sum(&out[addresses..]) + native(u16::from(protocol)) + native(length as u16))
}

/// The Internet checksum (RFC 1071) of `bytes`, begun with a sum of the pseudo header.
fn checksum(begun: u64, bytes: &[u8]) -> u16 {
    let mut sum = begun + sum(bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // The sum does not depend on the order of bytes but for its own (RFC 1071, 2B).
    !u16::from_be(sum as u16)
}

/// Adds in the machine's own order of bytes, and in steps of four bytes, because it is faster.
fn sum(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(4);
    let mut sum: u64 =
        words.by_ref().map(|word| u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]))).sum();
    let mut last = [0; 4];
    let rest = words.remainder();
    last[..rest.len()].copy_from_slice(rest);
    sum += u64::from(u32::from_ne_bytes(last));
    sum
}

fn native(value: u16) -> u64 {
    u64::from(value.to_be())
}

fn word(bytes: &[u8], at: usize) -> Result<u16, IpError> {
    array(bytes, at).map(u16::from_be_bytes)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], IpError> {
    bytes.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).ok_or(IpError::Truncated)
}

#[cfg(test)]
mod tests;
