//! The engine: arrivals, phases, deadlines, teardown. The only room that owns time.
//!
//! A run is: a directory for the record, the event stream and its writer, the signaling server, the browsers, then every
//! call of the plan at its intended time, and at the end all of that taken down again, whichever way the end comes.

mod abort;
mod arrivals;
mod call;
mod capacity;
mod environment;
mod guests;
mod interrupt;
mod network;
mod phases;
mod preflight;
mod rooms;
#[cfg(test)]
mod testing;
mod traffic;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::peer::browser::{BrowserInfo, BrowserPool, People, Unavailable};
use crate::peer::network::{IceServers, PeerHost, PeerNetwork};
use crate::peer::{Engines, Shards};
use crate::plan::Plan;
use crate::record::{
    DumpWriter, EventKind, Health, Outcome, Record, Recorder, RunDirectory, RunStarted, Skip, Warning, WriteError,
    Writer,
};
use crate::signaling::dialect::resolve_text;
use crate::signaling::{Endpoint, Identity, Limits, Server, ServerConfig};
use arrivals::Schedule;
use call::{Stage, Surroundings};
pub use capacity::{Prober, find_capacity};
pub use guests::{Guests, TellGuests};
pub use network::PeerPackets;
use network::{Network, StartError};
use rooms::Rooms;
use traffic::Traffic;

/// How long after the preparations the load starts, so that nothing that they left behind makes the first call late.
const RUN_UP: Duration = Duration::from_millis(200);

/// The folder of the peers' dumps, within the run's directory.
pub const DUMPS: &str = "rtcstats";

/// Where the record goes, and who watches.
pub struct Options {
    /// The folder of all records, such as `reports`.
    pub out: PathBuf,
    /// The command line, for the record.
    pub command: Vec<String>,
    /// Whether every peer's connection is dumped into [`DUMPS`].
    pub rtcstats: bool,
    /// Is shown the record about four times per second.
    pub observe: Box<dyn FnMut(&Record) + Send>,
    /// Is told the run directory and the URL of the signaling server, once they are there.
    pub announce: Box<dyn FnOnce(&Path, &Endpoint) + Send>,
    /// Is told how people join, if the plan has any, and when they have.
    pub tell_guests: TellGuests,
}

/// A run that ended, one way or the other.
#[derive(Debug)]
pub struct Finished {
    /// What happened.
    pub record: Record,
    /// Where it is.
    pub directory: RunDirectory,
    /// What the modelled networks kept of the packets of the peers, if there were any.
    pub packets: Option<PeerPackets>,
}

/// Why a run did not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The record has nowhere to go.
    #[error(transparent)]
    Directory(#[from] WriteError),
    /// The event stream has no writer.
    #[error("the record's writer does not start: {0}")]
    Writer(#[source] std::io::Error),
}

/// Runs a plan. Whatever happens once the record exists is in the record.
pub async fn run(plan: Plan, options: Options) -> Result<Finished, RunError> {
    let directory = RunDirectory::create(&options.out, &plan.name, jiff::Timestamp::now())?;
    run_in(plan, directory, options).await
}

/// The same, with the record in a directory that is there already, wherever `options.out` is.
pub async fn run_in(plan: Plan, directory: RunDirectory, options: Options) -> Result<Finished, RunError> {
    let now = jiff::Timestamp::now();
    let events = directory.create_events()?;
    let (recorder, stream) = Recorder::new();
    let dumps = options.rtcstats.then(|| start_dumps(&directory)).transpose()?;
    let recorder = match &dumps {
        Some(dumps) => recorder.with_dumps(dumps.dumps()),
        None => recorder,
    };
    let cancel = CancellationToken::new();
    let watch = abort::Watch::new(&plan, cancel.clone());
    let mut show = options.observe;
    let observe = {
        let watch = watch.clone();
        Box::new(move |record: &Record| {
            watch.look(record);
            show(record);
        })
    };
    let writer = Writer::start(events, stream, recorder.tallies(), observe).map_err(RunError::Writer)?;
    recorder.record(EventKind::RunStarted(Box::new(RunStarted {
        schema_version: RunStarted::SCHEMA_VERSION,
        started_at: now.to_string(),
        plan: plan.clone(),
        environment: environment::describe(),
        command: options.command,
    })));

    let interrupt = interrupt::watch(cancel.clone()).await;
    let broken = writer.broken();
    let listeners = (options.announce, options.tell_guests);
    let outcome = tokio::select! {
        outcome = perform(Arc::new(plan), &recorder, &directory, cancel.clone(), listeners) => outcome,
        () = broken.cancelled() => {
            cancel.cancel();
            Err("the record cannot be written".to_owned())
        }
    };
    let (outcome, packets) = match (interrupt.caught(), outcome) {
        (Some(signal), ended) => (Outcome::Interrupted { signal: signal.to_owned() }, ended.ok().flatten()),
        (None, Ok(packets)) => match watch.reason() {
            Some(reason) => (Outcome::Aborted { reason: reason.to_owned() }, packets),
            None => (Outcome::Completed, packets),
        },
        (None, Err(message)) => (Outcome::Error { message }, None),
    };
    if let Some(packets) = &packets {
        tell_of_packets(&recorder, packets);
    }
    if let Some(dumps) = dumps {
        finish_dumps(dumps, &recorder).await;
    }
    recorder.record(EventKind::RunEnded { outcome });
    drop(recorder);
    let written = tokio::task::spawn_blocking(|| writer.finish()).await;
    let record = written.map(|written| written.record).unwrap_or_default();
    Ok(Finished { record, directory, packets })
}

fn start_dumps(directory: &RunDirectory) -> Result<DumpWriter, WriteError> {
    let path = directory.path().join(DUMPS);
    DumpWriter::start(&path).map_err(|error| WriteError { path, error })
}

/// Writes what is left of the dumps. Those that are incomplete make no verdict, but are told.
async fn finish_dumps(dumps: DumpWriter, recorder: &Recorder) {
    let finished = tokio::task::spawn_blocking(|| dumps.finish()).await;
    if let Some(error) = finished.unwrap_or_else(|error| Some(error.into())) {
        recorder.record(EventKind::Warning(Warning {
            text: format!("dumps in {DUMPS}/ are incomplete: {error}"),
            advice: "make room on the disk, or choose another one with --out".into(),
        }));
    }
}

async fn perform(
    plan: Arc<Plan>,
    recorder: &Recorder,
    directory: &RunDirectory,
    cancel: CancellationToken,
    (announce, tell_guests): (Box<dyn FnOnce(&Path, &Endpoint) + Send>, TellGuests),
) -> Result<Option<PeerPackets>, String> {
    if let Err(preflight::Lack { reason, remedy }) = preflight::check(&plan) {
        return nothing_started(StartError::Missing { reason, remedy }, &plan, recorder);
    }
    let Signaling { server, endpoint, pages } = signaling(&plan, directory).await?;
    announce(directory.path(), &endpoint);
    let people = People::default();
    // Before anything else is started: people take their time.
    let Some(mut prepared) = guests::gather(&plan, server.as_ref(), &people, &cancel, tell_guests).await? else {
        if let Some(server) = server {
            server.shutdown().await;
        }
        return Ok(None);
    };
    let mut health = Health::start();

    let ice = Arc::new(IceServers::of_plan(&plan.ice)?);
    let signaling = Arc::new(endpoint);
    let stand_in = pages.map(Arc::new);
    let pages = stand_in.as_ref().unwrap_or(&signaling).clone();
    let machine = PeerNetwork { host: PeerHost::Machine, ice, signaling, pages, stand_in };
    let network = match &plan.network {
        None => None,
        Some(network) => match Network::start(&plan, network, directory, server.as_ref(), &machine).await {
            Ok(network) => Some(network),
            Err(error) => return nothing_started(error, &plan, recorder),
        },
    };
    let mut surroundings = Surroundings { machine, network };
    let executable = std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
    let browsers = BrowserPool::new(executable);
    let network_of = |peer: &str| surroundings.of_peer(peer);
    tokio::select! {
        browsers = browsers.prepare(&plan, &network_of) => prepared.extend(browsers),
        () = cancel.cancelled() => {
            browsers.close().await;
            return end_network(surroundings.network, directory, recorder).await;
        }
    }
    recorder.record(EventKind::Environment(environment::browsers(prepared.values().flatten())));
    let schedule = Schedule::new(&plan, admit(&plan, &prepared, recorder));
    if let Some(network) = &mut surroundings.network {
        for check in network.check().await {
            recorder.record(EventKind::LabCheck(check));
        }
        // Not earlier: what they send would be measured as a fault of the networks.
        if let Err(error) = network.start_programs(&plan, directory, recorder) {
            browsers.close().await;
            end_network(surroundings.network, directory, recorder).await?;
            return nothing_started(error, &plan, recorder);
        }
    }

    // What the preparations cost says nothing about the generator under load.
    health.read();
    let stage = Arc::new(Stage {
        engines: Engines { send_lateness: health.send_lateness(), browsers, people, shards: Shards::default() },
        surroundings,
        recorder: recorder.clone(),
        traffic: Traffic::default(),
        rooms: Rooms::new(&plan),
        load_start: Instant::now() + RUN_UP,
        cancel: cancel.clone(),
        plan,
    });
    let broke = arrivals::conduct(&stage, schedule, &mut health).await;
    stage.engines.people.dismiss();
    stage.engines.browsers.close().await;
    // The last call has let go of it.
    let network = Arc::into_inner(stage).and_then(|stage| stage.surroundings.network);
    let ended = end_network(network, directory, recorder).await;
    if let Some(server) = server {
        server.shutdown().await;
    }
    broke.map_or(ended, Err)
}

/// What a run comes to for which the machine lacks something, or whose networks or programs do not start.
fn nothing_started(error: StartError, plan: &Plan, recorder: &Recorder) -> Result<Option<PeerPackets>, String> {
    match error {
        StartError::Broken(reason) => Err(reason),
        StartError::Missing { reason, remedy } => {
            let calls = u32::try_from(plan.calls.len()).unwrap_or(u32::MAX);
            let skip = Skip { what: "every call".into(), reason, remedy, optional: false, calls };
            recorder.record(EventKind::Skipped(skip));
            Ok(None)
        }
    }
}

/// What the record says of the packets that are not in it.
fn tell_of_packets(recorder: &Recorder, packets: &PeerPackets) {
    recorder.record(EventKind::PacketsKept { per_host: packets.per_host() });
    if packets.uncaptured() > 0 {
        recorder.record(EventKind::Warning(Warning {
            text: format!("network.pcap ends early: {} packets more were not captured", packets.uncaptured()),
            advice: "capture a shorter run, or one with fewer calls".into(),
        }));
    }
}

async fn end_network(
    network: Option<Network>,
    directory: &RunDirectory,
    recorder: &Recorder,
) -> Result<Option<PeerPackets>, String> {
    match network {
        Some(network) => network.stop(directory, recorder).await.map(Some),
        None => Ok(None),
    }
}

/// The servers of a run's signaling.
struct Signaling {
    /// The bundled one, if the run has it.
    server: Option<Server>,
    /// The one under test.
    endpoint: Endpoint,
    /// The bundled one for pages that do not speak to the one under test.
    pages: Option<Endpoint>,
}

/// The servers to use; the bundled one is started if it is the one under test, or has the pages.
async fn signaling(plan: &Plan, directory: &RunDirectory) -> Result<Signaling, String> {
    let signaling = &plan.signaling;
    let protocol = || signaling.protocol.clone().with_secrets();
    let foreign = match signaling.foreign_url() {
        Some(url) => {
            let ca = signaling.ca.as_deref().map(Path::new);
            let url = resolve_text(url)?;
            Some(Endpoint::remote(&url, ca, protocol()?).map_err(|error| error.to_string())?)
        }
        None => None,
    };
    if !plan.has_bundled_server()
        && let Some(endpoint) = foreign
    {
        return Ok(Signaling { server: None, endpoint, pages: None });
    }
    let server = start_server(plan, directory).await?;
    let own = server.endpoint();
    let (endpoint, pages) = match foreign {
        Some(endpoint) => (endpoint, Some(own)),
        None if signaling.protocol.is_own() => (own, None),
        None => (own.clone().speaking(protocol()?), Some(own)),
    };
    Ok(Signaling { server: Some(server), endpoint, pages })
}

async fn start_server(plan: &Plan, directory: &RunDirectory) -> Result<Server, String> {
    let listen = &plan.signaling.listen;
    let listen: SocketAddr = listen.parse().map_err(|error| format!("[signaling] listen: {error}"))?;
    let inside = plan.network.as_ref().and_then(network::signaling_address);
    let also: Vec<_> = std::iter::once(listen.ip()).chain(inside).collect();
    let identity = Identity::generate(&also).map_err(|error| error.to_string())?;
    if let Some(ca) = identity.ca_pem() {
        directory.write("ca.pem", ca).map_err(|error| error.to_string())?;
    }
    let mut pages = crate::peer::browser::pages();
    if plan.people().next().is_some() {
        pages.extend(crate::peer::browser::person_pages());
    }
    let config = ServerConfig { listen, identity, pages, limits: Limits::default() };
    Server::start(config).await.map_err(|error| error.to_string())
}

/// The indices of the calls that can be made; for the others, says what is missing.
fn admit(
    plan: &Plan,
    prepared: &BTreeMap<String, Result<BrowserInfo, Unavailable>>,
    recorder: &Recorder,
) -> Vec<usize> {
    let missing: Vec<_> = prepared.iter().filter_map(|(group, result)| Some((group, result.as_ref().err()?))).collect();
    let mut left_out = vec![0; missing.len()];
    let mut calls = Vec::with_capacity(plan.calls.len());
    for (index, call) in plan.calls.iter().enumerate() {
        let ends = [&call.offerer.group, &call.answerer.group];
        match missing.iter().position(|(group, _)| ends.contains(group)) {
            Some(missing) => left_out[missing] += 1,
            None => calls.push(index),
        }
    }
    for ((group, unavailable), calls) in missing.iter().zip(left_out) {
        recorder.record(EventKind::Skipped(Skip {
            what: (*group).clone(),
            reason: unavailable.to_string(),
            remedy: unavailable.remedy(),
            optional: plan.group(group).is_some_and(|group| group.optional),
            calls,
        }));
    }
    calls
}
