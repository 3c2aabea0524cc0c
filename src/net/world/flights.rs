//! Packets on their way over links, by arrival.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::net::packet::Packet;

/// Packets on their way. Of two that arrive at the same time, the one that left first arrives first.
#[derive(Default)]
pub(super) struct Flights {
    /// Arrival, number, and place among the flights: small, because a heap moves its entries a lot.
    order: BinaryHeap<Reverse<(Instant, u64, u32)>>,
    flights: Vec<Option<Flight>>,
    free: Vec<u32>,
    count: u64,
}

/// A packet on its way over a link.
pub(super) struct Flight {
    pub(super) site: usize,
    pub(super) up: bool,
    pub(super) packet: Packet,
}

impl Flights {
    pub(super) fn depart(&mut self, arrival: Instant, flight: Flight) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.flights.push(None);
            (self.flights.len() - 1) as u32
        });
        self.flights[place as usize] = Some(flight);
        self.order.push(Reverse((arrival, self.count, place)));
        self.count += 1;
    }

    /// The next flight that has arrived by now, with its arrival.
    pub(super) fn land(&mut self, now: Instant) -> Option<(Instant, Flight)> {
        let Reverse((arrival, _, place)) = *self.order.peek().filter(|next| next.0.0 <= now)?;
        self.order.pop();
        self.free.push(place);
        self.flights[place as usize].take().map(|flight| (arrival, flight))
    }

    /// The next arrival.
    pub(super) fn next(&self) -> Option<Instant> {
        self.order.peek().map(|next| next.0.0)
    }
}
