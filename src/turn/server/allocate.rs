//! Allocations: how they are made, and how they end (RFC 8656, section 7).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

use super::allocation::{Allocation, Owner};
use super::auth::Asked;
use super::core::{Server, Timer};
use super::io::{Client, Output};
use super::refusal::Refusal;
use crate::turn::message::{Attribute, Class, Family, Message};

/// The protocol number of UDP, the only transport of relay ports.
const UDP: u8 = 17;
/// So many ports are tried that other programs have taken.
const ATTEMPTS: usize = 8;
const SOFTWARE: &str = concat!("harness ", env!("CARGO_PKG_VERSION"));

/// A relay port that is being opened.
#[derive(Debug)]
pub(super) struct Opening {
    /// For whom; nobody any more, if the client has gone.
    wanted: Option<Wanted>,
    /// The even port below, which is open already.
    lower: Option<SocketAddr>,
}

#[derive(Debug)]
struct Wanted {
    asked: Asked,
    owner: Owner,
    lifetime: Duration,
    address: IpAddr,
    port: PortWish,
    tried: Vec<u16>,
}

/// EVEN-PORT (RFC 8656, section 18.6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum PortWish {
    Any,
    Even,
    /// An even one, and the next one for later.
    Pair,
}

impl Server {
    /// Answers now or once a relay port is open.
    pub(super) fn allocate(
        &mut self,
        now: Instant,
        asked: Asked,
        request: &Message<'_>,
        owner: Owner,
    ) -> Result<(), Refusal> {
        if let Some(allocation) = self.allocations.get(&asked.client) {
            if allocation.transaction != asked.transaction {
                return Err(437.into());
            }
            let answer = allocation.answer.clone();
            self.answer(now, asked, Class::Success, answer);
            return Ok(());
        }
        let mut openings = self.openings.values().filter_map(|opening| opening.wanted.as_ref());
        if let Some(wanted) = openings.find(|wanted| wanted.asked.client == asked.client) {
            return if wanted.asked == asked { Ok(()) } else { Err(437.into()) };
        }
        let wish = Wish::read(request)?;
        if let Some(code) = self.config.misbehaviour.refuse_allocations {
            return Err(code.code().into());
        }
        if let Some(alternate) = self.config.misbehaviour.redirect {
            return Err(Refusal { alternate: Some(alternate), ..300.into() });
        }
        let used = self.accounts.get(&owner.account).copied().unwrap_or(0);
        if used >= self.config.limits.allocations_per_user {
            return Err(486.into());
        }
        if self.allocations.len() + self.openings.len() >= self.config.limits.allocations {
            return Err(508.into());
        }

        let mut wanted = Wanted {
            asked,
            owner,
            lifetime: self.granted(request.number(Attribute::LIFETIME)),
            address: asked.client.local.ip(),
            port: wish.port,
            tried: Vec::new(),
        };
        if let Some(token) = wish.token {
            let (relay, until) = self.reservations.remove(&token).ok_or(508)?;
            self.clear_timer(until, Timer::Reservation(token));
            *self.accounts.entry(wanted.owner.account.clone()).or_default() += 1;
            self.complete(now, wanted, relay, None);
            return Ok(());
        }
        let mut addresses = self.config.relay_addresses.iter();
        wanted.address = *addresses.find(|address| Family::from(**address) == wish.family).ok_or(440)?;
        let account = wanted.owner.account.clone();
        if !self.open(wanted) {
            return Err(508.into());
        }
        *self.accounts.entry(account).or_default() += 1;
        Ok(())
    }

    pub(super) fn handle_opened(&mut self, now: Instant, relay: SocketAddr, opened: bool) {
        let Some(Opening { wanted, lower }) = self.openings.remove(&relay) else { return };
        let Some(wanted) = wanted else {
            if opened {
                self.close_relay(relay);
            }
            if let Some(lower) = lower {
                self.close_relay(lower);
            }
            return;
        };
        if !opened {
            // Another program has the port.
            self.relays.remove(&relay);
            if let Some(lower) = lower {
                self.close_relay(lower);
            }
            return self.open_another(now, wanted);
        }
        match lower {
            Some(lower) => self.complete(now, wanted, lower, Some(relay)),
            None if wanted.port == PortWish::Pair => {
                let upper = SocketAddr::new(relay.ip(), relay.port() + 1);
                self.open_at(upper, Opening { wanted: Some(wanted), lower: Some(relay) });
            }
            None => self.complete(now, wanted, relay, None),
        }
    }

    pub(super) fn abandon_opening(&mut self, client: Client) {
        for opening in self.openings.values_mut() {
            if let Some(wanted) = opening.wanted.take_if(|wanted| wanted.asked.client == client) {
                release(&mut self.accounts, &wanted.owner.account);
            }
        }
    }

    pub(super) fn delete_allocation(&mut self, client: Client) {
        let Some(allocation) = self.allocations.remove(&client) else { return };
        release(&mut self.accounts, &allocation.owner.account);
        self.clear_timer(allocation.expires, Timer::Allocation(client));
        self.close_relay(allocation.relay);
    }

    pub(super) fn delete_reservation(&mut self, token: [u8; 8]) {
        if let Some((relay, _)) = self.reservations.remove(&token) {
            self.close_relay(relay);
        }
    }

    /// What the server makes of a wish (RFC 8656, section 7.2).
    pub(super) fn granted(&self, wish: Option<u32>) -> Duration {
        let lifetimes = &self.config.lifetimes;
        let wish = wish.map_or(lifetimes.allocation, |seconds| Duration::from_secs(seconds.into()));
        wish.min(lifetimes.allocation_max).max(lifetimes.allocation)
    }

    /// Whether there is a port left to try.
    fn open(&mut self, mut wanted: Wanted) -> bool {
        if wanted.tried.len() >= ATTEMPTS {
            return false;
        }
        let Some(relay) = self.free_port(&wanted) else { return false };
        wanted.tried.push(relay.port());
        self.open_at(relay, Opening { wanted: Some(wanted), lower: None });
        true
    }

    fn open_another(&mut self, now: Instant, wanted: Wanted) {
        let (asked, owner) = (wanted.asked, wanted.owner.clone());
        if !self.open(wanted) {
            release(&mut self.accounts, &owner.account);
            self.refuse(now, asked, &508.into(), Some(&owner.key));
        }
    }

    fn open_at(&mut self, relay: SocketAddr, opening: Opening) {
        self.relays.insert(relay, None);
        self.openings.insert(relay, opening);
        self.output(Output::OpenRelay { relay });
    }

    fn free_port(&mut self, wanted: &Wanted) -> Option<SocketAddr> {
        let (first, last) = (*self.config.relay_ports.start(), *self.config.relay_ports.end());
        let count = u32::from(last.checked_sub(first)?) + 1;
        // Ports that cannot be guessed, as RFC 8656, section 7.2 demands.
        let start = self.rng.random_range(0..count);
        let free = |port: u16| !self.relays.contains_key(&SocketAddr::new(wanted.address, port));
        let mut ports = (0..count).map(|index| first + ((start + index) % count) as u16);
        let port = ports.find(|port| {
            free(*port)
                && !wanted.tried.contains(port)
                && (wanted.port == PortWish::Any || port % 2 == 0)
                && (wanted.port != PortWish::Pair || (*port < last && free(*port + 1)))
        })?;
        Some(SocketAddr::new(wanted.address, port))
    }

    fn complete(&mut self, now: Instant, wanted: Wanted, relay: SocketAddr, reserved: Option<SocketAddr>) {
        let Wanted { asked, owner, lifetime, .. } = wanted;
        let client = asked.client;
        let mut answer = asked.success();
        answer.xor_address(Attribute::XOR_RELAYED_ADDRESS, relay);
        answer.xor_address(Attribute::XOR_MAPPED_ADDRESS, client.remote);
        answer.number(Attribute::LIFETIME, lifetime.as_secs() as u32);
        if let Some(reserved) = reserved {
            let mut token = [0; 8];
            self.rng.fill_bytes(&mut token);
            let until = now + self.config.lifetimes.reservation;
            self.reservations.insert(token, (reserved, until));
            self.set_timer(until, Timer::Reservation(token));
            answer.bytes(Attribute::RESERVATION_TOKEN, &token);
        }
        answer.text(Attribute::SOFTWARE, SOFTWARE);
        let answer = self.succeed(now, asked, answer, Some(&owner.key));

        let expires = now + lifetime;
        self.set_timer(expires, Timer::Allocation(client));
        self.relays.insert(relay, Some(client));
        self.allocations.insert(client, Allocation::new(relay, owner, expires, asked.transaction, answer));
        self.counters.allocations_made += 1;
    }

    fn close_relay(&mut self, relay: SocketAddr) {
        self.relays.remove(&relay);
        self.output(Output::CloseRelay { relay });
    }
}

/// What an Allocate request asks for.
struct Wish {
    family: Family,
    port: PortWish,
    token: Option<[u8; 8]>,
}

impl Wish {
    fn read(request: &Message<'_>) -> Result<Self, Refusal> {
        match request.get(Attribute::REQUESTED_TRANSPORT) {
            Some([UDP, _, _, _]) => {}
            Some([_, _, _, _]) => return Err(442.into()),
            _ => return Err(400.into()),
        }
        let family = request.get(Attribute::REQUESTED_ADDRESS_FAMILY);
        let port = match request.get(Attribute::EVEN_PORT) {
            None => PortWish::Any,
            Some([flags, ..]) if flags & 0x80 != 0 => PortWish::Pair,
            Some([_, ..]) => PortWish::Even,
            Some([]) => return Err(400.into()),
        };
        let token = match request.get(Attribute::RESERVATION_TOKEN) {
            None => None,
            Some(_) if family.is_some() || port != PortWish::Any => return Err(400.into()),
            Some(token) => Some(<[u8; 8]>::try_from(token).map_err(|_| 400)?),
        };
        let family = match family {
            None => Family::V4,
            Some([number, _, _, _]) => Family::from_number(*number).ok_or(440)?,
            Some(_) => return Err(400.into()),
        };
        Ok(Self { family, port, token })
    }
}

fn release(accounts: &mut HashMap<String, usize>, account: &str) {
    if let Some(count) = accounts.get_mut(account) {
        *count -= 1;
        if *count == 0 {
            accounts.remove(account);
        }
    }
}
