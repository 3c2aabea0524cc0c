//! The result of a probe for people. Pure.

use std::fmt::Write as _;

use super::report::{Partner, Report, ServerReport, Verdict};

impl Report {
    /// The report as a compact table.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for server in &self.servers {
            write_server(&mut out, server);
        }
        if self.servers.len() > 1 {
            let passed = self.servers.iter().filter(|server| server.verdict == Verdict::Pass).count();
            let _ = writeln!(out, "{}: {passed} of {} servers passed", self.verdict, self.servers.len());
        }
        out
    }
}

fn write_server(out: &mut String, server: &ServerReport) {
    let _ = writeln!(out, "{}  {}", server.verdict.to_string().to_uppercase(), server.url);
    let mut rows: Vec<(&str, String)> = Vec::new();
    if let Some(dns) = &server.dns {
        let addresses: Vec<String> = dns.addresses.iter().map(|address| address.ip().to_string()).collect();
        rows.push(("dns", format!("{:.2} ms, {}", dns.ms, addresses.join(", "))));
    }
    if let Some(ms) = server.tcp_connect_ms {
        rows.push(("tcp", format!("{ms:.2} ms")));
    }
    if let Some(tls) = &server.tls {
        let version = tls.version.as_deref().unwrap_or("refused");
        let leaf = tls.chain.first().map_or_else(String::new, |leaf| {
            format!(", {} days left, for {}, issued by {}", leaf.days_left, leaf.names.join(", "), leaf.issuer)
        });
        rows.push(("tls", format!("{version}, {:.2} ms{leaf}", tls.ms)));
    }
    if let Some(stun) = &server.stun {
        let software = stun.software.as_ref().map_or_else(String::new, |software| format!(", {software}"));
        rows.push(("stun", format!("{:.2} ms, seen as {}{software}", stun.rtt_ms, stun.mapped)));
    }
    if let Some(allocation) = &server.allocation {
        let (ms, relayed, lifetime) = (allocation.ms, allocation.relayed, allocation.lifetime_s);
        rows.push(("allocation", format!("{ms:.2} ms, relay address {relayed}, for {lifetime} s")));
    }
    if let Some(ms) = server.permission_ms {
        rows.push(("permission", format!("{ms:.2} ms")));
    }
    if let Some(relay) = &server.relay {
        let between = match relay.between {
            Partner::SecondAllocation => "between two allocations",
            Partner::OwnSocket => "to a socket of this machine",
        };
        let rtt = relay.rtt_ms.map_or_else(|| "nothing came back".into(), |rtt| format!("{rtt:.2} ms there and back"));
        let direct = match relay.direct {
            Some(true) => ", and from a socket of this machine",
            Some(false) => ", but not from a socket of this machine",
            None => "",
        };
        rows.push(("relay", format!("{rtt}, {between}, {} of {} returned{direct}", relay.returned, relay.sent)));
    }
    if let Some(goodput) = &server.goodput {
        let (got, offered) = (goodput.goodput_bps / 1e6, goodput.offered_bps / 1e6);
        let loss = goodput.loss_ratio * 100.0;
        let corrupt = goodput.corrupt;
        rows.push(("goodput", format!("{got:.2} of {offered:.2} Mbit/s, loss {loss:.1} %, {corrupt} corrupt")));
    }
    if let Some(rate) = &server.allocation_rate {
        let times = match (rate.p50_ms, rate.p95_ms) {
            (Some(p50), Some(p95)) => format!(", p50 {p50:.2} ms, p95 {p95:.2} ms"),
            _ => String::new(),
        };
        let (succeeded, attempted, offered) = (rate.succeeded, rate.attempted, rate.offered_per_s);
        rows.push(("rate", format!("{succeeded} of {attempted} allocations at {offered:.0}/s{times}")));
    }
    rows.extend(server.warnings.iter().map(|warning| ("note", warning.clone())));
    for fault in &server.faults {
        let code = fault.code.map_or_else(String::new, |code| format!(" ({code})"));
        rows.push(("✗", format!("{}: {}{code}: {}", fault.step, fault.class, fault.message)));
        rows.push(("", format!("→ {}", fault.remedy)));
    }
    for (name, text) in rows {
        let _ = writeln!(out, "  {name:<12}{text}");
    }
}
