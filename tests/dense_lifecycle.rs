//! Peers on the dense stack leave nothing behind: no memory, no descriptors, no tasks.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::peer::browser::{BrowserPool, People, pages};
use harness::peer::network::PeerNetwork;
use harness::peer::{Engines, PeerContext, Shards};
use harness::plan::{CallPlan, Plan, Role};
use harness::record::{Lateness, Recorder};
use harness::scenario::{Overrides, load};
use harness::signaling::{Identity, Limits, Server, ServerConfig};
use tokio::runtime::Handle;

/// Calls at a time.
const PAIRS: usize = 5;

/// Rounds after which everything that is kept for later is there.
const WARM: usize = 40;

/// Rounds in all.
const ROUNDS: usize = 400;

/// How long a round may take, and then what was closed to be gone.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn connecting_and_closing_leaves_memory_descriptors_and_tasks_as_they_were() {
    let listen = "127.0.0.1:0".parse().unwrap();
    let config =
        ServerConfig { listen, identity: Identity::generate(&[]).unwrap(), pages: pages(), limits: Limits::default() };
    let server = Server::start(config).await.unwrap();
    let endpoint = Arc::new(server.endpoint().clone());
    let network = PeerNetwork::of_machine(Arc::default(), endpoint);
    let text = format!("name = \"cycles\"\n[native]\nstack = \"dense\"\n[[peers]]\ncount = {}\n", 2 * PAIRS);
    let plan = Arc::new(load("cycles.toml", &text, &Overrides::default()).unwrap().plan);
    let engines = Engines {
        send_lateness: Lateness::default(),
        browsers: BrowserPool::new(env!("CARGO_BIN_EXE_harness").into()),
        people: People::default(),
        shards: Shards::default(),
    };

    let mut warm = None;
    for round in 1..=ROUNDS {
        let calls = plan.calls.iter().map(|call| connect_and_close(&engines, &plan, call, &network));
        let done = tokio::time::timeout(PATIENCE, futures_util::future::join_all(calls)).await;
        assert!(done.is_ok(), "round {round} hangs");
        if round == WARM {
            warm = Some((descriptors(), tasks(), resident()));
        }
    }
    let (descriptors_then, tasks_then, resident_then) = warm.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while (descriptors() > descriptors_then || tasks() > tasks_then) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(descriptors() <= descriptors_then, "{} descriptors after {descriptors_then}", descriptors());
    assert!(tasks() <= tasks_then, "{} tasks after {tasks_then}", tasks());
    let grown = resident() as f64 / resident_then as f64;
    eprintln!("resident memory is {grown:.3} of what it was");
    assert!(grown < 1.1, "resident memory is {grown:.2} of what it was after {WARM} rounds");
}

async fn connect_and_close(engines: &Engines, plan: &Arc<Plan>, call: &CallPlan, network: &PeerNetwork) {
    let (recorder, _events) = Recorder::new();
    let end = async |role| {
        let peer = if role == Role::Offerer { &call.offerer } else { &call.answerer };
        let context = PeerContext {
            group: Arc::new(plan.group(&peer.group).unwrap().clone()),
            recorder: recorder.for_peer(&peer.id, &call.id),
            plan: Arc::clone(plan),
            network: network.clone(),
            call: Arc::new(call.clone()),
            role,
            seat: None,
        };
        let mut peer = engines.create(context).await.unwrap();
        peer.join().await.unwrap();
        peer.connect().await.unwrap();
        peer.first_media().await.unwrap();
        peer
    };
    let (mut offerer, mut answerer) = tokio::join!(end(Role::Offerer), end(Role::Answerer));
    tokio::join!(offerer.leave(), answerer.leave());
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Pages of memory that are resident.
fn resident() -> u64 {
    let statm = std::fs::read_to_string(Path::new("/proc/self/statm")).unwrap();
    statm.split(' ').nth(1).unwrap().parse().unwrap()
}
