//! The physical floor: the same packets over UDP loopback, sealed and opened with AES-128-GCM as SRTP is (RFC 7714), and
//! nothing else. One socket per end, one thread per core, ticks of 1 ms.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustix::event::epoll;

use super::engine::Streaming;
use super::schedule::{RTP_HEADER, Schedule};
use super::{Result, Size, process};

const TICK: Duration = Duration::from_millis(1);
/// As much as the kernel coalesces.
const DATAGRAMS: usize = 64 << 10;
/// Well below what one datagram may hold, and 64 segments.
const BATCH: usize = 32 << 10;

/// How packets get into the kernel and out of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sending {
    /// sendto and recvfrom, once for each packet.
    Plain,
    /// Generic segmentation and receive offload: the packets of a frame in one call.
    Offload,
}

/// What threads share.
#[derive(Default)]
struct Shared {
    received: AtomicU64,
    done: AtomicBool,
}

pub(super) fn measure(schedule: &Schedule, size: Size, sending: Sending) -> Result<Streaming> {
    let cores = thread::available_parallelism()?.get().min(size.pairs as usize);
    let shared = Arc::new(Shared::default());
    let start = Instant::now();
    let count = || shared.received.load(Ordering::Relaxed);
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for core in 0..cores {
            let numbers: Vec<usize> = (core..size.pairs as usize).step_by(cores).collect();
            let pairs: io::Result<Vec<Pair>> =
                numbers.into_iter().map(|number| Pair::new(number, size.pairs as usize, schedule, sending)).collect();
            let mut worker = Worker::new(pairs?, sending, Arc::clone(&shared))?;
            threads.push(scope.spawn(move || worker.run(schedule, start)));
        }
        thread::sleep(size.settle);
        let (cpu, before, begin) = (process::own_cpu()?, count(), Instant::now());
        thread::sleep(size.window);
        let (cpu, after, window) = (process::own_cpu()? - cpu, count(), begin.elapsed());
        shared.done.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().map_err(|_| "a thread of the floor broke")??;
        }
        let packets = (after - before) as f64;
        let planned = schedule.packets_per_second() * f64::from(size.pairs) * window.as_secs_f64();
        Ok(Streaming { cpu, packets, complete: packets / planned, resident: None })
    })
}

/// One direction of media, with a socket at each end.
struct Pair {
    from: UdpSocket,
    to: UdpSocket,
    address: SocketAddr,
    /// The states of `from` and `to` with offload.
    offload: Option<(UdpSocketState, UdpSocketState)>,
    /// When the next packet is due, since the start.
    due: Duration,
    next: usize,
    round: u32,
    offset: Duration,
    sealed: u64,
    opened: u64,
}

impl Pair {
    fn new(number: usize, of: usize, schedule: &Schedule, sending: Sending) -> io::Result<Self> {
        let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|s| s.set_nonblocking(true).map(|()| s));
        let (from, to) = (bind()?, bind()?);
        let state = |socket: &UdpSocket| UdpSocketState::new(socket.into());
        let offload = match sending {
            Sending::Plain => None,
            Sending::Offload => Some((state(&from)?, state(&to)?)),
        };
        // Pairs that all sent at once would measure their own bursts.
        let offset = schedule.length.mul_f64(number as f64 / of as f64);
        let due = offset + schedule.packets[0].at;
        let address = to.local_addr()?;
        Ok(Self { from, to, address, offload, due, next: 0, round: 0, offset, sealed: 0, opened: 0 })
    }

    fn advance(&mut self, schedule: &Schedule) {
        self.next += 1;
        if self.next == schedule.packets.len() {
            (self.next, self.round) = (0, self.round + 1);
        }
        self.due = self.offset + schedule.length * self.round + schedule.packets[self.next].at;
    }
}

/// One thread, with the pairs that it serves.
struct Worker {
    pairs: Vec<Pair>,
    key: LessSafeKey,
    epoll: rustix::fd::OwnedFd,
    shared: Arc<Shared>,
    sending: Sending,
    /// Sealed packets of one pair that wait for one call.
    batch: Vec<u8>,
    buffer: Vec<u8>,
}

impl Worker {
    fn new(pairs: Vec<Pair>, sending: Sending, shared: Arc<Shared>) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, pair) in pairs.iter().enumerate() {
            epoll::add(&epoll, &pair.to, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
        }
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).map_err(|_| "a key of 16 bytes")?);
        let (batch, buffer) = (Vec::with_capacity(DATAGRAMS), vec![0; DATAGRAMS]);
        Ok(Self { pairs, key, epoll, shared, sending, batch, buffer })
    }

    fn run(&mut self, schedule: &Schedule, start: Instant) -> io::Result<()> {
        let mut ready = Vec::with_capacity(self.pairs.len().max(1));
        let mut tick = start;
        while !self.shared.done.load(Ordering::Relaxed) {
            let now = start.elapsed();
            for index in 0..self.pairs.len() {
                if self.pairs[index].due <= now {
                    self.send(index, schedule, now)?;
                }
            }
            loop {
                let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
                ready.clear();
                epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut ready), Some(&none))?;
                if ready.is_empty() {
                    break;
                }
                for event in &ready {
                    self.receive(event.data.u64() as usize)?;
                }
            }
            tick += TICK;
            thread::sleep(tick.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }

    /// Sends all that is due of one pair.
    fn send(&mut self, index: usize, schedule: &Schedule, now: Duration) -> io::Result<()> {
        let pair = &mut self.pairs[index];
        let mut segment = 0;
        self.batch.clear();
        while pair.due <= now {
            let from = self.batch.len();
            let bytes = RTP_HEADER + schedule.packets[pair.next].payload;
            let length = bytes + AES_128_GCM.tag_len();
            let fits = from.is_multiple_of(segment.max(1)) && length <= segment && from + length <= BATCH;
            if from > 0 && !fits {
                // Only the last segment may be of another size, and none longer.
                flush(pair, &self.batch, segment)?;
                self.batch.clear();
                continue;
            }
            self.batch.resize(from + bytes, 0);
            self.batch[from] = 0x80;
            let (head, payload) = self.batch[from..].split_at_mut(RTP_HEADER);
            let tag = self
                .key
                .seal_in_place_separate_tag(nonce(pair.sealed), Aad::from(&*head), payload)
                .map_err(|_| io::Error::other("sealing"))?;
            self.batch.extend_from_slice(tag.as_ref());
            pair.sealed += 1;
            match self.sending {
                Sending::Plain => {
                    pair.from.send_to(&self.batch, pair.address)?;
                    self.batch.clear();
                }
                Sending::Offload if from == 0 => segment = length,
                Sending::Offload => {}
            }
            pair.advance(schedule);
        }
        if !self.batch.is_empty() {
            flush(pair, &self.batch, segment)?;
        }
        Ok(())
    }

    /// Takes what has arrived at one pair.
    fn receive(&mut self, index: usize) -> io::Result<()> {
        let pair = &mut self.pairs[index];
        let (length, stride) = match &pair.offload {
            None => self.pairs[index].to.recv_from(&mut self.buffer).map(|(length, _)| (length, length))?,
            Some((_, state)) => {
                let mut meta = [RecvMeta::default()];
                let mut buffers = [IoSliceMut::new(&mut self.buffer)];
                state.recv((&pair.to).into(), &mut buffers, &mut meta)?;
                (meta[0].len, meta[0].stride)
            }
        };
        let pair = &mut self.pairs[index];
        for packet in self.buffer[..length].chunks_mut(stride.max(1)) {
            let (head, sealed) = packet.split_at_mut(RTP_HEADER);
            self.key
                .open_in_place(nonce(pair.opened), Aad::from(&*head), sealed)
                .map_err(|_| io::Error::other("a packet of the floor was lost or altered"))?;
            pair.opened += 1;
            self.shared.received.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn flush(pair: &Pair, batch: &[u8], segment: usize) -> io::Result<()> {
    let Some((state, _)) = &pair.offload else { return Ok(()) };
    let segment_size = (batch.len() > segment).then_some(segment);
    let transmit = Transmit { destination: pair.address, ecn: None, contents: batch, segment_size, src_ip: None };
    state.try_send((&pair.from).into(), &transmit)
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}
