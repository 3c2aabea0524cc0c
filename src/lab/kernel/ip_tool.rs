//! The program `ip`: told what to do in batches, one process for each namespace.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::LabError;

/// Where it lies when the path of an ordinary user does not lead there.
const ELSEWHERE: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Does what the lines of `batch` say in the network namespace of the calling thread; `place` is its name for messages.
pub(super) fn ip(place: &str, batch: &str) -> Result<(), LabError> {
    let failed = |source| LabError::System { what: "run `ip`", source };
    let program = find().ok_or(LabError::IpMissing)?;
    let mut child = Command::new(program)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(batch.as_bytes()) {
            // It stops reading at the first line that fails, and says why.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(failed(error)),
            _ => {}
        }
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    Err(LabError::Ip { place: place.to_owned(), said })
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(ELSEWHERE.map(PathBuf::from))
        .map(|directory| directory.join("ip"))
        .find(|program| program.is_file())
}
