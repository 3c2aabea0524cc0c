//! Requests about an allocation: more time for it, and the peers that may use it.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::allocation::{Allocation, BindError};
use super::auth::Asked;
use super::config::Config;
use super::core::{Server, Timer};
use super::refusal::Refusal;
use crate::turn::message::{Attribute, Builder, CHANNEL_NUMBERS, Family, Message};

/// What a request comes to.
type Answer = Result<Builder, Refusal>;

impl Server {
    pub(super) fn refresh(&mut self, now: Instant, asked: Asked, request: &Message<'_>) -> Answer {
        let client = asked.client;
        let wish = request.number(Attribute::LIFETIME);
        let granted = self.granted(wish);
        let allocation = self.allocations.get_mut(&client).ok_or(437)?;
        if let Some(family) = request.get(Attribute::REQUESTED_ADDRESS_FAMILY)
            && family.first().copied().and_then(Family::from_number) != Some(allocation.relay.ip().into())
        {
            return Err(443.into());
        }
        let mut answer = asked.success();
        if wish == Some(0) {
            self.delete_allocation(client);
            answer.number(Attribute::LIFETIME, 0);
            return Ok(answer);
        }
        let before = std::mem::replace(&mut allocation.expires, now + granted);
        self.clear_timer(before, Timer::Allocation(client));
        self.set_timer(now + granted, Timer::Allocation(client));
        answer.number(Attribute::LIFETIME, granted.as_secs() as u32);
        Ok(answer)
    }

    pub(super) fn create_permission(&mut self, now: Instant, asked: Asked, request: &Message<'_>) -> Answer {
        let (config, allocation) = self.allocation_mut(asked)?;
        let mut peers = Vec::new();
        for (attribute, value) in request.attributes() {
            if attribute == Attribute::XOR_PEER_ADDRESS {
                let peer = request.parse_xor_address(value).ok_or(400)?;
                peers.push(acceptable(config, allocation, peer)?.ip());
            }
        }
        if peers.is_empty() {
            return Err(400.into());
        }
        peers.sort_unstable();
        peers.dedup();
        if !allocation.permit(&peers, now, config.lifetimes.permission, config.limits.peers) {
            return Err(508.into());
        }
        Ok(asked.success())
    }

    pub(super) fn channel_bind(&mut self, now: Instant, asked: Asked, request: &Message<'_>) -> Answer {
        let (config, allocation) = self.allocation_mut(asked)?;
        let number = request.number(Attribute::CHANNEL_NUMBER).ok_or(400)?;
        let number = (number >> 16) as u16;
        let peer = request.xor_address(Attribute::XOR_PEER_ADDRESS).ok_or(400)?;
        if !CHANNEL_NUMBERS.contains(&number) {
            return Err(400.into());
        }
        let peer = acceptable(config, allocation, peer)?;
        allocation.bind(number, peer, now, &config.lifetimes, config.limits.peers).map_err(|error| match error {
            BindError::Taken => 400,
            BindError::Full => 508,
        })?;
        Ok(asked.success())
    }

    fn allocation_mut(&mut self, asked: Asked) -> Result<(&Config, &mut Allocation), Refusal> {
        let allocation = self.allocations.get_mut(&asked.client).ok_or(437)?;
        Ok((&self.config, allocation))
    }
}

fn acceptable(config: &Config, allocation: &Allocation, peer: SocketAddr) -> Result<SocketAddr, Refusal> {
    let ip = peer.ip();
    if ip.is_ipv4() != allocation.relay.is_ipv4() {
        return Err(443.into());
    }
    // An IPv4 address in an IPv6 one would get around the list.
    let disguised = matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    let refused = config.refused_peers.iter().any(|prefix| prefix.contains(ip));
    if disguised || broadcast || refused || ip.is_unspecified() || ip.is_multicast() {
        return Err(403.into());
    }
    Ok(peer)
}
