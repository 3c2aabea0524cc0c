//! What a terminal says to those who want others to come to the page.

use std::fmt::Write as _;

use super::qr;
use crate::signaling::{Server, hex};

/// Where people open the page of a server, and how their devices come to trust it; with a QR code of the URL, if it is to be
/// shown on a `terminal` and others can reach the server.
pub fn invitation(server: &Server, terminal: bool) -> String {
    let urls = server.lan_urls();
    let Some(url) = urls.first() else {
        return format!(
            "people:    {} on this machine only; with --listen 0.0.0.0:{} phones can open it, too\n",
            server.endpoint().page_url,
            server.address().port()
        );
    };
    let mut text = format!("people:    {}\n", urls.join("\n           "));
    if terminal {
        let _ =
            writeln!(text, "\n{}", qr::code(url, std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())));
    }
    if let Some(sha256) = server.identity().ca_sha256() {
        let _ = writeln!(
            text,
            "           A phone must trust the CA first: open {url}ca.pem on it, compare its SHA-256 with\n           \
             {},\n           and install it (iOS: Settings, General, VPN & Device Management; then About, Certificate Trust\n           \
             Settings. Android: Settings, Security, Install a certificate). docs/people.md has more.",
            hex(&sha256)
        );
    }
    text
}
