//! What a peer's page is reached through: a tab that a driver opened, or the browser of a person, who opened it themselves.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use super::pool::Browser;
use super::session::{SessionError, Tab};
use crate::signaling::server::{Guest, GuestError};

/// How long after the other end it may be noticed that a person's page has gone: both have seen connections of it close.
const PARTING: Duration = Duration::from_millis(300);

/// A page with the functions of `window.harness`.
pub(super) enum Link {
    /// In a tab of a browser that the harness drives.
    Tab(Arc<Browser>, Tab),
    /// In a person's own browser.
    Person(Guest),
}

impl Link {
    /// Calls a function of `window.harness`.
    pub(super) async fn call(&self, function: &str, args: Vec<Value>) -> Result<Value, SessionError> {
        match self {
            Self::Tab(_, tab) => tab.call(function, args).await,
            Self::Person(guest) => guest.call(function, args).await.map_err(|error| match error {
                GuestError::Gone(reason) => SessionError::TabGone(reason),
                GuestError::Failed(reason) => SessionError::Refused(reason),
            }),
        }
    }

    /// What the browser calls itself.
    pub(super) async fn agent(&self) -> Result<String, SessionError> {
        match self {
            Self::Tab(_, tab) => {
                let told = tab.execute("return navigator.userAgent", Vec::new()).await?;
                Ok(told.as_str().unwrap_or_default().to_owned())
            }
            Self::Person(guest) => Ok(guest.agent.clone()),
        }
    }

    /// What went wrong, in words that say whose browser it is; returns once what became of it is known.
    pub(super) async fn explain(&self, error: &SessionError) -> String {
        match self {
            Self::Tab(browser, _) => {
                if matches!(error, SessionError::Gone(_)) {
                    browser.settle().await;
                }
                browser.explain(error)
            }
            Self::Person(_) => explain_person(error),
        }
    }

    /// Why the person is gone, if so.
    pub(super) async fn gone(&self) -> Option<String> {
        match self {
            Self::Tab(..) => None,
            Self::Person(guest) => {
                let reason = timeout(PARTING, guest.ended()).await.ok()?;
                Some(explain_person(&SessionError::TabGone(reason)))
            }
        }
    }

    /// Nothing is asked of the page any more: it does not answer.
    pub(super) fn condemn(&self) {
        const REASON: &str = "it does not answer";
        match self {
            // The others of this browser would wait for the same answer.
            Self::Tab(_, tab) => tab.session().condemn(REASON),
            Self::Person(guest) => guest.hang_up(REASON),
        }
    }

    /// Closes the tab, or says good-bye to the person; bounded in time.
    pub(super) async fn close(self) {
        if let Self::Tab(_, tab) = self {
            tab.close().await;
        }
    }
}

fn explain_person(error: &SessionError) -> String {
    match error {
        SessionError::TabGone(reason) | SessionError::Gone(reason) => format!("the person is gone: {reason}"),
        SessionError::Refused(reason) => format!("the person's browser: {reason}"),
    }
}
