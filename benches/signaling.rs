//! How many messages the bundled server relays, how fast, and at what cost.
//!
//! 500 clients over TLS, in 250 rooms of two, send candidates to each other at a fixed offered rate. The server has a
//! runtime of one thread, the clients have another; latency counts from handing a message to the client's socket to its
//! arrival at the other client, so it holds the clients' share too. Run with `cargo bench --bench signaling`.
#![allow(clippy::print_stdout)]

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use harness::signaling::client::{Receiver, Sender};
use harness::signaling::protocol::{ClientMessage, IceCandidate, ServerMessage};
use harness::signaling::{Client, Endpoint, Identity, Limits, Server, ServerConfig};
use hdrhistogram::Histogram;

const CLIENTS: u32 = 500;
const RATES: [u32; 6] = [1_000, 5_000, 10_000, 20_000, 25_000, 30_000];
const DURATION: Duration = Duration::from_secs(4);
/// How long messages on their way are waited for at the end.
const GRACE: Duration = Duration::from_secs(2);

type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Error> {
    let server = ServerThread::start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let resident_before = resident_bytes();
    let cpu_before = server.cpu();
    let start = Instant::now();
    let mut seats = runtime.block_on(seats(&server.endpoint))?;
    println!("{CLIENTS} clients connected and joined in {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    if let (Some(before), Some(after)) = (cpu_before, server.cpu()) {
        println!("server CPU per connection: {:.0} µs", micros(after - before) / f64::from(CLIENTS));
    }
    if let (Some(before), Some(after)) = (resident_before, resident_bytes()) {
        let kib = after.saturating_sub(before) as f64 / f64::from(CLIENTS) / 1024.0;
        println!("resident memory per client, both ends: {kib:.1} KiB");
    }
    println!();
    println!(" offered/s  relayed/s    p50 ms    p99 ms    max ms  late p99 ms  server CPU  µs/message   missing");
    for rate in RATES {
        let cpu_before = server.cpu();
        let (returned, load) = runtime.block_on(run(seats, rate))?;
        seats = returned;
        let cpu = server.cpu().zip(cpu_before).map(|(after, before)| after - before);
        print_row(rate, &load, cpu);
    }
    drop(seats);
    server.stop();
    Ok(())
}

/// One client in its room of two.
struct Seat {
    sender: Sender,
    receiver: Receiver,
    other: String,
}

/// What one rate gave.
struct Load {
    /// Nanoseconds from sending to arrival.
    latency: Histogram<u64>,
    /// Nanoseconds from the planned to the actual sending.
    lateness: Histogram<u64>,
}

impl Load {
    fn new() -> Result<Self, Error> {
        // Allocated now: histograms that grow while messages flow would stall them.
        let histogram = || Histogram::new_with_bounds(1, 60_000_000_000, 3);
        Ok(Self { latency: histogram()?, lateness: histogram()? })
    }
}

async fn seats(endpoint: &Endpoint) -> Result<Vec<Seat>, Error> {
    let mut seats = Vec::new();
    for room in 0..CLIENTS / 2 {
        let mut first = Client::connect(endpoint).await?;
        let mut second = Client::connect(endpoint).await?;
        first.join(&format!("room-{room}")).await?;
        second.join(&format!("room-{room}")).await?;
        let (first_id, second_id) = (first.id().to_owned(), second.id().to_owned());
        for (client, other) in [(first, second_id), (second, first_id)] {
            let (sender, receiver) = client.split();
            seats.push(Seat { sender, receiver, other });
        }
    }
    Ok(seats)
}

async fn run(seats: Vec<Seat>, rate: u32) -> Result<(Vec<Seat>, Load), Error> {
    let load = Arc::new(Mutex::new(Load::new()?));
    // Far enough ahead that every task waits for its first message when it begins.
    let epoch = Instant::now() + Duration::from_millis(100);
    let period = Duration::from_secs(1) * CLIENTS / rate;
    let mut tasks = Vec::new();
    for (index, seat) in seats.into_iter().enumerate() {
        let offset = period * u32::try_from(index)? / CLIENTS;
        tasks.push(tokio::spawn(drive(seat, load.clone(), epoch, offset, period)));
    }
    let mut seats = Vec::new();
    for task in tasks {
        seats.push(task.await??);
    }
    let load = Arc::try_unwrap(load).map_err(|_| "a task still measures")?;
    Ok((seats, load.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

/// Sends on schedule and, in a task of its own, measures what arrives.
async fn drive(
    seat: Seat,
    load: Arc<Mutex<Load>>,
    epoch: Instant,
    offset: Duration,
    period: Duration,
) -> Result<Seat, Error> {
    let Seat { sender, mut receiver, other } = seat;
    let measured = load.clone();
    let receiving = tokio::spawn(async move {
        let end = tokio::time::Instant::from_std(epoch + DURATION + GRACE);
        while let Ok(message) = tokio::time::timeout_at(end, receiver.next()).await {
            if let ServerMessage::Candidate { candidate: Some(candidate), .. } = message? {
                let sent: u64 = candidate.username_fragment.as_deref().unwrap_or_default().parse()?;
                let latency = nanos(epoch.elapsed()).saturating_sub(sent);
                measured.lock().unwrap_or_else(PoisonError::into_inner).latency.saturating_record(latency);
            }
        }
        Ok::<_, Error>(receiver)
    });

    let mut planned = offset;
    while planned < DURATION {
        tokio::time::sleep_until(tokio::time::Instant::from_std(epoch + planned)).await;
        let now = epoch.elapsed();
        let late = nanos(now.saturating_sub(planned));
        load.lock().unwrap_or_else(PoisonError::into_inner).lateness.saturating_record(late);
        let candidate = IceCandidate {
            candidate: "candidate:842163049 1 udp 1677729535 203.0.113.7 46154 typ srflx raddr 0.0.0.0 rport 0".into(),
            sdp_mid: Some("0".into()),
            sdp_m_line_index: Some(0),
            username_fragment: Some(nanos(now).to_string()),
        };
        sender.send(&ClientMessage::Candidate { to: other.clone(), candidate: Some(candidate) }).await?;
        planned += period;
    }
    drop(load);
    let receiver = receiving.await??;
    Ok(Seat { sender, receiver, other })
}

fn print_row(rate: u32, load: &Load, cpu: Option<Duration>) {
    let ms = |nanoseconds: u64| nanoseconds as f64 / 1e6;
    let seconds = DURATION.as_secs_f64();
    let relayed = load.latency.len();
    let share = cpu.map_or_else(|| "-".into(), |cpu| format!("{:.0} %", 100.0 * cpu.as_secs_f64() / seconds));
    let each = cpu.map_or_else(|| "-".into(), |cpu| format!("{:.1}", micros(cpu) / relayed as f64));
    println!(
        "{rate:>10} {:>10.0} {:>9.2} {:>9.2} {:>9.2} {:>12.2} {share:>11} {each:>11} {:>9}",
        relayed as f64 / seconds,
        ms(load.latency.value_at_quantile(0.5)),
        ms(load.latency.value_at_quantile(0.99)),
        ms(load.latency.max()),
        ms(load.lateness.value_at_quantile(0.99)),
        load.lateness.len().saturating_sub(relayed),
    );
}

/// The server on a thread of its own, whose CPU time can be told from everything else's.
struct ServerThread {
    endpoint: Endpoint,
    task: Option<String>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: std::thread::JoinHandle<()>,
}

impl ServerThread {
    fn start() -> Result<Self, Error> {
        let (started, starting) = mpsc::channel::<Result<(Endpoint, Option<String>), String>>();
        let (stop, stopping) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let serve = async {
                let config = ServerConfig {
                    listen: ([127, 0, 0, 1], 0).into(),
                    identity: Identity::generate(&[])?,
                    pages: Vec::new(),
                    limits: Limits::default(),
                };
                Ok::<_, Error>(Server::start(config).await?)
            };
            let outcome = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(Error::from)
                .and_then(|runtime| runtime.block_on(serve).map(|server| (runtime, server)));
            match outcome {
                Ok((runtime, server)) => {
                    let task = std::fs::read_link("/proc/thread-self").ok();
                    let task = task.map(|task| format!("/proc/{}/schedstat", task.display()));
                    let _ = started.send(Ok((server.endpoint(), task)));
                    runtime.block_on(async {
                        let _ = stopping.await;
                        server.shutdown().await;
                    });
                }
                Err(error) => drop(started.send(Err(error.to_string()))),
            }
        });
        let (endpoint, task) = starting.recv()??;
        Ok(Self { endpoint, task, stop: Some(stop), thread })
    }

    /// CPU time of the server's thread so far; `None` where the system does not say.
    fn cpu(&self) -> Option<Duration> {
        let text = std::fs::read_to_string(self.task.as_deref()?).ok()?;
        text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    }

    fn stop(mut self) {
        drop(self.stop.take());
        let _ = self.thread.join();
    }
}

fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
