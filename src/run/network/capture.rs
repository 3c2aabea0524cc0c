//! What peers in modelled networks sent and received: a file for each pair of networks that is not as it must be.

use std::collections::BTreeMap;

use crate::gate::matrix;
use crate::lab::{Clock, pcap_of_kept};
use crate::net::KeptPacket;
use crate::record::{Record, RunDirectory, WriteError};

/// Packets that are kept over all hosts, of about 500 bytes each with what surrounds them.
const ALL: usize = 100_000;

/// Packets that are kept of one host at most: a call's set-up, and what came last.
const PER_HOST: usize = 400;

/// The packets of each peer, as far as they were kept.
#[derive(Debug)]
pub struct PeerPackets {
    /// By the peers' ids.
    pub(super) peers: BTreeMap<String, Vec<KeptPacket>>,
    pub(super) clock: Clock,
    /// How many of each peer were kept at most.
    pub(super) per_host: usize,
    /// How many are missing in `network.pcap`.
    pub(super) uncaptured: u64,
}

/// How many packets to keep of each of so many hosts.
pub(super) fn per_host(hosts: usize) -> usize {
    (ALL / hosts.max(1)).min(PER_HOST)
}

impl PeerPackets {
    /// How many of each peer were kept at most.
    pub fn per_host(&self) -> u32 {
        self.per_host as u32
    }

    /// How many packets are missing in `network.pcap`, since there were too many.
    pub fn uncaptured(&self) -> u64 {
        self.uncaptured
    }

    /// Writes the file of each pair of networks that the record says was not as it must be.
    ///
    /// # Errors
    ///
    /// A file that cannot be written.
    pub fn write(&self, record: &Record, directory: &RunDirectory) -> Result<(), WriteError> {
        let Some(matrix) = matrix(record) else { return Ok(()) };
        for cell in &matrix.cells {
            let Some(file) = &cell.packets else { continue };
            let calls = record.calls().filter(|(call, _)| call.set == cell.name);
            let ends = calls.flat_map(|(call, _)| [&call.offerer.id, &call.answerer.id]);
            let packets = ends.filter_map(|peer| self.peers.get(peer)).flatten().cloned().collect();
            directory.write(file, pcap_of_kept(packets, self.clock))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_hosts_share_what_is_kept() {
        assert_eq!([1, 100, 1_000, 10_000, 1_000_000].map(per_host), [PER_HOST, PER_HOST, 100, 10, 0]);
    }
}
