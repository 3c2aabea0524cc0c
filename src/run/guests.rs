//! People whom the run has invited: who they are, and the time until they have come.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::peer::browser::{BrowserInfo, People, Unavailable, longest_wait};
use crate::plan::Plan;
use crate::signaling::Server;
use crate::signaling::server::Invitation;

/// What is to be told of the people of a run, before it begins.
#[derive(Debug)]
pub enum Guests<'a> {
    /// They are waited for.
    Invited {
        /// Where they come to.
        server: &'a Server,
        /// One for each.
        invitations: &'a [Invitation],
        /// For how long.
        wait: Duration,
    },
    /// Another number of them has joined.
    Joined {
        /// How many now.
        joined: usize,
        /// Of how many.
        of: usize,
    },
}

/// Tells somebody of [`Guests`].
pub type TellGuests = Box<dyn FnMut(Guests<'_>) + Send>;

/// Invites the people of the plan, if it has any, and waits for them. For each of their groups: what they came with, or why
/// it cannot take part; `None` if the run was cancelled meanwhile.
///
/// # Errors
///
/// They have nowhere to come to.
pub(super) async fn gather(
    plan: &Plan,
    server: Option<&Server>,
    people: &People,
    cancel: &CancellationToken,
    mut tell: TellGuests,
) -> Result<Option<BTreeMap<String, Result<BrowserInfo, Unavailable>>>, String> {
    let places: Vec<String> = plan.people().map(|peer| peer.id.clone()).collect();
    if places.is_empty() {
        return Ok(Some(BTreeMap::new()));
    }
    let server = server.ok_or("people come to the bundled server, and the plan names another one")?;
    let of = places.len();
    let reception = server.invite(&plan.name, places).map_err(|error| format!("people cannot be invited: {error}"))?;
    let wait = Duration::from_micros(longest_wait(plan));
    tell(Guests::Invited { server, invitations: &reception.invitations(), wait });
    tokio::select! {
        gathered = people.gather(plan, reception, |joined| tell(Guests::Joined { joined, of })) => Ok(Some(gathered)),
        () = cancel.cancelled() => Ok(None),
    }
}
