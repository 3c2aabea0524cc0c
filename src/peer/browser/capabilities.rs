//! What is asked of a browser when its session begins: flags, preferences, and whom to trust.

use std::io::{Cursor, Write};
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use serde_json::{Map, Value, json};
use zip::write::SimpleFileOptions;

use super::session::{PAGE_DEADLINE, SCRIPT_DEADLINE};
use crate::peer::network::PeerNetwork;
use crate::plan::Engine;
use crate::signaling::{Pin, outward_address};

/// The capabilities of a new session (W3C WebDriver, section 7), with `binary` in place of the driver's own choice.
///
/// # Errors
///
/// When the profile that carries the pin of Firefox cannot be packed, or the page's address is not a URL with a host.
pub(super) fn capabilities(
    engine: Engine,
    binary: Option<&Path>,
    network: &PeerNetwork,
) -> Result<Map<String, Value>, String> {
    let mut options = match engine {
        Engine::Firefox => firefox(network)?,
        _ => chromium(network),
    };
    if let Some(binary) = binary {
        options.insert("binary".into(), json!(binary));
    }
    let (name, key) = match engine {
        Engine::Firefox => ("firefox", "moz:firefoxOptions"),
        _ => ("chrome", "goog:chromeOptions"),
    };
    let mut capabilities = Map::new();
    capabilities.insert("browserName".into(), json!(name));
    capabilities.insert("acceptInsecureCerts".into(), json!(false));
    // The driver gives up a little before this side does, so that the session survives a tab that hangs.
    let (script, page) = (SCRIPT_DEADLINE.as_millis() as u64, PAGE_DEADLINE.as_millis() as u64);
    capabilities.insert("timeouts".into(), json!({"script": script, "pageLoad": page, "implicit": 0}));
    capabilities.insert(key.into(), Value::Object(options));
    Ok(capabilities)
}

/// Whether there is a route beyond this machine. Nothing is sent.
pub(crate) fn has_route() -> bool {
    outward_address().is_some()
}

/// Whether loopback is the machine's only network: Chromium then takes no address at all unless told otherwise, a routed
/// one on the loopback interface included.
fn has_only_loopback() -> bool {
    let is_network = |interface: InterfaceAddress| {
        let has_address = interface.address.is_some_and(|address| address.as_sockaddr_in().is_some());
        has_address && !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK)
    };
    getifaddrs().is_ok_and(|mut interfaces| !interfaces.any(is_network))
}

fn chromium(network: &PeerNetwork) -> Map<String, Value> {
    let mut args: Vec<String> = [
        "--headless",
        // Only the harness's own page is ever loaded, and containers seldom allow the sandbox its namespaces.
        "--no-sandbox",
        // Containers tend to have 64 MB of /dev/shm, with which tabs crash.
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-first-run",
        // No traffic but the page's own.
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        // Media without a device, and without a person who allows it.
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        "--autoplay-policy=no-user-gesture-required",
        // Host candidates show their address in place of an mDNS name that nobody resolves.
        "--disable-features=WebRtcHideLocalIpsWithMdns",
        // A window in the background runs as fast as one in front.
        "--disable-background-timer-throttling",
        "--disable-renderer-backgrounding",
        "--disable-backgrounding-occluded-windows",
    ]
    .map(String::from)
    .into();
    if network.host.name().is_none() && has_only_loopback() {
        args.push("--allow-loopback-in-peer-connection".into());
    }
    let pins = network.pages.spki_sha256.into_iter().chain(network.ice.pins.iter().map(|pin| pin.spki_sha256));
    let pins: Vec<_> = pins.map(|pin| BASE64_STANDARD.encode(pin)).collect();
    if !pins.is_empty() {
        args.push(format!("--ignore-certificate-errors-spki-list={}", pins.join(",")));
    }
    Map::from_iter([("args".to_owned(), json!(args))])
}

fn firefox(network: &PeerNetwork) -> Result<Map<String, Value>, String> {
    let preferences = json!({
        // Media without a device, and without a person who allows it.
        "media.navigator.streams.fake": true,
        "media.navigator.permission.disabled": true,
        "media.autoplay.default": 0,
        "media.autoplay.blocking_policy": 0,
        // Host candidates show their address in place of an mDNS name that nobody resolves.
        "media.peerconnection.ice.obfuscate_host_addresses": false,
        // A window in the background runs as fast as one in front.
        "dom.min_background_timeout_value": 4,
        "dom.min_background_timeout_value_without_budget_throttling": 4,
        "dom.timeout.enable_budget_timer_throttling": false,
        "dom.timeout.throttling_delay": -1,
        // Instants to 20 µs in place of 1 ms.
        "privacy.reduceTimerPrecision": false,
        // No traffic but the page's own.
        "media.gmp-manager.updateEnabled": false,
        "media.gmp-provider.enabled": false,
        "network.captive-portal-service.enabled": false,
        "network.connectivity-service.enabled": false,
    });
    let mut options = Map::from_iter([("args".to_owned(), json!(["-headless"])), ("prefs".to_owned(), preferences)]);
    let mut overrides = String::new();
    if let Some(pin) = network.pages.leaf_sha256 {
        let (host, port) = host_and_port(&network.pages.page_url)?;
        overrides += &cert_override(&host, port, &pin);
    }
    for Pin { host, port, leaf_sha256, .. } in &network.ice.pins {
        overrides += &cert_override(host, *port, leaf_sha256);
    }
    if !overrides.is_empty() {
        options.insert("profile".into(), json!(profile(&overrides)?));
    }
    Ok(options)
}

fn host_and_port(url: &str) -> Result<(String, u16), String> {
    let uri: axum::http::Uri = url.parse().map_err(|error| format!("{url} is not a URL: {error}"))?;
    let host = uri.host().ok_or_else(|| format!("{url} names no host"))?;
    Ok((host.to_owned(), uri.port_u16().unwrap_or(443)))
}

/// The line of `cert_override.txt` that pins `sha256` as the certificate of a server.
fn cert_override(host: &str, port: u16, sha256: &[u8; 32]) -> String {
    let fingerprint: Vec<String> = sha256.iter().map(|byte| format!("{byte:02X}")).collect();
    // Host, port and origin attributes (none); the object identifier of SHA-256; the fingerprint.
    format!("{host}:{port}:\tOID.2.16.840.1.101.3.4.2.1\t{}\t\n", fingerprint.join(":"))
}

/// A profile that holds nothing else, as a base64 ZIP archive.
fn profile(cert_override: &str) -> Result<String, String> {
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let packed = archive
        .start_file("cert_override.txt", stored)
        .and_then(|()| Ok(archive.write_all(cert_override.as_bytes())?))
        .and_then(|()| archive.finish());
    let bytes = packed.map_err(|error| format!("the profile for Firefox cannot be packed: {error}"))?;
    Ok(BASE64_STANDARD.encode(bytes.into_inner()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_names_host_port_and_fingerprint() {
        let line = cert_override("127.0.0.1", 8443, &[0xab; 32]);
        assert!(line.starts_with("127.0.0.1:8443:\tOID.2.16.840.1.101.3.4.2.1\tAB:AB:"), "{line}");
        assert_eq!(host_and_port("https://127.0.0.1:8443/"), Ok(("127.0.0.1".into(), 8443)));
        assert_eq!(host_and_port("https://example.org/"), Ok(("example.org".into(), 443)));
        assert!(host_and_port("/harness/").is_err());
    }
}
