//! Packets that lie one behind the other, so that one system call sends many of them.

/// How many segments Linux takes in one call with UDP_SEGMENT (`UDP_MAX_SEGMENTS`, before it was raised to 128).
const MAX_SEGMENTS: usize = 64;
/// The largest UDP payload over IPv4, which bounds what one call takes.
const MAX_BYTES: usize = 65_507;

/// Packets to one destination.
#[derive(Debug, Default)]
pub struct Batch {
    buffer: Vec<u8>,
    runs: Vec<Bounds>,
}

/// Packets that can be sent with one call: all are of the same length, but the last may be shorter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Run<'a> {
    /// The packets, one behind the other.
    pub contents: &'a [u8],
    /// The length of each packet but the last, in bytes.
    pub segment: usize,
}

impl<'a> Run<'a> {
    /// The packets one by one.
    pub fn packets(self) -> std::slice::Chunks<'a, u8> {
        self.contents.chunks(self.segment)
    }
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    start: usize,
    end: usize,
    segment: usize,
    /// Whether a shorter packet has ended it.
    ended: bool,
}

impl Batch {
    /// Room for a packet of this many bytes, at least 1, which the caller fills.
    pub fn packet(&mut self, length: usize) -> &mut [u8] {
        let start = self.buffer.len();
        let end = start + length;
        match self.runs.last_mut() {
            Some(run)
                if !run.ended
                    && length <= run.segment
                    && end - run.start <= MAX_BYTES.min(run.segment * MAX_SEGMENTS) =>
            {
                run.end = end;
                run.ended = length < run.segment;
            }
            _ => self.runs.push(Bounds { start, end, segment: length, ended: false }),
        }
        self.buffer.resize(end, 0);
        &mut self.buffer[start..]
    }

    /// What is to be sent, in the order in which it was added.
    pub fn runs(&self) -> impl Iterator<Item = Run<'_>> {
        self.runs.iter().map(|run| Run { contents: &self.buffer[run.start..run.end], segment: run.segment })
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Forgets the packets, and keeps the buffer.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.runs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(lengths: &[usize]) -> Vec<Vec<usize>> {
        let mut batch = Batch::default();
        for (index, &length) in lengths.iter().enumerate() {
            batch.packet(length).fill(index as u8);
        }
        let runs: Vec<Vec<usize>> = batch.runs().map(|run| run.packets().map(<[u8]>::len).collect()).collect();
        let order: Vec<u8> = batch.runs().flat_map(|run| run.packets().map(|packet| packet[0])).collect();
        assert!(order.iter().enumerate().all(|(index, &byte)| byte == index as u8), "{order:?}");
        batch.clear();
        assert!(batch.is_empty());
        runs
    }

    #[test]
    fn only_the_last_packet_of_a_run_is_shorter() {
        assert_eq!(runs(&[9, 9, 4, 4, 9, 2]), [vec![9, 9, 4], vec![4], vec![9, 2]]);
        assert!(runs(&[]).is_empty());
    }

    #[test]
    fn a_run_fits_one_call() {
        assert_eq!(runs(&[1; 70]).iter().map(Vec::len).collect::<Vec<_>>(), [64, 6]);
        assert_eq!(runs(&[1228; 60]).iter().map(Vec::len).collect::<Vec<_>>(), [53, 7]);
    }
}
