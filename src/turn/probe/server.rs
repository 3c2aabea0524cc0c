//! The steps of one server, in order; a step that fails ends the probe where the next needs it.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::fault::{Fault, FaultClass};
use super::report::{AllocationReport, CertificateReport, Dns, ServerReport, Step, Stun, Tls, Verdict};
use super::{DEADLINE, Options, load, millis, relay, unix_now};
use crate::turn::client::{
    Allocation, Certificate, Client, ClientError, IceUrl, Scheme, Shown, Steps, Transport, resolve,
};

/// Below this many days the end of a certificate is worth a warning.
const DAYS_WARNING: i64 = 14;

pub(super) async fn probe(url: &IceUrl, options: &Options) -> ServerReport {
    let mut probe = Probe { url, options, report: blank(url) };
    probe.run().await;
    let mut report = probe.report;
    report.verdict = report.faults.iter().map(|fault| fault.class.verdict()).max().unwrap_or(Verdict::Pass);
    report
}

/// A probe of one server on its way.
pub(super) struct Probe<'a> {
    pub(super) url: &'a IceUrl,
    pub(super) options: &'a Options,
    pub(super) report: ServerReport,
}

impl Probe<'_> {
    async fn run(&mut self) {
        let started = Instant::now();
        let addresses = match resolve(self.url, DEADLINE).await {
            Ok(addresses) => addresses,
            Err(error) => return self.fail(Step::Dns, &error),
        };
        if self.url.host.parse::<IpAddr>().is_err() {
            self.report.dns = Some(Dns { ms: millis(started.elapsed()), addresses: addresses.clone() });
        }
        let Some(client) = self.reach(&addresses).await else { return };
        match self.url.scheme {
            Scheme::Stun => drop(client),
            Scheme::Turn => self.turn(client).await,
        }
    }

    /// The first address that can be reached, and that answers a Binding request or may still answer an Allocate.
    async fn reach(&mut self, addresses: &[SocketAddr]) -> Option<Client> {
        let mut unreached: Vec<Fault> = Vec::new();
        for address in addresses {
            match self.attempt(*address).await {
                Ok(client) => {
                    let others = unreached.iter().map(|fault| format!("{}; another address works", fault.message));
                    self.report.warnings.extend(others);
                    return Some(client);
                }
                Err(fault) => unreached.push(fault),
            }
        }
        // What the server could mend comes before what only another machine could see.
        unreached.sort_by_key(|fault| fault.class.verdict() == Verdict::Invalid);
        self.report.faults.extend(unreached.into_iter().take(1));
        None
    }

    async fn attempt(&mut self, address: SocketAddr) -> Result<Client, Fault> {
        let (steps, client) = self.connect(address).await;
        let failed = if steps.tcp.is_some() { Step::Tls } else { Step::TcpConnect };
        (self.report.tcp_connect_ms, self.report.server) = (steps.tcp.map(millis), Some(address));
        self.report.tls = steps.tls.as_ref().map(|(time, shown)| tls(millis(*time), shown, client.is_ok()));
        let mut client = client.map_err(|error| self.fault(failed, &error))?;
        if let Some(leaf) = self.report.tls.as_ref().and_then(|tls| tls.chain.first()) {
            let days = leaf.days_left;
            if (0..DAYS_WARNING).contains(&days) {
                self.report.warnings.push(format!("the certificate expires in {days} days"));
            }
        }
        match client.bind().await {
            Ok(binding) => {
                let (rtt_ms, mapped) = (millis(binding.rtt), binding.mapped);
                self.report.stun = Some(Stun { rtt_ms, mapped, software: binding.software });
                Ok(client)
            }
            Err(error) => {
                let fault = self.fault(Step::StunBinding, &error);
                // A TURN server need not be a STUN server: silence and refusals are settled by Allocate.
                let settled = matches!(error, ClientError::TimedOut { .. } | ClientError::Refusal(_));
                if self.url.scheme == Scheme::Stun || !settled {
                    return Err(fault);
                }
                self.report.warnings.push(format!("as STUN server it does not work: {}", fault.message));
                Ok(client)
            }
        }
    }

    async fn turn(&mut self, mut client: Client) {
        let allocation = match client.allocate(false).await {
            // Where there is no relay address of IPv4, there should be one of IPv6.
            Err(ClientError::Refusal(refusal)) if refusal.code == 440 => client.allocate(true).await,
            other => other,
        };
        let allocation = match allocation {
            Ok(allocation) => allocation,
            Err(error) => return self.fail(Step::Allocation, &error),
        };
        self.report.allocation = Some(report_allocation(&allocation));
        if is_private(allocation.relayed.ip()) && !is_private(client.server().ip()) {
            self.report.warnings.push(format!(
                "its relay address {} is private, and the server's own is not: peers elsewhere cannot reach it (coturn: \
                 external-ip)",
                allocation.relayed.ip()
            ));
        }
        if allocation.relayed.ip().is_unspecified() {
            let message = format!("its relay address {} is none; coturn: set relay-ip", allocation.relayed);
            let fault = Fault::observed(Step::Allocation, FaultClass::ProtocolBroken, message, self.url);
            self.report.faults.push(fault);
            return;
        }
        relay::measure(self, client, &allocation).await;
        if let Some(rate) = self.options.allocations {
            load::measure(self, rate).await;
        }
    }

    /// Another connection to the server.
    pub(super) async fn connect(&self, address: SocketAddr) -> (Steps, Result<Client, ClientError>) {
        let login = self.options.login.clone();
        Client::connect(self.url, address, login, self.options.trust.as_ref(), DEADLINE).await
    }

    pub(super) fn fail(&mut self, step: Step, error: &ClientError) {
        let fault = self.fault(step, error);
        self.report.faults.push(fault);
    }

    pub(super) fn fault(&self, step: Step, error: &ClientError) -> Fault {
        // Over UDP nothing connects: what is refused, or has no route, shows with the first request.
        let step = match step {
            Step::TcpConnect if self.url.transport == Transport::Udp => Step::StunBinding,
            step => step,
        };
        let fault = Fault::new(step, error, self.url, self.options.login.as_ref());
        if fault.class != FaultClass::StunNoAnswer || self.report.stun.is_none() {
            return fault;
        }
        let remedy = "it answers Binding requests, so it can be reached: check that it is a TURN server and not one for \
                      STUN only, its log, and its bandwidth limits (coturn: max-bps)";
        Fault { remedy: remedy.into(), ..fault }
    }
}

/// Whether an address means something in some networks only (RFC 1918, RFC 4193, RFC 6598, RFC 3927).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            let carrier = ip.octets()[0] == 100 && ip.octets()[1] & 0xC0 == 64;
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || carrier
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local(),
    }
}

fn blank(url: &IceUrl) -> ServerReport {
    ServerReport {
        url: url.to_string(),
        verdict: Verdict::Pass,
        faults: Vec::new(),
        warnings: Vec::new(),
        dns: None,
        server: None,
        tcp_connect_ms: None,
        tls: None,
        stun: None,
        allocation: None,
        permission_ms: None,
        relay: None,
        goodput: None,
        allocation_rate: None,
    }
}

fn report_allocation(allocation: &Allocation) -> AllocationReport {
    AllocationReport {
        ms: millis(allocation.elapsed),
        unauthorized: allocation.unauthorized,
        stale_nonces: allocation.stale_nonces,
        relayed: allocation.relayed,
        family: if allocation.relayed.is_ipv4() { "ipv4" } else { "ipv6" },
        lifetime_s: allocation.lifetime.as_secs(),
    }
}

fn tls(ms: f64, shown: &Shown, verified: bool) -> Tls {
    let now = i64::try_from(unix_now().as_secs()).unwrap_or(i64::MAX);
    let date =
        |seconds: i64| jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |t| t.to_string());
    let certificate = |certificate: &Certificate| CertificateReport {
        subject: certificate.subject.clone(),
        issuer: certificate.issuer.clone(),
        names: certificate.names.clone(),
        not_before: date(certificate.not_before),
        not_after: date(certificate.not_after),
        days_left: certificate.days_left(now),
    };
    Tls { ms, version: shown.version.clone(), verified, chain: shown.chain.iter().map(certificate).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_addresses_mean_nothing_elsewhere() {
        for (address, private) in [
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("100.64.0.1", true),
            ("100.128.0.1", false),
            ("127.0.0.1", true),
            ("203.0.113.1", false),
            ("fd00::1", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_private(address.parse().unwrap()), private, "{address}");
        }
    }
}
