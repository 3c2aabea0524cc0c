//! Browsers, each behind a driver of its own, whose tabs peers share.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::capabilities::{capabilities, has_route};
use super::driver::{Driver, Installation, Unavailable, find};
use super::link::Link;
use super::page;
use super::peer::BrowserPeer;
use super::session::{Session, SessionError, Tab};
use crate::peer::network::PeerNetwork;
use crate::peer::{Peer, PeerContext};
use crate::plan::{BrowserPlan, CallPlan, Engine, GroupPlan, Plan};
use crate::record::{Failure, Phase};
use crate::signaling::Endpoint;

/// How many browsers are started at a time: each keeps a core busy meanwhile.
const STARTED_AT_ONCE: usize = 3;
/// For how long a peer may keep its tab beyond the time for which media flows: setting up and taking down.
const AROUND_A_CALL_US: u64 = 10_000_000;

/// The browsers of a run. Peers get tabs of them; [`close`](Self::close) ends them all, as does dropping the pool or
/// the end of this process, whichever way it ends.
#[derive(Debug)]
pub struct BrowserPool {
    harness: PathBuf,
    kinds: Mutex<Vec<Arc<Kind>>>,
    /// Which programs there are, so that they are asked for their versions once.
    found: Mutex<Vec<(Engine, BrowserPlan, Installation)>>,
    starting: Semaphore,
}

/// What an engine turned out to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BrowserInfo {
    /// The engine.
    pub engine: Engine,
    /// The browser's version, as it says itself.
    pub browser_version: String,
    /// The driver's version; absent for one that runs elsewhere.
    pub driver_version: Option<String>,
}

impl BrowserPool {
    /// A pool without browsers. `harness` is this program's own executable, which guards them.
    pub fn new(harness: PathBuf) -> Self {
        let starting = Semaphore::new(STARTED_AT_ONCE);
        Self { harness, kinds: Mutex::default(), found: Mutex::default(), starting }
    }

    /// Starts the browsers that the plan needs at once, before the load begins, and sees that each engine loads the
    /// page and can do what the plan asks for, wherever it is. `network_of` tells where a peer is, by its id. For each
    /// browser group with calls: what it is, or why it cannot be had.
    pub async fn prepare(
        &self,
        plan: &Plan,
        network_of: &(dyn Fn(&str) -> PeerNetwork + Sync),
    ) -> BTreeMap<String, Result<BrowserInfo, Unavailable>> {
        let mut wanted: Vec<Wanted<'_>> = Vec::new();
        for call in &plan.calls {
            for peer in [&call.offerer, &call.answerer] {
                let Some(group) = plan.group(&peer.group).filter(|group| group.engine.is_browser()) else { continue };
                let kind = self.kind(group, &network_of(&peer.id)).await;
                let index = wanted.iter().position(|known| Arc::ptr_eq(&known.kind, &kind)).unwrap_or_else(|| {
                    wanted.push(Wanted { kind, groups: BTreeSet::new(), calls: Vec::new() });
                    wanted.len() - 1
                });
                wanted[index].groups.insert(&group.name);
                wanted[index].calls.push(call);
            }
        }
        let prepared = join_all(wanted.iter().map(|wanted| self.prepare_kind(plan, wanted))).await;
        let mut answers = BTreeMap::new();
        for (wanted, answer) in wanted.iter().zip(prepared) {
            for group in &wanted.groups {
                match answers.get_mut(*group) {
                    // One place where it cannot be had is enough.
                    Some(known @ Ok(_)) => *known = answer.clone(),
                    Some(Err(_)) => {}
                    None => drop(answers.insert((*group).to_owned(), answer.clone())),
                }
            }
        }
        answers
    }

    async fn prepare_kind(&self, plan: &Plan, wanted: &Wanted<'_>) -> Result<BrowserInfo, Unavailable> {
        let kind = &wanted.kind;
        let deadline = Duration::from_micros(plan.deadlines.start_us);
        let first = self.start(kind, deadline).await?;
        let checked = first.check(&codecs(plan, &wanted.calls), &kind.network.pages).await;
        let info = first.info.clone();
        let mut browsers = vec![first];
        if checked.is_ok() {
            let needed = browsers_needed(&wanted.calls, kind.settings.tabs_per_browser);
            // One that does not start now is started when it is needed, and missed there.
            for browser in join_all((1..needed).map(|_| self.start(kind, deadline))).await {
                match browser {
                    Ok(browser) => browsers.push(browser),
                    Err(error) => tracing::warn!("a browser of several does not start: {error}"),
                }
            }
        }
        kind.browsers.lock().await.extend(browsers);
        checked.map(|()| info)
    }

    /// Makes a peer in a tab of its own; a browser is started if none has room.
    ///
    /// # Errors
    ///
    /// When no browser can be had, or the page does not load or has no media source.
    pub async fn create(&self, context: PeerContext) -> Result<Box<dyn Peer>, Failure> {
        let deadline = Duration::from_micros(context.plan.deadlines.start_us);
        let failure = |reason: String| context.failure(Phase::Start, reason);
        let made = async {
            let kind = self.kind(&context.group, &context.network).await;
            let unavailable = |error: Unavailable| failure(format!("{error}; {}", error.remedy()));
            let page = page_url(&context.network.pages);
            // A browser that has died is noticed by using it; then another takes its place.
            for attempt in 0.. {
                let (browser, permit) = self.acquire(&kind, deadline).await.map_err(unavailable)?;
                match Tab::open(browser.session.clone(), Some(permit), &page).await {
                    Ok(tab) => return BrowserPeer::prepare(context.clone(), Link::Tab(browser, tab)).await,
                    Err(SessionError::Gone(_)) if attempt == 0 => {}
                    Err(error) => return Err(failure(format!("{page}: {}", browser.explain(&error)))),
                }
            }
            Err(failure("no browser stays alive".into()))
        };
        match timeout(deadline, made).await {
            Ok(made) => Ok(Box::new(made?)),
            Err(_) => Err(failure(format!("the browser is not ready after {} s", deadline.as_secs_f64()))),
        }
    }

    /// Ends every browser and waits until their processes are gone; bounded in time.
    pub async fn close(&self) {
        let kinds = std::mem::take(&mut *self.kinds.lock().await);
        let mut browsers = Vec::new();
        for kind in &kinds {
            browsers.append(&mut *kind.browsers.lock().await);
        }
        join_all(browsers.iter().map(|browser| browser.end())).await;
    }

    async fn kind(&self, group: &GroupPlan, network: &PeerNetwork) -> Arc<Kind> {
        let settings = settings(group);
        let mut kinds = self.kinds.lock().await;
        let known = kinds.iter().find(|kind| {
            let place = kind.network.host.name() == network.host.name();
            place && kind.engine == group.engine && kind.settings == settings
        });
        if let Some(kind) = known {
            return kind.clone();
        }
        let network = network.clone();
        let kind = Arc::new(Kind { engine: group.engine, settings, network, browsers: Mutex::default() });
        kinds.push(kind.clone());
        kind
    }

    async fn find(&self, engine: Engine, settings: &BrowserPlan) -> Result<Installation, Unavailable> {
        let mut found = self.found.lock().await;
        let known = found.iter().find(|(known, plan, _)| *known == engine && plan == settings);
        if let Some((_, _, installation)) = known {
            return Ok(installation.clone());
        }
        let installation = find(engine, settings).await?;
        found.push((engine, settings.clone(), installation.clone()));
        Ok(installation)
    }

    /// A place in a browser, which is started if none is free.
    async fn acquire(
        &self,
        kind: &Kind,
        deadline: Duration,
    ) -> Result<(Arc<Browser>, OwnedSemaphorePermit), Unavailable> {
        // Held while a browser starts, so that those who come meanwhile share it.
        let mut browsers = kind.browsers.lock().await;
        let (alive, broken) = std::mem::take(&mut *browsers).into_iter().partition(|browser| browser.is_alive());
        *browsers = alive;
        for browser in broken {
            tokio::spawn(async move { browser.end().await });
        }
        for browser in browsers.iter() {
            if let Ok(permit) = browser.places.clone().try_acquire_owned() {
                return Ok((browser.clone(), permit));
            }
        }
        let browser = self.start(kind, deadline).await?;
        browsers.push(browser.clone());
        let failed = |_| Unavailable::Session { engine: kind.engine.name(), reason: "it has no places".into() };
        let permit = browser.places.clone().try_acquire_owned().map_err(failed)?;
        Ok((browser, permit))
    }

    async fn start(&self, kind: &Kind, deadline: Duration) -> Result<Arc<Browser>, Unavailable> {
        let Kind { engine, settings, network, .. } = kind;
        let failed = |reason| Unavailable::Session { engine: engine.name(), reason };
        // Never closed.
        let _turn = self.starting.acquire().await.map_err(|error| failed(error.to_string()))?;
        let (driver, installation) = match &settings.webdriver_url {
            Some(_) => (None, None),
            None => {
                if *engine == Engine::Firefox && network.host.name().is_none() && !has_route() {
                    return Err(Unavailable::NoRoute);
                }
                let installation = self.find(*engine, settings).await?;
                let driver = Driver::start(&self.harness, *engine, &installation.driver, &network.host).await?;
                (Some(driver), Some(installation))
            }
        };
        let url = match (&driver, &settings.webdriver_url) {
            (Some(driver), _) => driver.url.clone(),
            (None, url) => url.clone().unwrap_or_default(),
        };
        let binary = match &installation {
            Some(installation) => Some(installation.browser.as_path()),
            None => settings.binary.as_ref().map(|binary| binary.as_ref()),
        };
        let wanted = capabilities(*engine, binary, network).map_err(failed)?;
        let session = match Session::open(&url, &network.host, wanted, deadline).await {
            Ok(session) => session,
            Err(reason) => {
                let reason = match &driver {
                    Some(driver) => format!("{reason}{}", driver.process.last_words()),
                    None => reason,
                };
                if let Some(driver) = driver {
                    driver.process.end().await;
                }
                return Err(failed(reason));
            }
        };
        let info = BrowserInfo {
            engine: *engine,
            browser_version: session.browser_version().await,
            driver_version: installation.map(|Installation { driver_version, .. }| driver_version),
        };
        Ok(Arc::new(Browser {
            info,
            session: Arc::new(session),
            driver: Mutex::new(driver),
            places: Arc::new(Semaphore::new(settings.tabs_per_browser.max(1) as usize)),
        }))
    }
}

/// Browsers that are all alike, at one place.
#[derive(Debug)]
struct Kind {
    engine: Engine,
    settings: BrowserPlan,
    network: PeerNetwork,
    browsers: Mutex<Vec<Arc<Browser>>>,
}

/// Browsers that a plan needs.
struct Wanted<'a> {
    kind: Arc<Kind>,
    groups: BTreeSet<&'a str>,
    /// What they take part in: once for each end.
    calls: Vec<&'a CallPlan>,
}

/// A browser with its driver.
#[derive(Debug)]
pub(super) struct Browser {
    info: BrowserInfo,
    session: Arc<Session>,
    /// Absent for one that runs elsewhere, or has ended.
    driver: Mutex<Option<Driver>>,
    /// How many tabs there may be.
    places: Arc<Semaphore>,
}

impl Browser {
    /// What went wrong, in words that name the browser and, if it is known, what became of it.
    pub(super) fn explain(&self, error: &SessionError) -> String {
        let ended = self.driver.try_lock().ok().and_then(|driver| driver.as_ref()?.process.ended());
        let name = self.info.engine.name();
        match ended {
            Some(ended) => format!("{name}: {error}; {ended}"),
            None => format!("{name}: {error}"),
        }
    }

    /// Gives the guard a moment to notice what the session has.
    pub(super) async fn settle(&self) {
        for _ in 0..20 {
            let driver = self.driver.lock().await;
            if driver.as_ref().is_none_or(|driver| driver.process.ended().is_some()) {
                return;
            }
            drop(driver);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn is_alive(&self) -> bool {
        let ended = self.driver.try_lock().ok().and_then(|driver| driver.as_ref()?.process.ended());
        self.session.broken().is_none() && ended.is_none()
    }

    async fn end(&self) {
        match self.driver.lock().await.take() {
            Some(driver) => {
                self.session.condemn("it was closed");
                driver.process.end().await;
            }
            None => self.session.close().await,
        }
    }

    /// Sees that the page loads, and that the browser can do these codecs.
    async fn check(&self, codecs: &[&str], endpoint: &Endpoint) -> Result<(), Unavailable> {
        let engine = self.info.engine.name();
        let url = page_url(endpoint);
        let tab = match Tab::open(self.session.clone(), None, &url).await {
            Ok(tab) => tab,
            Err(error) => return Err(Unavailable::Page { engine, url, reason: error.to_string() }),
        };
        let answer = tab.call("capable", vec![json!(codecs)]).await;
        tab.close().await;
        match answer {
            Ok(Value::Null) => Ok(()),
            Ok(Value::String(reason)) => Err(Unavailable::Incapable { engine, reason }),
            Ok(answer) => Err(Unavailable::Page { engine, url, reason: format!("the page says {answer}") }),
            Err(error) => Err(Unavailable::Page { engine, url, reason: error.to_string() }),
        }
    }
}

fn page_url(endpoint: &Endpoint) -> String {
    format!("{}/{}", endpoint.page_url.trim_end_matches('/'), page::PATH)
}

/// The settings that make browsers different; where their media comes from does not.
fn settings(group: &GroupPlan) -> BrowserPlan {
    BrowserPlan { source: Default::default(), ..group.browser.clone().unwrap_or_default() }
}

/// The video codecs of calls.
pub(super) fn codecs(plan: &Plan, calls: &[&CallPlan]) -> Vec<&'static str> {
    let codecs = calls.iter().filter_map(|call| Some(plan.media_of(call).video.as_ref()?.codec.mime_type()));
    codecs.collect::<BTreeSet<_>>().into_iter().collect()
}

/// How many browsers these calls use at the same time.
fn browsers_needed(calls: &[&CallPlan], tabs_per_browser: u32) -> usize {
    let span = |call: &&CallPlan| [(call.start_us, 1), (call.start_us + call.hold_us + AROUND_A_CALL_US, -1)];
    let mut changes: Vec<(u64, i64)> = calls.iter().flat_map(span).collect();
    // At the same instant those who leave go first.
    changes.sort_unstable();
    let (mut now, mut most) = (0_i64, 0_i64);
    for (_, change) in changes {
        now += change;
        most = most.max(now);
    }
    (most as usize).div_ceil(tabs_per_browser.max(1) as usize)
}
