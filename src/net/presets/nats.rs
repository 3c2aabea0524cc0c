//! NATs by name.

use super::{Name, Preset};
use crate::net::spec::{Filtering, Hairpin, Mapping, NatKind, NatSpec, Pooling, PortAllocation, Refresh};

pub(super) const PRESETS: &[Preset<NatSpec>] = &[
    Preset {
        name: Name {
            name: "full-cone",
            aliases: &["endpoint-independent", "eim-eif", "nat1"],
            about: "keeps its outside endpoint, accepts from everybody (EIM/EIF)",
        },
        make: || cone(Filtering::EndpointIndependent),
    },
    Preset {
        name: Name {
            name: "address-restricted",
            aliases: &["restricted-cone", "address-restricted-cone", "eim-adf", "nat2"],
            about: "keeps its outside endpoint, accepts from addresses it has sent to (EIM/ADF)",
        },
        make: || cone(Filtering::AddressDependent),
    },
    Preset {
        name: Name {
            name: "port-restricted",
            aliases: &["port-restricted-cone", "home", "eim-apdf", "nat3"],
            about: "keeps its outside endpoint, accepts from endpoints it has sent to (EIM/APDF)",
        },
        make: || cone(Filtering::AddressAndPortDependent),
    },
    Preset {
        name: Name {
            name: "symmetric",
            aliases: &["apdm-apdf", "nat4"],
            about: "a random outside port for every destination (APDM/APDF)",
        },
        make: symmetric,
    },
    Preset {
        name: Name {
            name: "symmetric-sequential",
            aliases: &["predictable-symmetric"],
            about: "the next outside port for every destination (APDM/APDF)",
        },
        make: || NatSpec { ports: PortAllocation::Sequential, ..symmetric() },
    },
    Preset {
        name: Name {
            name: "address-symmetric",
            aliases: &["address-dependent", "adm-apdf"],
            about: "a random outside port for every destination address (ADM/APDF)",
        },
        make: || NatSpec { mapping: Mapping::AddressDependent, ..symmetric() },
    },
    Preset {
        name: Name {
            name: "carrier",
            aliases: &["rfc6888"],
            about: "a carrier's NAT that keeps to RFC 6888 (EIM/EIF, paired pooling, hairpinning)",
        },
        make: carrier,
    },
    Preset {
        name: Name {
            name: "carrier-arbitrary-pooling",
            aliases: &["unpaired"],
            about: "a carrier's NAT with another outside address for every destination",
        },
        make: arbitrary_pooling,
    },
    Preset {
        name: Name {
            name: "one-to-one",
            aliases: &["cloud", "static", "elastic-ip"],
            about: "every host owns an outside address, as in a public cloud",
        },
        make: one_to_one,
    },
    Preset {
        name: Name {
            name: "no-hairpin",
            aliases: &[],
            about: "port-restricted, and its hosts cannot reach its outside address",
        },
        make: || NatSpec { hairpin: Hairpin::None, ..cone(Filtering::AddressAndPortDependent) },
    },
    Preset {
        name: Name {
            name: "internal-hairpin",
            aliases: &["broken-hairpin"],
            about: "full cone, and hairpinned packets keep their inside source, against RFC 4787 REQ-9a",
        },
        make: || NatSpec { hairpin: Hairpin::Internal, ..cone(Filtering::EndpointIndependent) },
    },
    Preset {
        name: Name {
            name: "short-lived",
            aliases: &["short-lifetime"],
            about: "port-restricted, and forgets UDP after 10 s, against RFC 4787 REQ-5",
        },
        make: || NatSpec { udp_lifetime_us: 10_000_000, ..cone(Filtering::AddressAndPortDependent) },
    },
    Preset {
        name: Name {
            name: "naive-masquerade",
            aliases: &["naive", "masquerade"],
            about: "Linux masquerading with an open INPUT chain: looks port-restricted, and is not if the peer sends first",
        },
        make: naive,
    },
];

/// A router that keeps its outside endpoint and its port, and hairpins as RFC 4787 demands.
pub(super) fn cone(filtering: Filtering) -> NatSpec {
    NatSpec { filtering, hairpin: Hairpin::External, ..NatSpec::default() }
}

pub(super) fn symmetric() -> NatSpec {
    NatSpec { mapping: Mapping::AddressAndPortDependent, ports: PortAllocation::Random, ..NatSpec::default() }
}

pub(super) fn carrier() -> NatSpec {
    NatSpec { ports: PortAllocation::Random, addresses: 4, ..cone(Filtering::EndpointIndependent) }
}

/// More addresses than a call has destinations, so that none comes up twice.
pub(super) fn arbitrary_pooling() -> NatSpec {
    NatSpec { pooling: Pooling::Arbitrary, addresses: 64, ..symmetric() }
}

/// Room for a small LAN.
pub(super) fn one_to_one() -> NatSpec {
    NatSpec { kind: NatKind::OneToOne, addresses: 16, ..cone(Filtering::EndpointIndependent) }
}

/// Linux forgets a flow without an answer after 30 s and others after 120 s, and counts packets of both directions.
fn naive() -> NatSpec {
    NatSpec {
        kind: NatKind::Naive,
        udp_lifetime_us: 120_000_000,
        refresh: Refresh::Both,
        hairpin: Hairpin::None,
        ..cone(Filtering::AddressAndPortDependent)
    }
}
