//! The bundled signaling server, in a process of its own, under clients of another.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use harness::signaling::{Endpoint, Protocol};

use super::engine::Run;
use super::process::{Measured, Scratch, harness, raise_descriptors};
use super::{Result, Size};

/// Messages of one client per second.
pub(super) const MESSAGES: u32 = 5;
/// Calls that begin per second, each with two clients.
const ARRIVALS: u32 = 250;

/// What the server does, and what it costs.
pub(super) struct Signaling {
    pub(super) failed: u64,
    /// Relayed per second while all clients are there.
    pub(super) relayed: f64,
    /// Of the server for each relayed message, in microseconds.
    pub(super) server_cpu_us: f64,
    /// Of the clients for each message that they send and receive, in microseconds.
    pub(super) client_cpu_us: f64,
    /// CPU milliseconds of the server for each client that joins and makes its call.
    pub(super) join_cpu_ms: f64,
    /// Bytes of resident memory of the server for each client.
    pub(super) server_resident: f64,
    /// Bytes of resident memory of the clients' process for each.
    pub(super) client_resident: f64,
    pub(super) delivery_p50_ms: Option<f64>,
    pub(super) delivery_p99_ms: Option<f64>,
    /// Messages that arrived unaltered and in order, between 0 and 1.
    pub(super) delivered: Option<f64>,
}

pub(super) fn measure(size: Size) -> Result<Signaling> {
    raise_descriptors();
    let scratch = Scratch::new("signaling")?;
    let serving = Serving::start(scratch.path())?;
    let calls = size.clients / 2;
    let arriving = Duration::from_secs(1) * calls / ARRIVALS;
    let hold = arriving + size.settle + size.window + size.settle;
    let file = scratch.path().join("clients.toml");
    let text = format!(
        "schema = 1\nname = \"clients\"\n{}[load]\narrivals = \"{ARRIVALS}/s\"\nhold = \"{}ms\"\n\
         [[peers]]\nengine = \"signaling\"\ncount = {}\nmessage_interval = \"{}ms\"\n",
        serving.table("/ws"),
        hold.as_millis(),
        size.clients,
        1_000 / MESSAGES
    );
    std::fs::write(&file, text)?;
    let empty = serving.process.resident()? as f64;
    let idle = serving.process.cpu()?;
    let mut run = Run::start(&file, scratch.path())?;
    run.process.at(Duration::from_millis(100))?;
    let client_empty = run.process.resident()? as f64;
    run.process.at(arriving + size.settle)?;
    let joined = serving.process.cpu()? - idle;
    let relayed_before = serving.relayed()?;
    let (server, clients) = (serving.process.cpu()?, run.process.cpu()?);
    let begin = run.process.began.elapsed();
    run.process.at(begin + size.window)?;
    let (server, clients) = (serving.process.cpu()? - server, run.process.cpu()? - clients);
    let elapsed = (run.process.began.elapsed() - begin).as_secs_f64();
    let messages = serving.relayed()? - relayed_before;
    let per_client = |process: &Measured, empty: f64| -> Result<f64> {
        Ok((process.resident()? as f64 - empty) / f64::from(size.clients))
    };
    let (server_resident, client_resident) =
        (per_client(&serving.process, empty)?, per_client(&run.process, client_empty)?);
    let report = run.finish(scratch.path())?;
    let metric = |name: &str, member: &str| report["metrics"][name][member].as_f64();
    // Messages flow while clients still join; their part is taken off.
    let streamed = server.as_secs_f64() * 1e6 / messages;
    let join_cpu = joined.as_secs_f64() * 1e6 - streamed * relayed_before;
    Ok(Signaling {
        failed: report["calls"]["failed"].as_u64().unwrap_or(0),
        relayed: messages / elapsed,
        server_cpu_us: streamed,
        client_cpu_us: clients.as_secs_f64() * 1e6 / messages,
        join_cpu_ms: join_cpu.max(0.0) / 1e3 / f64::from(size.clients),
        server_resident,
        client_resident,
        delivery_p50_ms: metric("signaling_delivery_ms", "p50"),
        delivery_p99_ms: metric("signaling_delivery_ms", "p99"),
        delivered: metric("signaling_delivery_ratio", "mean"),
    })
}

/// `harness serve`.
pub(super) struct Serving {
    pub(super) process: Measured,
    ca: PathBuf,
    port: u16,
}

impl Serving {
    pub(super) fn start(scratch: &Path) -> Result<Self> {
        let ca = scratch.join("ca.pem");
        // A port that was free a moment ago: the server says which it has only to people.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = harness();
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--ca-out"]).arg(&ca).stderr(Stdio::null());
        let mut process = Measured::start(&mut command)?;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let next = process.began.elapsed() + Duration::from_millis(20);
            process.at(next)?;
        }
        Ok(Self { process, ca, port })
    }

    /// What a scenario that uses it says, whose protocol is served at this path.
    pub(super) fn table(&self, path: &str) -> String {
        format!("[signaling]\nurl = \"wss://127.0.0.1:{}{path}\"\nca = \"{}\"\n", self.port, self.ca.display())
    }

    /// Messages relayed so far, as the server counts them.
    fn relayed(&self) -> Result<f64> {
        use std::io::{Read, Write};
        let endpoint =
            Endpoint::remote(&format!("wss://127.0.0.1:{}/ws", self.port), Some(&self.ca), Protocol::Harness)?;
        let name = rustls::pki_types::ServerName::from(std::net::IpAddr::from([127, 0, 0, 1]));
        let tls = rustls::ClientConnection::new(endpoint.tls, name)?;
        let mut stream = rustls::StreamOwned::new(tls, std::net::TcpStream::connect(("127.0.0.1", self.port))?);
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let line = text.lines().find_map(|line| line.strip_prefix("harness_signaling_messages_relayed_total "));
        Ok(line.ok_or("the server does not tell what it relayed")?.trim().parse()?)
    }
}
