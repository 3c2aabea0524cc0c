//! An interceptor that looks at what comes in, and passes everything on.

use std::collections::VecDeque;
use std::time::Instant;

use rtc::interceptor::{Interceptor, StreamInfo, TaggedPacket};
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

/// Looks at incoming packets.
pub(super) trait Watch: Send + Sync + 'static {
    /// A packet comes in.
    fn incoming(&mut self, message: &TaggedPacket);

    /// Another pass of the driver begins. What this adds to `reads` comes in as well.
    fn pass_begins(&mut self, _reads: &mut VecDeque<TaggedPacket>) {}
}

/// The place of a [`Watch`] among the interceptors.
pub(super) struct Watched<W> {
    watch: W,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl<W: Watch> Watched<W> {
    pub(super) fn new(watch: W) -> Self {
        Self { watch, reads: VecDeque::new(), writes: VecDeque::new() }
    }
}

impl<W: Watch> Protocol<TaggedPacket, TaggedPacket, ()> for Watched<W> {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Self::Error> {
        self.watch.incoming(&message);
        self.reads.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<Self::Rout> {
        self.reads.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Self::Error> {
        self.writes.push_back(message);
        Ok(())
    }

    /// Each pass of the driver begins with this.
    fn poll_write(&mut self) -> Option<Self::Wout> {
        self.watch.pass_begins(&mut self.reads);
        self.writes.pop_front()
    }
}

impl<W: Watch> Interceptor for Watched<W> {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}
