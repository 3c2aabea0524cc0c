//! A program that runs behind a guard.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use super::guard::PREFIX;
use crate::peer::network::PeerHost;

/// How many lines of output are kept for messages.
const KEPT: usize = 20;
/// How long a guard may take to end what it guards: somewhat more than it allows itself.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// A program that runs behind a guard; dropping it, or being killed, ends the program with all it started.
#[derive(Debug)]
pub(super) struct Guarded {
    guard: Child,
    stdin: ChildStdin,
    output: Output,
    changed: watch::Receiver<()>,
}

impl Guarded {
    /// Starts `program` at a host, behind a guard, which is the executable `harness`.
    pub(super) fn start(harness: &Path, program: &Path, args: &[&str], host: &PeerHost) -> std::io::Result<Self> {
        let mut command = Command::new(harness);
        command
            .arg("guard")
            .arg("--dir")
            .arg(fresh_directory())
            .arg("--")
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C on a terminal goes to the whole foreground group, and the guard has to outlive it.
            .process_group(0);
        let mut guard = match host {
            #[cfg(target_os = "linux")]
            PeerHost::Namespace(host) => host.spawn_async(command)?,
            _ => command.spawn()?,
        };
        let output = Output::default();
        let (changes, changed) = watch::channel(());
        let pipes = (guard.stdin.take(), guard.stdout.take(), guard.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(std::io::Error::other("its pipes are missing"));
        };
        tokio::spawn(read(stdout, output.clone(), changes.clone()));
        tokio::spawn(read(stderr, output.clone(), changes));
        Ok(Self { guard, stdin, output, changed })
    }

    /// The first line with this text; an error with the program's last words if it ends before.
    pub(super) async fn line_with(&self, text: &str) -> Result<String, String> {
        let mut changed = self.changed.clone();
        loop {
            if let Some(line) = self.output.find(|line| line.contains(text)) {
                return Ok(line);
            }
            if let Some(ended) = self.ended() {
                return Err(format!("{ended}{}", self.last_words()));
            }
            if changed.changed().await.is_err() {
                return Err(format!("it ended{}", self.last_words()));
            }
        }
    }

    /// How the program ended, if it did by itself.
    pub(super) fn ended(&self) -> Option<String> {
        let line = self.output.find(|line| line.starts_with(PREFIX))?;
        Some(line[PREFIX.len()..].to_owned())
    }

    /// What the program said last, for a message; empty if it said nothing.
    pub(super) fn last_words(&self) -> String {
        let lines = self.output.0.lock().unwrap_or_else(PoisonError::into_inner);
        let said = lines.iter().rev().filter(|line| !line.starts_with(PREFIX) && !line.trim().is_empty()).take(3);
        let said: Vec<&str> = said.map(String::as_str).collect();
        if said.is_empty() {
            String::new()
        } else {
            format!("; it said last: {}", said.into_iter().rev().collect::<Vec<_>>().join(" / "))
        }
    }

    /// Ends the program and all it started; returns once that is done, or after ten seconds.
    pub(super) async fn end(self) {
        let Self { mut guard, stdin, .. } = self;
        drop(stdin);
        if timeout(END_DEADLINE, guard.wait()).await.is_err() {
            tracing::warn!("a guard does not end; processes of a browser may be left");
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Output(Arc<Mutex<VecDeque<String>>>);

impl Output {
    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn find(&self, matches: impl Fn(&str) -> bool) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().find(|line| matches(line)).cloned()
    }
}

/// Reads to the end, so that the program never waits for a full pipe.
async fn read(pipe: impl AsyncRead + Unpin, output: Output, changes: watch::Sender<()>) {
    let mut lines = BufReader::new(pipe).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        output.push(String::from_utf8_lossy(&line).trim_end().to_owned());
        let _ = changes.send(());
    }
}

/// A directory name that nobody else has. Short: sockets of browsers lie below it, and their paths are limited.
fn fresh_directory() -> PathBuf {
    std::env::temp_dir().join(format!("harness-{:08x}", rand::random::<u32>()))
}
