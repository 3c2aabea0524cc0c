//! What a terminal says to those who want others to come to a page.

use std::fmt::Write as _;

use super::qr;
use crate::signaling::server::Invitation;
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
    let code = if terminal { code_of(url) } else { String::new() };
    format!("people:    {}\n{code}{}", urls.join("\n           "), trust(server, url))
}

/// The same for the people of a run, of whom each has a page of their own.
pub fn invitations(server: &Server, invitations: &[Invitation], terminal: bool) -> String {
    let lan = server.lan_urls().into_iter().next();
    let root = lan.clone().unwrap_or_else(|| server.endpoint().page_url);
    let mut text = String::new();
    for Invitation { place, path } in invitations {
        let url = format!("{root}{path}");
        let code = if terminal && lan.is_some() { code_of(&url) } else { String::new() };
        let _ = write!(text, "people:    {place} joins at {url}\n{code}");
    }
    match &lan {
        Some(url) => text.push_str(&trust(server, url)),
        None => {
            let _ = writeln!(
                text,
                "           That is on this machine only; with [signaling] listen = \"0.0.0.0:0\" phones can open it, too."
            );
        }
    }
    text
}

fn code_of(url: &str) -> String {
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    format!("\n{}\n", qr::code(url, colour))
}

/// How a device comes to trust the server at this URL.
fn trust(server: &Server, url: &str) -> String {
    let Some(sha256) = server.identity().ca_sha256() else { return String::new() };
    format!(
        "           A phone must trust the CA first: open {url}ca.pem on it, compare its SHA-256 with\n           \
         {},\n           and install it (iOS: Settings, General, VPN & Device Management; then About, Certificate Trust\n           \
         Settings. Android: Settings, Security, Install a certificate). docs/people.md has more.\n",
        hex(&sha256)
    )
}
