//! Packets from one end of a network to the other, watched at both: what its links do, in each direction on its own.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep_until, timeout};

use crate::lab::place::{Datagrams, Place, receive};

/// How often a way is knocked at: often enough for links that lose a third.
const ATTEMPTS: u32 = 7;

/// Headers of IPv4 and UDP.
const HEADERS_BYTES: usize = 28;

/// The token of the way, the number of the packet, and the checksum of both with the time of the flight.
const CONTENT_BYTES: usize = 16;

/// Where packets go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// Towards the internet.
    Up,
    /// From the internet.
    Down,
}

/// A way through a network: a socket behind it and one on the internet, which hear each other.
#[derive(Debug)]
pub struct Way {
    inside: Arc<dyn Datagrams>,
    outside: Arc<dyn Datagrams>,
    /// The inner socket, as the outer one sees it.
    mapped: SocketAddr,
}

/// A packet to be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sent {
    /// When, since the begin of the flight.
    pub due: Duration,
    /// Its length with the IP header; not less than [`Way::MIN_BYTES`].
    pub bytes: usize,
}

/// A packet that arrived.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Arrival {
    /// Its number among those that were sent.
    pub number: usize,
    /// When it was sent, since the begin of the flight.
    pub sent: Duration,
    /// When it arrived.
    pub arrived: Duration,
}

/// What became of packets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flight {
    /// The length of each that was sent.
    pub bytes: Vec<usize>,
    /// How long it took to send them.
    pub sending: Duration,
    /// Those that arrived intact, each once, in the order of arrival.
    pub arrivals: Vec<Arrival>,
    /// How many arrived again.
    pub duplicates: usize,
    /// How many arrived with other contents than they were sent with.
    pub corrupt: usize,
}

impl Way {
    /// The shortest packet, in bytes with the IP header.
    pub const MIN_BYTES: usize = HEADERS_BYTES + CONTENT_BYTES;

    /// Opens a way from `from` to `at`, which must be an address of `outside`; absent if nothing arrives there.
    ///
    /// # Errors
    ///
    /// A place has no socket to give.
    pub async fn open(
        inside: &dyn Place,
        from: IpAddr,
        outside: &dyn Place,
        at: SocketAddr,
        patience: Duration,
    ) -> io::Result<Option<Self>> {
        let inside = inside.bind_udp(SocketAddr::new(from, 0))?;
        let outside = outside.bind_udp(at)?;
        let mut buffer = [0; 2048];
        for _ in 0..ATTEMPTS {
            // What the system does not take is sent again.
            let _ = inside.send_to(&[], at);
            if let Ok(received) = timeout(patience / ATTEMPTS, receive(&*outside, &mut buffer)).await {
                let (_, mapped) = received?;
                return Ok(Some(Self { inside, outside, mapped }));
            }
        }
        Ok(None)
    }

    /// Sends packets, and waits until so many have arrived, or for so long after the last was sent.
    ///
    /// # Errors
    ///
    /// A socket is of no use any more.
    pub async fn fly(
        &self,
        direction: Direction,
        packets: &[Sent],
        enough: usize,
        patience: Duration,
    ) -> io::Result<Flight> {
        let (from, to, address) = match direction {
            Direction::Up => (&self.inside, &self.outside, self.outside.local_addr()),
            Direction::Down => (&self.outside, &self.inside, self.mapped),
        };
        let mut flight = Flight { bytes: packets.iter().map(|packet| packet.bytes).collect(), ..Flight::default() };
        let (token, begun) = (rand::random::<u32>(), Instant::now());
        let mut seen = HashSet::new();
        let mut buffer = [0; 65_536];
        let mut next = 0;
        while flight.arrivals.len() < enough {
            let due = packets.get(next).map_or(flight.sending + patience, |packet| packet.due);
            tokio::select! {
                received = receive(&**to, &mut buffer) => {
                    let arrived = begun.elapsed();
                    let content = &buffer[..received?.0];
                    match read(content, token) {
                        // The end of an earlier flight.
                        Content::Other => {}
                        _ if !seen.insert(crc32fast::hash(content)) => flight.duplicates += 1,
                        Content::Corrupt => flight.corrupt += 1,
                        Content::Packet(number, sent) => flight.arrivals.push(Arrival { number, sent, arrived }),
                    }
                }
                () = sleep_until((begun + due).into()) => {
                    if next == packets.len() {
                        break;
                    }
                    while let Some(packet) = packets.get(next).filter(|packet| packet.due <= begun.elapsed()) {
                        // One that the system does not take counts as lost.
                        let _ = from.send_to(&write(token, next, begun.elapsed(), packet.bytes), address);
                        next += 1;
                    }
                    flight.sending = begun.elapsed();
                }
            }
        }
        Ok(flight)
    }
}

impl Flight {
    /// Packets that were sent.
    pub fn sent(&self) -> usize {
        self.bytes.len()
    }

    /// The share of packets that did not arrive.
    pub fn loss(&self) -> f64 {
        1.0 - self.share(self.arrivals.len() + self.corrupt)
    }

    /// How long packets were on their way, in order.
    pub fn delays(&self) -> Vec<Duration> {
        sorted(self.arrivals.iter())
    }

    /// How long packets that none had overtaken were on their way, in order.
    pub fn timely_delays(&self) -> Vec<Duration> {
        sorted(self.timely())
    }

    /// The share of packets that a later one overtook.
    pub fn overtaken(&self) -> f64 {
        self.share(self.arrivals.len() - self.timely().count())
    }

    fn timely(&self) -> impl Iterator<Item = &Arrival> {
        let mut latest = 0;
        self.arrivals.iter().filter(move |arrival| {
            latest = latest.max(arrival.number);
            arrival.number == latest
        })
    }

    /// The rate in bits per second with which the link passed packets that came faster, by the slope of all arrivals. A
    /// packet that was lost had its turn as well.
    pub fn rate(&self) -> Option<f64> {
        let ends: Vec<f64> = self
            .bytes
            .iter()
            .scan(0, |sum, bytes| {
                *sum += bytes;
                Some(*sum as f64 * 8.0)
            })
            .collect();
        let points: Vec<_> =
            self.arrivals.iter().map(|arrival| (arrival.arrived.as_secs_f64(), ends[arrival.number])).collect();
        let count = points.len() as f64;
        let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
        // What is fitted is time over bits: the times are what is uncertain.
        let covariance: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
        let variance: f64 = points.iter().map(|point| (point.1 - y).powi(2)).sum();
        (points.len() > 2 && covariance > 0.0).then(|| variance / covariance)
    }

    fn share(&self, count: usize) -> f64 {
        count as f64 / self.sent().max(1) as f64
    }
}

fn sorted<'a>(arrivals: impl Iterator<Item = &'a Arrival>) -> Vec<Duration> {
    let mut delays: Vec<_> = arrivals.map(|arrival| arrival.arrived.saturating_sub(arrival.sent)).collect();
    delays.sort_unstable();
    delays
}

/// What a datagram holds.
enum Content {
    /// What was sent, with its number and when it was.
    Packet(usize, Duration),
    /// Something else than was sent.
    Corrupt,
    /// Not of this flight.
    Other,
}

/// Checksum of the rest, token of the flight, number, and microseconds since the begin of the flight; then zeros.
fn write(token: u32, number: usize, sent: Duration, bytes: usize) -> Vec<u8> {
    let fields = [token, number as u32, sent.as_micros() as u32].map(u32::to_be_bytes);
    let mut datagram = vec![0; bytes.saturating_sub(HEADERS_BYTES).max(CONTENT_BYTES)];
    datagram[4..CONTENT_BYTES].copy_from_slice(fields.as_flattened());
    let checksum = crc32fast::hash(&datagram[4..]);
    datagram[..4].copy_from_slice(&checksum.to_be_bytes());
    datagram
}

fn read(datagram: &[u8], token: u32) -> Content {
    let Some((fields, _)) = datagram.split_first_chunk::<CONTENT_BYTES>() else { return Content::Other };
    let field = |at: usize| u32::from_be_bytes([fields[at], fields[at + 1], fields[at + 2], fields[at + 3]]);
    let intact = field(0) == crc32fast::hash(&datagram[4..]);
    match intact {
        true if field(4) == token => Content::Packet(field(8) as usize, Duration::from_micros(field(12).into())),
        true => Content::Other,
        false => Content::Corrupt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(number: usize, milliseconds: u64) -> Arrival {
        Arrival { number, sent: Duration::ZERO, arrived: Duration::from_millis(milliseconds) }
    }

    #[test]
    fn the_rate_is_that_of_arrivals_whatever_is_lost() {
        let arrivals = [0, 1, 3, 4, 7, 9].map(|number| arrival(number, 50 + 10 * number as u64));
        let flight = Flight { bytes: vec![1250; 10], arrivals: arrivals.into(), ..Flight::default() };
        assert!((flight.rate().unwrap() - 1e6).abs() < 1.0, "{:?}", flight.rate());
        assert!((flight.loss() - 0.4).abs() < 1e-9);
        assert_eq!(Flight { arrivals: Vec::new(), ..flight }.rate(), None);
    }

    #[test]
    fn who_arrives_behind_a_later_one_was_overtaken() {
        let arrivals = [1, 0, 2, 5, 3, 4].map(|number| arrival(number, 0));
        let flight = Flight { bytes: vec![100; 6], arrivals: arrivals.into(), ..Flight::default() };
        assert!((flight.overtaken() - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_flipped_bit_is_noticed_wherever_it_is() {
        let datagram = write(7, 3, Duration::from_millis(5), 60);
        assert_eq!(datagram.len(), 60 - HEADERS_BYTES);
        assert!(matches!(read(&datagram, 7), Content::Packet(3, sent) if sent == Duration::from_millis(5)));
        assert!(matches!(read(&datagram, 8), Content::Other));
        for bit in 0..datagram.len() * 8 {
            let mut flipped = datagram.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(read(&flipped, 7), Content::Corrupt), "bit {bit}");
        }
    }
}
