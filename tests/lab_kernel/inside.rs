//! What runs inside the lab.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use harness::lab::kernel::{HostHandle, Lab, LabHost, LabSetup};
use harness::net::World;
use harness::net::spec::{
    Conditions, Filtering, Ipv6Spec, Layer, LinkSpec, Mapping, Mtu, NatSpec, PortAllocation, SiteSpec,
};

/// A server on the internet.
const SERVER: [u8; 4] = [11, 0, 0, 20];
const SERVER_SECOND: [u8; 4] = [11, 0, 0, 21];

/// Builds a lab site by site.
struct Builder {
    setup: LabSetup,
}

impl Builder {
    fn new() -> Self {
        Self { setup: LabSetup { world: World::new(1), hosts: Vec::new(), names: Vec::new() } }
    }

    /// A server with two addresses, which every host knows as `server.lab`.
    fn server(mut self) -> Self {
        let addresses = [IpAddr::from(SERVER), IpAddr::from(SERVER_SECOND)];
        let id = self.setup.world.add_public_host(&addresses).unwrap();
        let addresses = addresses.map(|address| (address, 32)).to_vec();
        self.setup.hosts.push(LabHost { name: "server".into(), id, addresses, mtu: 1500 });
        self.setup.names.push(("server.lab".into(), SERVER.into()));
        self
    }

    /// A site with one host, both of this name.
    fn site(mut self, name: &str, change: impl FnOnce(&mut SiteSpec)) -> Self {
        let number = self.setup.hosts.len();
        let lan = format!("192.168.{number}.0/24").parse().unwrap();
        let mut spec = SiteSpec::new(name, lan, Vec::new());
        change(&mut spec);
        let site = self.setup.world.add_site(&spec).unwrap();
        let mut addresses: Vec<(IpAddr, u8)> = vec![(spec.lan.address(2).unwrap().into(), 24)];
        if let Some(ipv6) = &spec.ipv6 {
            addresses.push((ipv6.prefix.address(2).unwrap().into(), 64));
        }
        let known: Vec<IpAddr> = addresses.iter().map(|(address, _)| *address).collect();
        let id = self.setup.world.add_host(site, &known).unwrap();
        self.setup.hosts.push(LabHost { name: name.into(), id, addresses, mtu: 1500 });
        self
    }

    fn start(self) -> Lab {
        Lab::start(self.setup).unwrap()
    }
}

fn nat(mapping: Mapping, filtering: Filtering, ports: PortAllocation) -> Layer {
    Layer::Nat(NatSpec { mapping, filtering, ports, ..NatSpec::default() })
}

fn home() -> Layer {
    Layer::Nat(NatSpec::default())
}

fn delayed(delay_us: u64) -> LinkSpec {
    LinkSpec { conditions: Conditions { delay_us, ..Conditions::default() }, schedule: Vec::new() }
}

/// Answers every datagram with the address that it came from, as STUN does.
fn reflector(host: &HostHandle, address: impl Into<SocketAddr>) {
    let socket = host.bind_udp(address.into()).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(from.to_string().as_bytes(), from);
        }
    });
}

fn udp(host: &HostHandle, port: u16) -> UdpSocket {
    let socket = host.bind_udp((host.addresses()[0], port).into()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (length, from) = socket.recv_from(&mut buffer).expect("nothing arrives");
    (buffer[..length].to_vec(), from)
}

/// Where the server sees the socket.
fn reflexive(socket: &UdpSocket) -> SocketAddr {
    socket.send_to(b"who am I", SocketAddr::from((SERVER, 3478))).unwrap();
    String::from_utf8(receive(socket).0).unwrap().parse().unwrap()
}

#[test]
#[ignore = "runs inside a lab"]
fn udp_and_tcp_pass_nats() {
    let begin = Instant::now();
    let site = |spec: &mut SiteSpec| {
        spec.layers.push(home());
        spec.up = delayed(5_000);
    };
    let lab = Builder::new().server().site("alice", site).site("bob", site).start();
    println!("up after {:?}", begin.elapsed());
    let [server, alice, bob] = ["server", "alice", "bob"].map(|name| lab.host(name).unwrap());

    reflector(&server, (SERVER, 3478));
    let (a, b) = (udp(&alice, 5000), udp(&bob, 5000));
    let (at_a, at_b) = (reflexive(&a), reflexive(&b));
    assert_ne!(at_a.ip(), alice.addresses()[0]);
    // The first packet opens the sender's NAT and stops at the other's.
    a.send_to(b"punch", at_b).unwrap();
    thread::sleep(Duration::from_millis(30));
    b.send_to(b"ping", at_a).unwrap();
    assert_eq!(receive(&a), (b"ping".to_vec(), at_b));
    a.send_to(b"pong", at_b).unwrap();
    assert_eq!(receive(&b), (b"pong".to_vec(), at_a));

    // One call that the kernel makes five packets of, which an interface could do as well.
    nix::sys::socket::setsockopt(&a, nix::sys::socket::sockopt::UdpGsoSegment, &1000).unwrap();
    a.send_to(&[0; 4500], SocketAddr::from((SERVER, 3478))).unwrap();
    for _ in 0..5 {
        assert_eq!(receive(&a).0, at_a.to_string().into_bytes());
    }

    // Enough for segmentation offload to show, were it on.
    let listener = server.listen_tcp((SERVER, 80).into()).unwrap();
    let sink = thread::spawn(move || {
        let (mut stream, from) = listener.accept().unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
        from.ip()
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(alice.connect_tcp((SERVER, 80).into())).unwrap().into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let sent: Vec<u8> = (0..4_000_000_u32).map(|at| (at ^ at >> 8) as u8).collect();
    let begin = Instant::now();
    (&stream).write_all(&sent).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut echoed = Vec::new();
    (&stream).read_to_end(&mut echoed).unwrap();
    assert!(sent == echoed, "TCP broke {} bytes into {}", sent.len(), echoed.len());
    println!("4 MB there and back over 5 ms of delay in {:?}", begin.elapsed());
    assert_eq!(sink.join().unwrap(), at_a.ip());

    let report = lab.stop().unwrap();
    let driver = report.driver;
    println!("{} packets received, {} sent", driver.received, driver.sent);
    assert_eq!((driver.overrun, driver.refused), (0, 0), "{:?}", driver.not_carried);
}

#[test]
#[ignore = "runs inside a lab"]
fn a_dozen_hosts() {
    let mut builder = Builder::new().server();
    for number in 1..12 {
        builder = builder.site(&format!("site{number}"), |spec| spec.layers.push(home()));
    }
    let begin = Instant::now();
    let lab = builder.start();
    let up = begin.elapsed();
    println!("12 hosts up after {up:?}");
    reflector(&lab.host("server").unwrap(), (SERVER, 3478));
    for number in 1..12 {
        reflexive(&udp(&lab.host(&format!("site{number}")).unwrap(), 1234));
    }
    let begin = Instant::now();
    lab.stop().unwrap();
    println!("down after {:?}", begin.elapsed());
    assert!(up < Duration::from_secs(1), "{up:?}");
}

#[test]
#[ignore = "runs inside a lab"]
fn ipv6() {
    let site = |prefix: &'static str| {
        move |spec: &mut SiteSpec| spec.ipv6 = Some(Ipv6Spec { prefix: prefix.parse().unwrap(), edge: None })
    };
    let lab = Builder::new().server().site("alice", site("2a0f:1::/64")).site("bob", site("2a0f:2::/64")).start();
    let socket = |host: &str| {
        let host = lab.host(host).unwrap();
        let socket = host.bind_udp((host.addresses()[1], 5000).into()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        socket
    };
    let (a, b) = (socket("alice"), socket("bob"));
    a.send_to(b"ping", b.local_addr().unwrap()).unwrap();
    assert_eq!(receive(&b), (b"ping".to_vec(), a.local_addr().unwrap()));
    let report = lab.stop().unwrap();
    // Nothing that the hosts' kernels say of their own reaches the model.
    assert!(report.driver.not_carried.is_empty(), "{:?}", report.driver);
}

#[test]
#[ignore = "runs inside a lab"]
fn overrun() {
    const PACKETS: u64 = 100_000;
    let lab = Builder::new().server().site("alice", |spec| spec.layers.push(home())).start();
    let socket = udp(&lab.host("alice").unwrap(), 1);
    let _sink = udp(&lab.host("server").unwrap(), 1);
    // Whoever works with the model holds the forwarder up.
    lab.world(|_| {
        for _ in 0..PACKETS {
            socket.send_to(&[0; 1200], SocketAddr::from((SERVER, 1))).unwrap();
        }
    });
    let driver = lab.stop().unwrap().driver;
    println!("{} packets received, {} overrun", driver.received, driver.overrun);
    assert!(driver.overrun > 0);
    assert_eq!(driver.received + driver.overrun, PACKETS);
}

#[test]
#[ignore = "runs inside a lab"]
fn delay() {
    const PACKETS: u32 = 3000;
    let lab = Builder::new().server().site("alice", |spec| {
        spec.layers.push(home());
        spec.up = delayed(40_000);
    });
    let lab = lab.start();
    let (from, to) = (udp(&lab.host("alice").unwrap(), 1), udp(&lab.host("server").unwrap(), 1));
    let begin = Instant::now();
    let receiver = thread::spawn(move || {
        let mut delays = Vec::new();
        for _ in 0..PACKETS {
            let (bytes, _) = receive(&to);
            let sent = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            delays.push(begin.elapsed().as_nanos() as u64 - sent);
        }
        delays.sort_unstable();
        delays
    });
    // How late this thread wakes says how busy the machine is with other things.
    let mut wakes = Vec::new();
    for number in 0..PACKETS {
        let due = Duration::from_millis(number.into());
        let wait = due.saturating_sub(begin.elapsed());
        if !wait.is_zero() {
            thread::sleep(wait);
            wakes.push((begin.elapsed() - due).as_nanos() as u64);
        }
        let mut bytes = [0; 1200];
        bytes[..8].copy_from_slice(&(begin.elapsed().as_nanos() as u64).to_le_bytes());
        from.send_to(&bytes, SocketAddr::from((SERVER, 1))).unwrap();
    }
    wakes.sort_unstable();
    let delays = receiver.join().unwrap();
    let at = |values: &[u64], share: f64| values[((values.len() - 1) as f64 * share) as usize] as f64 / 1e6;
    let [low, median, p99, most] = [0.0, 0.5, 0.99, 1.0].map(|share| at(&delays, share));
    println!("40 ms at 1,000 packets/s: {low:.3} to {most:.3} ms, median {median:.3}, p99 {p99:.3}");
    let [busy_median, busy_p99] = [0.5, 0.99].map(|share| at(&wakes, share));
    println!("a sleeping thread is late by {busy_median:.3} ms at the median, {busy_p99:.3} at p99");
    println!("the wire is late by {} µs at p99", lab.counters().lateness_us.value_at_quantile(0.99));
    assert!(low >= 40.0 && median <= 41.0 + 2.0 * busy_median && p99 <= 43.0 + 3.0 * busy_p99);
}

#[test]
#[ignore = "runs inside a lab"]
fn icmp_errors() {
    let mtu = Mtu { bytes: 1000, black_hole: false };
    let narrow = |spec: &mut SiteSpec| {
        spec.layers.push(home());
        spec.up.conditions.mtu = Some(mtu);
    };
    let lab = Builder::new().server().site("alice", |spec| spec.layers.push(home())).site("bob", narrow).start();
    let [server, alice, bob] = ["server", "alice", "bob"].map(|name| lab.host(name).unwrap());
    // Nobody listens there: the server's kernel says so, and the NAT brings it home.
    let socket = udp(&alice, 0);
    socket.connect(SocketAddr::from((SERVER, 9))).unwrap();
    socket.send(b"anybody?").unwrap();
    assert_eq!(socket.recv(&mut [0; 10]).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    // A TCP connection over a link with a smaller MTU lives by errors that quote its sequence numbers.
    let listener = server.listen_tcp((SERVER, 80).into()).unwrap();
    let source = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        all.len()
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connect = async { tokio::time::timeout(Duration::from_secs(5), bob.connect_tcp((SERVER, 80).into())).await };
    let stream = runtime.block_on(connect).expect("no connection").unwrap().into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    (&stream).write_all(&[1; 100_000]).unwrap();
    drop(stream);
    assert_eq!(source.join().unwrap(), 100_000);
}

#[test]
#[ignore = "runs inside a lab"]
fn natdiscovery() {
    use Filtering as F;
    use Mapping as M;
    let words = |name: &str| match name {
        "EndpointIndependent" => "Endpoint Independent",
        "AddressDependent" => "Address Dependent",
        _ => "Address and Port Dependent",
    };
    let mut builder = Builder::new().server();
    let mut asked = Vec::new();
    for mapping in [M::EndpointIndependent, M::AddressDependent, M::AddressAndPortDependent] {
        for filtering in [F::EndpointIndependent, F::AddressDependent, F::AddressAndPortDependent] {
            let name = format!("{mapping:?}/{filtering:?}");
            builder = builder.site(&name, |spec| spec.layers.push(nat(mapping, filtering, PortAllocation::Random)));
            asked.push((name, format!("{mapping:?}"), format!("{filtering:?}")));
        }
    }
    let lab = builder.start();
    let server = lab.host("server").unwrap();
    let mut turnserver = Command::new("turnserver");
    turnserver.args(
        "-n --no-cli --no-tls --no-dtls --log-file stdout --listening-port 3478 --alt-listening-port 3479".split(' '),
    );
    for address in [SERVER, SERVER_SECOND] {
        let address = IpAddr::from(address).to_string();
        turnserver.args(["--listening-ip", &address, "--relay-ip", &address]);
    }
    turnserver.args(["--lt-cred-mech", "--user", "u:p", "--realm", "lab", "--pidfile", "/dev/null"]);
    turnserver.stdout(Stdio::null()).stderr(Stdio::null());
    let mut turnserver = server.spawn(turnserver).expect("apt-get install coturn");
    thread::sleep(Duration::from_millis(500));
    let discover = |(name, mapping, filtering): (String, String, String)| {
        let host = lab.host(&name).unwrap();
        thread::spawn(move || {
            let mut command = Command::new("turnutils_natdiscovery");
            command.args(["-m", "-f", &IpAddr::from(SERVER).to_string()]).stdin(Stdio::null());
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let output = host.spawn(command).expect("apt-get install coturn").wait_with_output().unwrap();
            (name, mapping, filtering, String::from_utf8_lossy(&output.stdout).into_owned())
        })
    };
    let running: Vec<_> = asked.into_iter().map(discover).collect();
    let mut wrong = String::new();
    for thread in running {
        let (name, mapping, filtering, said) = thread.join().unwrap();
        let found =
            |what: &str, expected: &str| said.lines().any(|line| line.contains(&format!("NAT with {expected} {what}")));
        let good = found("Mapping", words(&mapping)) && found("Filtering", words(&filtering));
        println!("{name}: {}", if good { "as asked" } else { "WRONG" });
        if !good {
            let _ = writeln!(wrong, "{name}:\n{said}");
        }
    }
    turnserver.kill().unwrap();
    turnserver.wait().unwrap();
    assert!(wrong.is_empty(), "{wrong}");
}

/// Serves one page, by HTTP on port 80, until the end.
fn serve_page(server: &HostHandle) {
    let listener = server.listen_tcp((SERVER, 80).into()).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { break };
            thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let page = "<title>behind a NAT</title><p>behind a NAT";
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close";
                let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{page}", page.len());
            });
        }
    });
}

fn browse(program: &str, arguments: &[&str]) -> (Lab, std::process::Output) {
    let site = |spec: &mut SiteSpec| spec.layers.push(home());
    let lab = Builder::new().server().site("alice", site).start();
    serve_page(&lab.host("server").unwrap());
    let mut command = Command::new(program);
    command.args(arguments).arg("http://server.lab/").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let begin = Instant::now();
    let output = lab.host("alice").unwrap().spawn(command).unwrap().wait_with_output().unwrap();
    println!("{program} is done after {:?}", begin.elapsed());
    (lab, output)
}

#[test]
#[ignore = "runs inside a lab"]
fn chromium() {
    let profile = format!("--user-data-dir={}", std::env::temp_dir().join("profile").display());
    let (_lab, output) = browse("chromium", &["--headless", "--no-sandbox", "--disable-gpu", &profile, "--dump-dom"]);
    let page = String::from_utf8_lossy(&output.stdout);
    assert!(page.contains("behind a NAT</p>"), "{page}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[ignore = "runs inside a lab"]
fn firefox() {
    let profile = std::env::temp_dir().join("profile");
    std::fs::create_dir(&profile).unwrap();
    let picture = std::env::temp_dir().join("page.png");
    let (lab, output) = browse(
        "firefox-esr",
        &["--headless", "--profile", profile.to_str().unwrap(), "--screenshot", picture.to_str().unwrap()],
    );
    assert!(picture.exists(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(lab.counters().received > 0);
}

/// For the test of a lab that is killed.
#[test]
#[ignore = "runs inside a lab"]
fn waits() {
    let lab = Builder::new().server().site("alice", |_| {}).start();
    std::fs::write(std::env::temp_dir().join("left"), "behind").unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "setsid sleep 1000 & sleep 1000"]);
    lab.host("alice").unwrap().spawn(command).unwrap().wait().unwrap();
}
