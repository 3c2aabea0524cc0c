//! coturn on the loopback interface, for as long as a test needs it.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use harness::turn::message::{Builder, Class, Method, TransactionId};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

/// The user that it knows, with its password.
pub(crate) const USER: &str = "alice";
pub(crate) const PASSWORD: &str = "wonderland";

/// The secret of time-limited credentials.
pub(crate) const SECRET: &str = "north";

/// A running server. Dropping it ends it.
pub(crate) struct Coturn {
    pub(crate) child: Child,
    dir: TempDir,
    /// STUN, TURN over UDP, and over TCP.
    pub(crate) port: u16,
    /// TURN over TLS.
    pub(crate) tls_port: u16,
}

impl Coturn {
    /// With a user and a password.
    pub(crate) fn start(more: &[&str]) -> Self {
        let user = format!("{USER}:{PASSWORD}");
        let arguments = [&["--lt-cred-mech", "--user", &user], more].concat();
        Self::start_with(&arguments, &Certificate::WELL)
    }

    /// With a certificate for this name.
    pub(crate) fn start_with_name(name: &'static str) -> Self {
        let user = format!("{USER}:{PASSWORD}");
        Self::start_with(&["--lt-cred-mech", "--user", &user], &Certificate { name, ..Certificate::WELL })
    }

    /// With these arguments, which say who may use it.
    pub(crate) fn start_with(arguments: &[&str], shown: &Certificate) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        certificate(dir.path(), shown);
        let (port, tls_port) = (free_port(), free_port());
        // `setpriv`, so that it ends with this process even when that is killed.
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig",
            "KILL",
            "--",
            "turnserver",
            "-n",
            "--no-cli",
            "--log-file",
            "stdout",
            "--no-dtls",
        ]);
        command.args(["--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1", "--allow-loopback-peers"]);
        command.args(["--realm", "harness.example", "--fingerprint"]);
        command.args(["--listening-port", &port.to_string(), "--tls-listening-port", &tls_port.to_string()]);
        for (option, file) in [("--cert", "cert.pem"), ("--pkey", "key.pem"), ("--pidfile", "pid"), ("--userdb", "db")]
        {
            command.arg(option).arg(dir.path().join(file));
        }
        let log = std::fs::File::create(dir.path().join("log")).expect("a log");
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let child = command.spawn().expect("turnserver (package coturn; ci/install brings it)");
        let server = Self { child, dir, port, tls_port };
        server.wait();
        server
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let listens = |port: &u16| TcpStream::connect(("127.0.0.1", *port)).is_ok();
        // The TCP ports are open before the UDP port is.
        while ![self.port, self.tls_port].iter().all(listens) || !answers_over_udp(self.port) {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "coturn does not start:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The CA of its certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    pub(crate) fn udp(&self) -> String {
        format!("turn:127.0.0.1:{}", self.port)
    }

    pub(crate) fn tcp(&self) -> String {
        format!("turn:127.0.0.1:{}?transport=tcp", self.port)
    }

    pub(crate) fn tls(&self) -> String {
        format!("turns:127.0.0.1:{}", self.tls_port)
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a STUN server answers on a port of this machine.
fn answers_over_udp(port: u16) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    let request = Builder::new(Class::Request, Method::BINDING, TransactionId([7; 12])).finish();
    let asked = socket.connect(("127.0.0.1", port)).and_then(|()| socket.send(&request));
    asked.is_ok() && socket.recv(&mut [0; 512]).is_ok()
}

/// A port that is free for UDP and TCP.
pub(crate) fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = tcp.local_addr().expect("its number").port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// What a server shows of itself.
pub(crate) struct Certificate {
    pub(crate) name: &'static str,
    /// From when it is made.
    pub(crate) valid: Duration,
}

impl Certificate {
    /// For the loopback interface, and long enough.
    pub(crate) const WELL: Self = Self { name: "127.0.0.1", valid: Duration::from_secs(365 * 86_400) };
}

/// Writes a CA, and a certificate and key from it.
pub(crate) fn certificate(dir: &Path, shown: &Certificate) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec![shown.name.to_owned()]).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
    leaf.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + shown.valid;
    let leaf = leaf.signed_by(&key, &ca).unwrap();
    for (file, text) in [("ca.pem", ca.pem()), ("cert.pem", leaf.pem()), ("key.pem", key.serialize_pem())] {
        std::fs::write(dir.join(file), text).expect("the certificate is written");
    }
}
