//! What can be wrong with a world.

use std::net::IpAddr;

/// Why a site, a carrier or a host cannot be added to a world.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// Its description makes no sense.
    #[error("network {name:?}: {problem}")]
    Invalid {
        /// The site or carrier.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A site or a carrier has this name already.
    #[error("there are two networks with the name {0:?}")]
    NameTaken(String),
    /// It is behind a carrier that was not added before.
    #[error("network {site:?} is behind {carrier:?}, which is no carrier")]
    UnknownCarrier {
        /// The site.
        site: String,
        /// What it is behind.
        carrier: String,
    },
    /// A host has this address already.
    #[error("the address {0} is taken")]
    AddressTaken(IpAddr),
    /// A host's address does not lie in the prefixes of its site.
    #[error("the address {address} does not lie in the network {site:?}")]
    OutsidePrefix {
        /// The address.
        address: IpAddr,
        /// The site.
        site: String,
    },
    /// A public host's address is not one of the fake internet.
    #[error("the address {0} does not lie in 11.0.0.0/8, 198.18.0.0/15 or 2000::/3")]
    NotPublic(IpAddr),
    /// A host has no address.
    #[error("a host has no address")]
    NoAddress,
    /// A one-to-one NAT has fewer outside addresses than hosts.
    #[error("the one-to-one NAT of network {0:?} has fewer addresses than hosts")]
    NoOutsideAddress(String),
    /// No address is left for a NAT.
    #[error("no address is left for the NAT of network {0:?}")]
    AddressesExhausted(String),
}
