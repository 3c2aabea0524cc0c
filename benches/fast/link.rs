//! A socket at each end, with segmentation and receive offload.

use std::io::{ErrorKind, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use harness::peer::native::dense::fast::{Batch, Run};
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};

/// As much as the kernel coalesces.
pub(super) const DATAGRAMS: usize = 64 << 10;

pub(super) struct End {
    socket: UdpSocket,
    state: UdpSocketState,
    address: SocketAddr,
}

/// Two ends that send to one another.
pub(super) struct Link {
    pub(super) from: End,
    pub(super) to: End,
}

impl Link {
    pub(super) fn new() -> Self {
        Self { from: End::new(), to: End::new() }
    }

    pub(super) fn there(&self, batch: &Batch) {
        batch.runs().for_each(|run| self.from.send(run, self.to.address));
    }

    pub(super) fn back(&self, batch: &Batch) {
        batch.runs().for_each(|run| self.to.send(run, self.from.address));
    }
}

impl End {
    fn new() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let state = UdpSocketState::new((&socket).into()).expect("offload");
        let address = socket.local_addr().expect("an address");
        Self { socket, state, address }
    }

    fn send(&self, run: Run<'_>, destination: SocketAddr) {
        let segment_size = (run.contents.len() > run.segment).then_some(run.segment);
        let transmit = Transmit { destination, ecn: None, contents: run.contents, segment_size, src_ip: None };
        self.state.try_send((&self.socket).into(), &transmit).expect("loopback takes it");
    }

    /// Hands out what has arrived, datagram by datagram.
    pub(super) fn receive(&self, buffer: &mut [u8], mut take: impl FnMut(&mut [u8])) {
        loop {
            let mut meta = [RecvMeta::default()];
            let received = self.state.recv((&self.socket).into(), &mut [IoSliceMut::new(buffer)], &mut meta);
            match received {
                Ok(_) => {
                    let [meta] = meta;
                    buffer[..meta.len].chunks_mut(meta.stride.max(1)).for_each(&mut take);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("loopback gives it: {error}"),
            }
        }
    }
}
