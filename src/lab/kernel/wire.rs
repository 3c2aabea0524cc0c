//! The wire between the hosts and the model: packet sockets (packet(7)) in the namespace where the other ends of all
//! hosts' interfaces are.
//!
//! One socket for each IP version reads what all hosts send. It is bound to a protocol and to no interface: such a socket
//! sees what arrives and not what leaves, and says where each packet arrived. No interface resolves addresses: all hosts
//! have one hardware address, and send to it (that is what the kernel does without ARP); this end of the wire has
//! another, so that the kernel looks no further at what arrives here.
//!
//! The kernel notes when each packet was sent. The model counts from then, so that a packet that is read late is not late.

use std::collections::BTreeSet;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::cmsg_space;
use nix::ifaddrs::{InterfaceAddressIterator, getifaddrs};
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce, ReceiveTimestampns, RxqOvfl, SndBuf, SndBufForce};
use nix::sys::socket::{ControlMessageOwned, LinkAddr, MsgFlags, MultiHeaders, recvmmsg, sendmmsg, setsockopt};
use nix::sys::time::TimeSpec;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, eth, socket_with};

use super::LabError;
use crate::net::Packet;
use crate::net::ip::{self, IpError};

/// The hardware address of every host's interface.
pub(super) const HOST_ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The hardware address of the other end.
pub(super) const WIRE_ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 2];

const ETHERNET_HEADER: usize = 14;

/// Packets read or sent with one system call.
const BATCH: usize = 64;

/// Asked for; the kernel gives at most `net.core.rmem_max` to an ordinary user.
const BUFFER_BYTES: usize = 32 << 20;

/// How long the kernel may take to activate an interface; milliseconds on an idle machine.
const UP_DEADLINE: Duration = Duration::from_secs(5);

/// The packet sockets, and what waits to be sent.
#[derive(Debug)]
pub(super) struct Wire {
    receivers: Vec<Receiver>,
    sender: OwnedFd,
    /// Where each host is, by the host's number.
    interfaces: Vec<LinkAddr>,
    /// Hosts' numbers, by the number of the interface.
    hosts: Vec<Option<usize>>,
    buffers: Vec<Vec<u8>>,
    /// Frames to send; the first `queued` of them.
    frames: Vec<Vec<u8>>,
    destinations: Vec<Option<LinkAddr>>,
}

/// Reads the packets of one IP version.
#[derive(Debug)]
struct Receiver {
    socket: OwnedFd,
    /// What the kernel dropped because the socket's buffer was full, as it counts: modulo 2^32.
    dropped: u32,
}

impl Wire {
    /// Opens the wire in the calling thread's network namespace; `interfaces` are the names of the ends here, by the number
    /// of the host, and `mtu` is the longest packet of any host.
    pub(super) fn open(interfaces: &[String], mtu: u16, ipv6: bool) -> Result<Self, LabError> {
        let refused = |error: Errno| LabError::PacketSocket(error.into());
        let socket = |protocol| socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, protocol);
        let mut receivers = Vec::new();
        for protocol in [Some(eth::IP), ipv6.then_some(eth::IPV6)].into_iter().flatten() {
            let socket = socket(Some(protocol)).map_err(refused)?;
            let options = setsockopt(&socket, RcvBufForce, &BUFFER_BYTES)
                .or_else(|_| setsockopt(&socket, RcvBuf, &BUFFER_BYTES))
                .and_then(|()| setsockopt(&socket, RxqOvfl, &1))
                .and_then(|()| setsockopt(&socket, ReceiveTimestampns, &true));
            options.map_err(|error| LabError::PacketSocket(error.into()))?;
            receivers.push(Receiver { socket, dropped: 0 });
        }
        let sender = socket(None).map_err(refused)?;
        setsockopt(&sender, SndBufForce, &BUFFER_BYTES)
            .or_else(|_| setsockopt(&sender, SndBuf, &BUFFER_BYTES))
            .map_err(|error| LabError::PacketSocket(error.into()))?;
        let interfaces = addresses(interfaces)?;
        let mut hosts = Vec::new();
        for (host, interface) in interfaces.iter().enumerate() {
            let index = interface.ifindex();
            hosts.resize(hosts.len().max(index + 1), None);
            hosts[index] = Some(host);
        }
        let buffers = vec![vec![0; ETHERNET_HEADER + usize::from(mtu)]; BATCH];
        Ok(Self { receivers, sender, interfaces, hosts, buffers, frames: Vec::new(), destinations: Vec::new() })
    }

    /// Waits until there is something to read, `wake` is readable, or `timeout` has passed.
    pub(super) fn wait(&self, wake: &OwnedFd, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let sockets = self.receivers.iter().map(|receiver| &receiver.socket);
        let mut fds: Vec<_> = sockets.chain([wake]).map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Hands out what hosts have sent, with the host's number and the moment; says whether there may be more.
    pub(super) fn receive(&mut self, mut packet: impl FnMut(usize, Instant, &[u8])) -> io::Result<bool> {
        let mut more = false;
        for Receiver { socket, dropped } in &mut self.receivers {
            // Made anew each time: the kernel leaves its own lengths in it, and without room there is no drop count.
            let mut headers = MultiHeaders::<LinkAddr>::preallocate(BATCH, Some(cmsg_space!(u32, TimeSpec)));
            let mut slices: Vec<_> = self.buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
            let messages =
                match recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None) {
                    Ok(messages) => messages,
                    Err(nix::Error::EAGAIN | nix::Error::EINTR) => continue,
                    // An interface went away.
                    Err(nix::Error::ENETDOWN) => continue,
                    Err(error) => return Err(error.into()),
                };
            // In this order, an interruption between the two makes packets look late, and never early.
            let now = SystemTime::now();
            let clock = (Instant::now(), now);
            let mut read = 0;
            for message in messages {
                read += 1;
                let mut at = clock.0;
                for control in message.cmsgs().into_iter().flatten() {
                    match control {
                        ControlMessageOwned::RxqOvfl(count) => *dropped = count,
                        ControlMessageOwned::ScmTimestampns(time) => at = instant(time, clock).unwrap_or(at),
                        _ => {}
                    }
                }
                let host = message.address.and_then(|from| *self.hosts.get(from.ifindex())?);
                if let (Some(host), Some(frame)) = (host, message.iovs().next())
                    && let Some(bytes) = frame.get(ETHERNET_HEADER..)
                {
                    packet(host, at, bytes);
                }
            }
            more |= read == BATCH;
        }
        Ok(more)
    }

    /// How many packets the kernel dropped here because they were not read in time, as far as is known: it tells with the
    /// next packet that it does not drop.
    pub(super) fn dropped(&self) -> u64 {
        self.receivers.iter().map(|receiver| u64::from(receiver.dropped)).sum()
    }

    /// Makes the kernel tell how many packets it has dropped so far, by sending one over the loopback interface.
    pub(super) fn provoke(&self) -> io::Result<()> {
        let addresses: [SocketAddr; 2] = [(Ipv4Addr::LOCALHOST, 9).into(), (Ipv6Addr::LOCALHOST, 9).into()];
        for address in addresses.into_iter().take(self.receivers.len()) {
            let local = SocketAddr::new(address.ip(), 0);
            UdpSocket::bind(local)?.send_to(&[], address)?;
        }
        Ok(())
    }

    /// Puts a packet to a host into the queue; `sequence` as for [`ip::encode`].
    pub(super) fn queue(&mut self, host: usize, packet: &Packet, sequence: u32) -> Result<(), IpError> {
        let queued = self.destinations.len();
        if self.frames.len() == queued {
            self.frames.push(Vec::with_capacity(2048));
        }
        let frame = &mut self.frames[queued];
        frame.clear();
        frame.extend_from_slice(&HOST_ADDRESS);
        frame.extend_from_slice(&WIRE_ADDRESS);
        frame.extend_from_slice(if packet.source.is_ipv4() { &[0x08, 0x00] } else { &[0x86, 0xdd] });
        ip::encode(packet, sequence, frame)?;
        self.destinations.push(self.interfaces.get(host).copied());
        Ok(())
    }

    /// Sends what is in the queue; gives the numbers of packets that were sent and that the kernel did not take.
    pub(super) fn flush(&mut self) -> io::Result<(u64, u64)> {
        let (mut sent, mut refused) = (0, 0);
        let queued = self.destinations.len();
        while sent + refused < queued {
            let rest = sent + refused..queued.min(sent + refused + BATCH);
            let slices: Vec<_> = self.frames[rest.clone()].iter().map(|frame| [IoSlice::new(frame)]).collect();
            let mut headers = MultiHeaders::preallocate(slices.len(), None);
            let destinations = &self.destinations[rest];
            match sendmmsg(self.sender.as_raw_fd(), &mut headers, slices.iter(), destinations, [], MsgFlags::empty()) {
                Ok(done) => sent += done.count(),
                Err(nix::Error::EINTR) => {}
                // The host's queue is full, or its end of the wire is down.
                Err(nix::Error::ENOBUFS | nix::Error::ENETDOWN | nix::Error::ENXIO | nix::Error::EMSGSIZE) => {
                    refused += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.destinations.clear();
        Ok((sent as u64, refused as u64))
    }
}

/// The moment of a time of day in the past, by one moment as both clocks tell it.
fn instant(time: TimeSpec, (instant, now): (Instant, SystemTime)) -> Option<Instant> {
    let ago = now.duration_since(UNIX_EPOCH + Duration::from(time)).ok()?;
    instant.checked_sub(ago)
}

/// Waits until the interfaces take packets. The kernel activates an interface some time after its other end has come up,
/// and drops what is sent until then.
pub(super) fn wait_until_up(interfaces: &[String]) -> Result<(), LabError> {
    let deadline = Instant::now() + UP_DEADLINE;
    loop {
        let up = list()?.filter(|interface| interface.flags.contains(InterfaceFlags::IFF_RUNNING));
        let up: BTreeSet<_> = up.map(|interface| interface.interface_name).collect();
        if interfaces.iter().all(|name| up.contains(name)) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let source = io::ErrorKind::TimedOut.into();
            return Err(LabError::System { what: "bring its interfaces up", source });
        }
        sleep(Duration::from_millis(1));
    }
}

/// The interfaces' addresses as the kernel gives them: they cannot be made from numbers without unsafe code.
fn addresses(interfaces: &[String]) -> Result<Vec<LinkAddr>, LabError> {
    let all: Vec<_> = list()?.collect();
    let find = |name: &String| {
        let mut links = all.iter().filter(|interface| interface.interface_name == *name);
        links.find_map(|interface| interface.address?.as_link_addr().copied())
    };
    let found = interfaces.iter().map(find).collect::<Option<_>>();
    found.ok_or_else(|| LabError::System { what: "find its interfaces", source: io::ErrorKind::NotFound.into() })
}

fn list() -> Result<InterfaceAddressIterator, LabError> {
    getifaddrs().map_err(|error| LabError::System { what: "list its interfaces", source: error.into() })
}
