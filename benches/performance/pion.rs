//! Pion as it comes with Debian, carrying the same packets: the yardstick that others know.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::engine::{ARRIVALS, Streaming};
use super::process::Scratch;
use super::schedule::Schedule;
use super::{Result, Size};

/// Where Debian puts the sources of Go libraries.
const SOURCES: &str = "/usr/share/gocode";

/// What Pion costs.
pub(super) struct Pion {
    pub(super) streaming: Streaming,
    /// CPU milliseconds of a pair.
    pub(super) set_up_ms: f64,
}

/// Says what is missing, and what to do about it, where Pion cannot be measured.
pub(super) fn measure(schedule: &Schedule, size: Size) -> Result<std::result::Result<Pion, String>> {
    let webrtc = Path::new(SOURCES).join("src/github.com/pion/webrtc");
    if Command::new("go").arg("version").output().is_err() || !webrtc.is_dir() {
        return Ok(Err("install golang-go and golang-github-pion-webrtc.v3-dev (`ci/install`)".into()));
    }
    let scratch = Scratch::new("pion")?;
    let program = build(scratch.path(), &webrtc)?;
    let packets = scratch.path().join("packets");
    std::fs::write(&packets, schedule.to_text())?;
    let (warm_up, window) = (size.settle.as_millis().to_string(), size.window.as_millis().to_string());
    let output = Command::new(program)
        .arg(packets)
        .args([&size.pairs.to_string(), &ARRIVALS.to_string(), &warm_up, &window])
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let result: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let number = |member: &str| result[member].as_f64().ok_or_else(|| format!("Pion does not tell its {member}"));
    let received = number("received")?;
    let planned = schedule.packets_per_second() * f64::from(size.pairs) * number("seconds")?;
    let streaming = Streaming {
        cpu: Duration::from_secs_f64(number("cpu_seconds")?),
        packets: received,
        complete: received / planned,
        resident: Some(number("resident_bytes")? / f64::from(2 * size.pairs)),
    };
    Ok(Ok(Pion { streaming, set_up_ms: number("setup_cpu_ms")? / f64::from(size.pairs) }))
}

fn build(scratch: &Path, webrtc: &Path) -> Result<std::path::PathBuf> {
    // Debian's sources lie without the version that imports name, which GOPATH mode takes for a directory.
    let versioned = scratch.join("gopath/src/github.com/pion/webrtc");
    std::fs::create_dir_all(&versioned)?;
    std::os::unix::fs::symlink(webrtc, versioned.join("v3"))?;
    let program = scratch.join("program");
    let status = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/performance/pion"))
        .env("GO111MODULE", "off")
        .env("GOFLAGS", "")
        .env("GOPATH", format!("{}:{SOURCES}", scratch.join("gopath").display()))
        .env("GOCACHE", scratch.join("cache"))
        .status()?;
    if status.success() { Ok(program) } else { Err("the program with Pion does not build".into()) }
}
