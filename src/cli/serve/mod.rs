//! `harness serve`: Run the bundled servers for people.

mod turn;

use std::io::{IsTerminal, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use super::Exit;
use crate::people;
use crate::signaling::{Identity, Limits, Server, ServerConfig, hex};

/// Run the bundled signaling server and its page for people, and with --turn a STUN and TURN server
///
/// The page makes calls between any two browsers that have it open. With --listen 0.0.0.0:8443 phones in the same network
/// can open it, too: the terminal shows the URL as a QR code, and how to trust the server (docs/people.md).
///
/// Without --cert the server makes a CA and a certificate of its own, anew each time. Ends with Ctrl-C or SIGTERM.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Where to listen; port 0 takes a free one, address 0.0.0.0 or `[::]` lets other machines in.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// PEM file with a certificate of your own, its intermediates behind it.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// PEM file with the CA of your certificate, if this machine does not trust it anyway.
    #[arg(long, value_name = "FILE", requires = "cert")]
    ca: Option<PathBuf>,
    /// Write the CA that clients must trust to this PEM file; it is at /ca.pem in any case.
    #[arg(long, value_name = "FILE")]
    ca_out: Option<PathBuf>,
    #[command(flatten)]
    turn: turn::Args,
}

pub(super) async fn run(args: Args) -> Exit {
    let identity = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) => Identity::load(cert, key, args.ca.as_deref()),
        _ => {
            let addresses: Vec<IpAddr> = [Some(args.listen.ip()), args.turn.address()].into_iter().flatten().collect();
            Identity::generate(&addresses)
        }
    };
    let identity = match identity {
        Ok(identity) => identity,
        Err(error) => return usage(&error.to_string()),
    };
    if let Some(path) = &args.ca_out {
        let Some(pem) = identity.ca_pem() else {
            return usage("--ca-out: this machine trusts the certificate anyway; there is no CA to write without --ca");
        };
        if let Err(error) = std::fs::write(path, pem) {
            return usage(&format!("cannot write {}: {error}", path.display()));
        }
    }
    // Before the URLs are printed, so that whoever reads them can already end the server.
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        eprintln!("error: cannot listen for signals");
        return Exit::Error;
    };
    let ca = args.ca_out.as_ref().or(args.ca.as_ref()).map(|path| path.display().to_string());
    let turn = match args.turn.start(&identity, ca.as_deref()) {
        Ok(turn) => turn,
        Err(error) => return usage(&error),
    };
    let stun = turn.as_ref().map_or(&[][..], |turn| &turn.stun);
    let pages = people::pages(stun).into_iter().chain(crate::peer::browser::pages()).collect();
    let config = ServerConfig { listen: args.listen, identity, pages, limits: Limits::default() };
    let server = match Server::start(config).await {
        Ok(server) => server,
        Err(error) => return usage(&error.to_string()),
    };
    let relay = turn.as_ref().map_or("", |turn| &turn.introduction);
    say(&format!("{}{relay}Ctrl-C ends the server.\n", introduction(&server, &args)));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    say("shutting down\n");
    server.shutdown().await;
    if let Some(turn) = turn {
        turn.server.stop().await;
    }
    Exit::Pass
}

fn introduction(server: &Server, args: &Args) -> String {
    let endpoint = server.endpoint();
    let trust = match (server.identity().ca_sha256(), &args.ca_out) {
        (Some(sha256), Some(path)) => format!("the CA in {}, SHA-256 {}", path.display(), hex(&sha256)),
        (Some(sha256), None) => format!("the CA at {}ca.pem, SHA-256 {}", endpoint.page_url, hex(&sha256)),
        (None, _) => "nothing to do, the certificate comes from a CA that this machine trusts".to_owned(),
    };
    let people = people::invitation(server, std::io::stderr().is_terminal());
    format!(
        "pages:     {}\nsignaling: {}\ntrust:     {trust}\n{people}",
        server.urls().join("\n           "),
        endpoint.url,
    )
}

/// A server must not end because nobody reads its standard error any more, so this is no `eprint!`.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn usage(message: &str) -> Exit {
    eprintln!("error: {message}");
    Exit::Usage
}
