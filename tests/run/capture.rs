//! `connection_time_ms` agrees with what a packet capture of the same run shows.
//!
//! The capture shows the offer's TLS record leave, just after `setLocalDescription`, and the last flight of the DTLS
//! handshake, with which `connectionState` becomes `connected`.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::{Lab, NOISE_ALLOWED, text, wait_until};

const CALL: &str = "schema = 1\nname = \"capture\"\n[load]\nhold = \"1s\"\n[media]\nvideo = \"none\"\naudio = \"none\"\n[[peers]]\ncount = 2\n";

/// How often a call is tried: a machine that is busy at the wrong moment puts time between a packet and its capture.
const ATTEMPTS: usize = 3;

/// How far apart the two may be, in milliseconds.
const APART: f64 = 5.0;

#[test]
fn connection_time_agrees_with_a_packet_capture() {
    let agree = |(captured, reported): &(f64, f64)| (captured - reported).abs() < APART;
    let mut tried = Vec::new();
    while tried.len() < ATTEMPTS && !tried.last().is_some_and(agree) {
        tried.push(captured_and_reported());
    }
    eprintln!("captured and reported, in milliseconds: {tried:.2?}");
    assert!(tried.last().is_some_and(agree), "captured and reported, in milliseconds: {tried:?}");
}

/// The connection time of a call, by the capture and by the report, in milliseconds.
fn captured_and_reported() -> (f64, f64) {
    let lab = Lab::new();
    let scenario = lab.scenario("capture", CALL);
    let file = lab.dir.path().join("run.pcap");
    let mut capture = capture(&file);
    let run = lab.run(&scenario, &NOISE_ALLOWED);
    let pid = capture.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    capture.wait().expect("tcpdump ends");
    run.assert_code(0);

    let connection_time = run.report()["metrics"]["connection_time_ms"]["mean"].as_f64().expect("one call");
    let packets = read_pcap(&std::fs::read(&file).expect("the capture"));
    let handshake: Vec<&Packet> = packets.iter().filter(|packet| packet.is_dtls_handshake()).collect();
    let (Some(hello), Some(finished)) = (handshake.first(), handshake.last()) else {
        panic!("no DTLS in {} packets", packets.len());
    };
    // The offer is by far the largest TLS record that a client sends before the handshake.
    let offer = packets
        .iter()
        .filter(|packet| packet.tcp && packet.at_us < hello.at_us)
        .max_by_key(|packet| (packet.payload.len() > 700, std::cmp::Reverse(packet.at_us)))
        .expect("TCP before the handshake");
    ((finished.at_us - offer.at_us) as f64 / 1e3, connection_time)
}

fn capture(file: &Path) -> Child {
    let child = Command::new("tcpdump")
        .args(["-i", "any", "-U", "--immediate-mode", "-s", "0", "-y", "LINUX_SLL2", "-w", text(file), "udp or tcp"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("tcpdump is missing: run ci/install");
    // The file's header is written once the capture runs.
    wait_until("tcpdump to capture", || std::fs::metadata(file).is_ok_and(|file| file.len() >= 24));
    child
}

struct Packet {
    at_us: u64,
    tcp: bool,
    payload: Vec<u8>,
}

impl Packet {
    /// DTLS handshake or change-cipher-spec records (RFC 6347, section 4.1), not application data.
    fn is_dtls_handshake(&self) -> bool {
        !self.tcp && matches!(self.payload.first(), Some(20 | 22))
    }
}

/// Packets of a little-endian pcap file with Linux "cooked" v2 headers and IPv4 inside.
fn read_pcap(bytes: &[u8]) -> Vec<Packet> {
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!(u32_at(0), 0xa1b2_c3d4, "a pcap file with microseconds");
    let mut packets = Vec::new();
    let mut at = 24;
    while at + 16 <= bytes.len() {
        let (seconds, micros, length) = (u32_at(at), u32_at(at + 4), u32_at(at + 8) as usize);
        let Some(frame) = bytes.get(at + 16..at + 16 + length) else { break };
        at += 16 + length;
        let Some(ip) = frame.get(20..).filter(|ip| ip.len() > 20 && ip[0] >> 4 == 4) else { continue };
        let transport = &ip[usize::from(ip[0] & 15) * 4..];
        let header = match ip[9] {
            6 if transport.len() >= 20 => usize::from(transport[12] >> 4) * 4,
            17 => 8,
            _ => continue,
        };
        let Some(payload) = transport.get(header..) else { continue };
        let at_us = u64::from(seconds) * 1_000_000 + u64::from(micros);
        packets.push(Packet { at_us, tcp: ip[9] == 6, payload: payload.to_vec() });
    }
    packets
}
