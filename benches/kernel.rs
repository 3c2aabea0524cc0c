//! How many packets the kernel driver forwards, at what cost, and how exactly it keeps to a delay.
//!
//! A host sends datagrams of 1,200 bytes to another through the model, once straight and once out of a NAT; the offered
//! rate rises. The cost is the CPU time of the thread of the wire, which holds the kernel's work for both ends; the sender and
//! the receiver have threads of their own. The yardstick is the same sender and receiver over the loopback interface,
//! measured in the same run. Run with `cargo bench --bench kernel`.
#![allow(clippy::print_stdout)]

use std::error::Error;

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("the kernel driver is a feature of Linux");
}

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn Error>> {
    use std::os::unix::process::CommandExt;
    if harness::lab::kernel::inside() {
        return linux::run();
    }
    let mut lab = std::process::Command::new(env!("CARGO_BIN_EXE_harness"));
    Err(lab.args(["lab", "--"]).arg(std::env::current_exe()?).exec().into())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::net::{IpAddr, SocketAddr, UdpSocket};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread::{self, sleep};
    use std::time::{Duration, Instant};

    use harness::lab::kernel::{Lab, LabHost, LabSetup};
    use harness::net::World;
    use harness::net::spec::{Conditions, Layer, LinkSpec, NatSpec, SiteSpec};
    use hdrhistogram::Histogram;

    use super::Error;

    const BYTES: usize = 1200;
    const RATES: [u32; 5] = [50_000, 100_000, 150_000, 200_000, 300_000];
    const DURATION: Duration = Duration::from_secs(3);
    const SERVER: [u8; 4] = [11, 0, 0, 20];
    /// Packets that leave together, as those of a video frame do.
    const BURST: u32 = 16;

    type Result<T> = std::result::Result<T, Box<dyn Error>>;

    pub(super) fn run() -> Result<()> {
        let loopback = UdpSocket::bind("127.0.0.1:0")?;
        let (from, to) = (UdpSocket::bind("127.0.0.1:0")?, loopback.local_addr()?);
        let begin = Instant::now();
        let (sent, received) = blast(from, loopback, to, None);
        let rate = |packets: u64| packets as f64 / begin.elapsed().as_secs_f64();
        println!("yardstick, loopback at full rate: {:.0} packets/s sent, {:.0} received", rate(sent), rate(received));
        println!();
        println!("                offered/s  delivered/s   missing   overrun  wire CPU  µs/packet  at one core/s");
        for (name, layers) in [("straight", Vec::new()), ("out of a NAT", vec![Layer::Nat(NatSpec::default())])] {
            for rate in RATES {
                forward(name, layers.clone(), rate)?;
            }
        }
        println!();
        precision()
    }

    /// A host `sender`, behind layers if there are any, and a public one `receiver`.
    fn lab(layers: Vec<Layer>, delay_us: u64) -> Result<Lab> {
        let mut world = World::new(1);
        let receiver = world.add_public_host(&[SERVER.into()])?;
        let (address, sender) = if layers.is_empty() && delay_us == 0 {
            let address = IpAddr::from([11, 0, 0, 30]);
            (address, world.add_public_host(&[address])?)
        } else {
            let mut spec = SiteSpec::new("sender", "192.168.1.0/24".parse()?, layers);
            spec.up = LinkSpec { conditions: Conditions { delay_us, ..Conditions::default() }, schedule: Vec::new() };
            let site = world.add_site(&spec)?;
            let address = IpAddr::from([192, 168, 1, 2]);
            (address, world.add_host(site, &[address])?)
        };
        let host =
            |name: &str, id, address| LabHost { name: name.into(), id, addresses: vec![(address, 32)], mtu: 1500 };
        let hosts = vec![host("receiver", receiver, SERVER.into()), host("sender", sender, address)];
        Ok(Lab::start(LabSetup { world, hosts, names: Vec::new() })?)
    }

    fn sockets(lab: &Lab) -> Result<(UdpSocket, UdpSocket)> {
        let (from, to) = (lab.host("sender")?, lab.host("receiver")?);
        Ok((from.bind_udp((from.addresses()[0], 1).into())?, to.bind_udp((SERVER, 1).into())?))
    }

    fn forward(name: &str, layers: Vec<Layer>, rate: u32) -> Result<()> {
        let lab = lab(layers, 0)?;
        let (from, to) = sockets(&lab)?;
        let (cpu, begin) = (wire_cpu()?, Instant::now());
        let (sent, received) = blast(from, to, (SERVER, 1).into(), Some(rate));
        let (cpu, elapsed) = (wire_cpu()? - cpu, begin.elapsed());
        let driver = lab.stop()?.driver;
        let per_packet = cpu.as_secs_f64() / driver.sent.max(1) as f64;
        println!(
            "{name:<14}{:>11.0}{:>13.0}{:>10}{:>10}{:>9.0} %{:>11.2}{:>15.0}",
            sent as f64 / DURATION.as_secs_f64(),
            received as f64 / DURATION.as_secs_f64(),
            sent - received,
            driver.overrun,
            cpu.as_secs_f64() / elapsed.as_secs_f64() * 100.0,
            per_packet * 1e6,
            1.0 / per_packet,
        );
        Ok(())
    }

    /// Sends for a while, at a rate or as fast as possible; gives how many packets were sent and received.
    fn blast(from: UdpSocket, to: UdpSocket, address: SocketAddr, rate: Option<u32>) -> (u64, u64) {
        // What is lost shall be lost on the way, not at the end.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&to, 4 << 20);
        let done = Arc::new(AtomicBool::new(false));
        let receiver = {
            let done = done.clone();
            thread::spawn(move || {
                let mut received = 0;
                let _ = to.set_read_timeout(Some(Duration::from_millis(200)));
                loop {
                    match to.recv(&mut [0; 2048]) {
                        Ok(_) => received += 1,
                        Err(_) if done.load(Ordering::Relaxed) => return received,
                        Err(_) => {}
                    }
                }
            })
        };
        let begin = Instant::now();
        let mut sent: u64 = 0;
        while begin.elapsed() < DURATION {
            if let Some(rate) = rate
                && sent as f64 > begin.elapsed().as_secs_f64() * f64::from(rate)
            {
                sleep(Duration::from_micros(50));
                continue;
            }
            for _ in 0..BURST {
                sent += u64::from(from.send_to(&[0; BYTES], address).is_ok());
            }
        }
        done.store(true, Ordering::Relaxed);
        (sent, receiver.join().unwrap_or_default())
    }

    /// CPU time that the thread of the wire has used.
    fn wire_cpu() -> Result<Duration> {
        for task in fs::read_dir("/proc/self/task")? {
            let task = task?.path();
            if fs::read_to_string(task.join("comm"))?.trim() == "wire" {
                let text = fs::read_to_string(task.join("schedstat"))?;
                return Ok(Duration::from_nanos(text.split(' ').next().unwrap_or_default().parse()?));
            }
        }
        Err("there is no thread of the wire".into())
    }

    /// 1,000 packets a second over a delay of 40 ms. The yardstick is how late a sleeping thread of this machine wakes.
    fn precision() -> Result<()> {
        const DELAY: Duration = Duration::from_millis(40);
        const PACKETS: u32 = 5_000;
        let lab = lab(vec![Layer::Nat(NatSpec::default())], DELAY.as_micros() as u64)?;
        let (from, to) = sockets(&lab)?;
        to.set_read_timeout(Some(Duration::from_secs(2)))?;
        let begin = Instant::now();
        let receiver = thread::spawn(move || {
            let mut excess = histogram();
            let mut buffer = [0; 2048];
            for _ in 0..PACKETS {
                if to.recv(&mut buffer).is_err() {
                    break;
                }
                let sent = Duration::from_nanos(u64::from_le_bytes(buffer[..8].try_into().unwrap_or_default()));
                excess.saturating_record((begin.elapsed() - sent).saturating_sub(DELAY).as_micros() as u64);
            }
            excess
        });
        let mut wakes = histogram();
        for number in 0..PACKETS {
            let due = Duration::from_millis(number.into());
            let wait = due.saturating_sub(begin.elapsed());
            if !wait.is_zero() {
                sleep(wait);
                wakes.saturating_record((begin.elapsed() - due).as_micros() as u64);
            }
            let mut bytes = [0; BYTES];
            bytes[..8].copy_from_slice(&(begin.elapsed().as_nanos() as u64).to_le_bytes());
            from.send_to(&bytes, SocketAddr::from((SERVER, 1)))?;
        }
        let excess = receiver.join().unwrap_or_else(|_| histogram());
        let row = |name: &str, values: &Histogram<u64>| {
            let [median, p99] = [0.5, 0.99].map(|share| values.value_at_quantile(share));
            println!("{name:<40}{:>9}{median:>9}{p99:>9}{:>9}", values.len(), values.max());
        };
        println!("in µs                                       count   median      p99      max");
        row("past a delay of 40 ms, 1,000 packets/s", &excess);
        row("the wire's own lateness", &lab.stop()?.driver.lateness_us);
        row("yardstick, a sleeping thread wakes late", &wakes);
        Ok(())
    }

    fn histogram() -> Histogram<u64> {
        Histogram::new_with_bounds(1, 60_000_000, 3).expect("from 1 µs to a minute, in three digits")
    }
}
