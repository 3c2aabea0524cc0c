//! The bundled server as people start it: `harness serve --turn`.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::coturn::{Certificate, PASSWORD, SECRET, USER, certificate};

/// A running server. Dropping it ends it.
pub(crate) struct Bundled {
    pub(crate) child: Child,
    dir: TempDir,
    urls: Vec<String>,
    /// What it said of itself.
    pub(crate) introduction: String,
}

impl Bundled {
    /// With a user and a password, and a certificate of its own.
    pub(crate) fn start(more: &[&str]) -> Self {
        Self::start_with(&[&["--turn-user", USER], more].concat(), None)
    }

    /// With these arguments, and perhaps a certificate of the user's.
    pub(crate) fn start_with(arguments: &[&str], shown: Option<&Certificate>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = |file: &str| dir.path().join(file).to_str().expect("UTF-8").to_owned();
        // `setpriv`, so that it ends with this process even when that is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", env!("CARGO_BIN_EXE_harness"), "serve"]);
        command.args(["--listen", "127.0.0.1:0", "--turn", "127.0.0.1:0", "--turn-tls", "0"]).args(arguments);
        match shown {
            Some(shown) => {
                certificate(dir.path(), shown);
                command.args(["--cert", &path("cert.pem"), "--key", &path("key.pem"), "--ca", &path("ca.pem")]);
            }
            None => drop(command.args(["--ca-out", &path("ca.pem")])),
        }
        command.env("HARNESS_TURN_PASSWORD", PASSWORD).env("HARNESS_TURN_SECRET", SECRET);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("setpriv (package util-linux) and the binary run");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
        let introduction: Vec<String> = lines.by_ref().take_while(|line| !line.starts_with("Ctrl-C")).collect();
        // What it says later must not fill the pipe, or break it.
        std::thread::spawn(move || lines.for_each(drop));
        let introduction = introduction.join("\n");
        let turn = introduction.lines().filter(|line| !line.starts_with("try:") && !line.starts_with("stun:"));
        let urls: Vec<String> = turn
            .flat_map(str::split_whitespace)
            .filter(|word| word.starts_with("turn:1") || word.starts_with("turns:"))
            .map(str::to_owned)
            .collect();
        assert_eq!(urls.len(), 3, "{introduction}");
        Self { child, dir, urls, introduction }
    }

    /// The URLs over UDP, TCP and TLS.
    pub(crate) fn urls(&self) -> &[String] {
        &self.urls
    }

    /// The CA of its certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Ends it as Ctrl-C does, and gives its exit code.
    pub(crate) fn end(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it runs");
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Bundled {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
