//! What the terminal says to people whom a run has invited.

use std::io::IsTerminal;

use crate::people;
use crate::run::{Guests, TellGuests};

/// Tells on standard error how to join, and who has. Without it nobody could, so that no option silences it.
pub(super) fn teller() -> TellGuests {
    Box::new(|guests| match guests {
        Guests::Invited { server, invitations, wait } => {
            let text = people::invitations(server, invitations, std::io::stderr().is_terminal());
            eprintln!("\n{text}{:11}The run begins once all have joined, and waits {wait:?} for them.", "");
        }
        Guests::Joined { joined, of } => eprintln!("people:    {joined} of {of} joined"),
    })
}
