//! A WebDriver session and its tabs. Every command has a deadline; one that passes it condemns the session, because a
//! driver answers commands in order and would let all others wait.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fantoccini::error::{CmdError, ErrorStatus, NewSessionError};
use fantoccini::wd::WindowHandle;
use fantoccini::{Client, ClientBuilder};
use serde_json::{Map, Value, json};
use tokio::sync::{Mutex, OwnedSemaphorePermit};
use tokio::time::timeout;

use super::connector::Connector;
use crate::peer::network::PeerHost;

/// How long a script may take before the driver gives up on the tab.
pub(super) const SCRIPT_DEADLINE: Duration = Duration::from_secs(8);
/// How long a page may take to load before the driver gives up on it.
pub(super) const PAGE_DEADLINE: Duration = Duration::from_secs(20);
/// How long any command may take, the waiting for those of other tabs apart.
const COMMAND_DEADLINE: Duration = Duration::from_secs(12);
const GOTO_DEADLINE: Duration = Duration::from_secs(25);
/// How long a command waits for those of other tabs.
const TURN_DEADLINE: Duration = Duration::from_secs(30);
/// How long closing a tab or the session may take when the call is over anyway.
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);

/// Null if the page of the harness runs, else the text that is there in its place.
const WHAT_LOADED: &str = "return window.harness ? null : document.body?.innerText ?? ''";

/// Why a command did not do what it was to do.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// The driver or the browser does not answer any more: nothing can be done in this session.
    #[error("the browser is gone: {0}")]
    Gone(String),
    /// The tab was closed or has crashed.
    #[error("the tab is gone: {0}")]
    TabGone(String),
    /// The browser answers, and refuses.
    #[error("{0}")]
    Refused(String),
}

/// A WebDriver session: one browser.
#[derive(Debug)]
pub(super) struct Session {
    state: Mutex<State>,
    broken: OnceLock<String>,
}

#[derive(Debug)]
struct State {
    client: Client,
    /// The window that the browser began with. It stays open, so that the session lasts when all tabs are closed.
    first: WindowHandle,
    /// The window that the session's commands go to, unless a switch was cut short.
    current: Option<WindowHandle>,
}

impl Session {
    /// Asks the driver at `url`, as it is known at the host, for a browser.
    pub(super) async fn open(
        url: &str,
        host: &PeerHost,
        capabilities: Map<String, Value>,
        deadline: Duration,
    ) -> Result<Self, String> {
        let mut builder = ClientBuilder::new(Connector::new(host));
        let opened = timeout(deadline, builder.capabilities(capabilities).connect(url)).await;
        let client = match opened {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(describe_new(&error)),
            Err(_) => return Err(format!("{url} opens no session within {} s", deadline.as_secs())),
        };
        let first = match timeout(COMMAND_DEADLINE, client.window()).await {
            Ok(Ok(window)) => window,
            Ok(Err(error)) => return Err(format!("the browser has no window: {error}")),
            Err(_) => return Err("the browser does not name its window".into()),
        };
        Ok(Self { state: Mutex::new(State { client, first, current: None }), broken: OnceLock::new() })
    }

    /// The browser's version, as it says itself.
    pub(super) async fn browser_version(&self) -> String {
        let state = self.state.lock().await;
        let version = state.client.capabilities().and_then(|told| told.get("browserVersion")?.as_str());
        version.unwrap_or("unknown").to_owned()
    }

    /// Why the session is of no use any more, if so.
    pub(super) fn broken(&self) -> Option<&str> {
        self.broken.get().map(String::as_str)
    }

    /// No command is sent from now on, because of `reason`.
    pub(super) fn condemn(&self, reason: &str) {
        let _ = self.broken.set(reason.to_owned());
    }

    /// Ends the session, and with it the browser; bounded in time.
    pub(super) async fn close(&self) {
        if self.broken().is_some() {
            return;
        }
        let client = match timeout(CLOSE_DEADLINE, self.state.lock()).await {
            Ok(state) => state.client.clone(),
            Err(_) => return,
        };
        let _ = timeout(CLOSE_DEADLINE, client.close()).await;
        self.condemn("it was closed");
    }

    /// Sends one command to a window, or else to the browser's first one, switching to it first if need be.
    async fn command<T>(
        &self,
        window: Option<&WindowHandle>,
        deadline: Duration,
        what: &str,
        issue: impl AsyncFnOnce(&Client) -> Result<T, CmdError>,
    ) -> Result<T, SessionError> {
        if let Some(reason) = self.broken() {
            return Err(SessionError::Gone(reason.to_owned()));
        }
        let Ok(mut state) = timeout(TURN_DEADLINE, self.state.lock()).await else {
            return Err(self.gone(format!("{what} waited {} s for its turn", TURN_DEADLINE.as_secs())));
        };
        let commands = async {
            let window = window.unwrap_or(&state.first).clone();
            if state.current.as_ref() != Some(&window) {
                state.current = None;
                state.client.switch_to_window(window.clone()).await?;
                state.current = Some(window);
            }
            issue(&state.client).await
        };
        match timeout(deadline, commands).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.classify(what, error)),
            Err(_) => Err(self.gone(format!("{what} got no answer within {} s", deadline.as_secs()))),
        }
    }

    fn gone(&self, reason: String) -> SessionError {
        self.condemn(&reason);
        SessionError::Gone(reason)
    }

    fn classify(&self, what: &str, error: CmdError) -> SessionError {
        let CmdError::Standard(error) = error else {
            return self.gone(format!("{what}: {error}"));
        };
        let text = match first_line(&error.message) {
            text if text.is_empty() => error.error.to_string(),
            text => text,
        };
        match error.error {
            ErrorStatus::InsecureCertificate => {
                SessionError::Refused("the browser does not trust the server's certificate".into())
            }
            ErrorStatus::NoSuchWindow => SessionError::TabGone(text),
            ErrorStatus::InvalidSessionId => self.gone(format!("{what}: {text}")),
            // ChromeDriver has no code of its own for these, and says them in words.
            ErrorStatus::UnknownError if text.contains("crash") => SessionError::TabGone(text),
            ErrorStatus::UnknownError if ["disconnected", "not reachable"].iter().any(|word| text.contains(word)) => {
                self.gone(format!("{what}: {text}"))
            }
            // geckodriver, once Firefox has gone.
            ErrorStatus::UnknownError if text.contains("marionette") || text.contains("without establishing") => {
                self.gone(format!("{what}: {text}"))
            }
            _ => SessionError::Refused(text),
        }
    }
}

/// A window with a page, of which a session can have several; closed when dropped.
#[derive(Debug)]
pub(super) struct Tab {
    session: Arc<Session>,
    window: Option<WindowHandle>,
    /// The place in the browser that the tab takes.
    permit: Option<OwnedSemaphorePermit>,
}

impl Tab {
    /// Opens a window with the page at `url`.
    pub(super) async fn open(
        session: Arc<Session>,
        permit: Option<OwnedSemaphorePermit>,
        url: &str,
    ) -> Result<Self, SessionError> {
        // In a task of its own: if the caller gives up meanwhile, the tab is dropped there, and so closed.
        let url = url.to_owned();
        let opening = tokio::spawn(async move {
            let new = session.command(None, COMMAND_DEADLINE, "opening a window", async |client| {
                // A window and not a tab: tabs in the background are hidden, and do not render.
                client.new_window(false).await
            });
            let window = new.await?.handle;
            let tab = Self { session: session.clone(), window: Some(window.clone()), permit };
            let load = session
                .command(Some(&window), GOTO_DEADLINE, "loading the page", async |client| client.goto(&url).await);
            load.await?;
            // Chromium loads a page of its own for a certificate that it does not trust, and calls that success.
            match tab.execute(WHAT_LOADED, Vec::new()).await? {
                Value::Null => Ok(tab),
                text => Err(SessionError::Refused(instead_of_page(text.as_str().unwrap_or_default()))),
            }
        });
        opening.await.unwrap_or_else(|error| Err(SessionError::Refused(format!("opening a tab broke: {error}"))))
    }

    /// Runs a script in the page and waits for its result, and for that of a promise which it returns.
    pub(super) async fn execute(&self, script: &str, args: Vec<Value>) -> Result<Value, SessionError> {
        let window = self.window.as_ref();
        self.session
            .command(window, COMMAND_DEADLINE, "a script", async |client| client.execute(script, args).await)
            .await
    }

    /// Calls a function of `window.harness`.
    pub(super) async fn call(&self, function: &str, args: Vec<Value>) -> Result<Value, SessionError> {
        let script = "return window.harness[arguments[0]](...arguments[1])";
        self.execute(script, vec![json!(function), Value::Array(args)]).await
    }

    /// The session that the tab belongs to.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Closes the window; bounded in time.
    pub(super) async fn close(mut self) {
        let Some(window) = self.window.take() else { return };
        close(&self.session, &window).await;
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        let (Some(window), Ok(runtime)) = (self.window.take(), tokio::runtime::Handle::try_current()) else { return };
        let (session, permit) = (self.session.clone(), self.permit.take());
        runtime.spawn(async move {
            close(&session, &window).await;
            drop(permit);
        });
    }
}

async fn close(session: &Session, window: &WindowHandle) {
    let closing =
        session.command(Some(window), CLOSE_DEADLINE, "closing a window", async |client| client.close_window().await);
    // A tab that does not close goes with its browser.
    let _ = closing.await;
}

fn describe_new(error: &NewSessionError) -> String {
    match error {
        NewSessionError::SessionNotCreated(error) => first_line(&error.message),
        NewSessionError::NotW3C(Value::Object(answer)) => match answer.get("message") {
            Some(Value::String(message)) => first_line(message),
            _ => first_line(&Value::Object(answer.clone()).to_string()),
        },
        NewSessionError::BadWebdriverUrl(error) => format!("the WebDriver URL is invalid: {error}"),
        error => with_causes(error),
    }
}

/// Drivers append stack traces. Empty if there is no text.
fn first_line(text: &str) -> String {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}

/// What a page that is not the harness's says: the error code of Chromium's own, or its first line.
fn instead_of_page(text: &str) -> String {
    let code = text.split_whitespace().find(|word| word.contains("ERR_"));
    match code {
        Some(code) if code.contains("CERT") => format!("the browser does not trust the server's certificate ({code})"),
        Some(code) => code.to_owned(),
        None => format!("the page does not run; it shows {:?}", first_line(text)),
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_page_is_told_by_its_code() {
        let page = "Your connection is not private\nAttackers might …\nNET::ERR_CERT_AUTHORITY_INVALID\nAdvanced";
        let reason = instead_of_page(page);
        assert!(reason.contains("does not trust") && reason.contains("NET::ERR_CERT_AUTHORITY_INVALID"), "{reason}");
        assert_eq!(instead_of_page("This site can’t be reached\nERR_CONNECTION_REFUSED"), "ERR_CONNECTION_REFUSED");
        assert!(instead_of_page("\n not found\n").contains("not found"));
    }
}
