//! The data channels of a native peer on the async stack: one task each.

use std::sync::Arc;
use std::time::Instant;

use rtc::data_channel::RTCDataChannelMessage;
use rtc::shared::error::Result;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::peer_connection::PeerConnection;

use super::data::{ChannelRole, DataTraffic};
use super::media::Media;

/// Opens the channels of an offerer.
pub(super) async fn open(connection: &Arc<dyn PeerConnection>, media: &Media) -> Result<()> {
    for (role, label, init) in media.data.to_open() {
        let channel = connection.create_data_channel(label, init).await?;
        spawn(role, channel, media);
    }
    Ok(())
}

/// Takes a data channel of the other end.
pub(super) async fn accept(channel: Arc<dyn DataChannel>, media: Arc<Media>) {
    let label = channel.label().await.unwrap_or_default();
    if let Some(role) = media.data.role_on(&label) {
        spawn(role, channel, &media);
    }
}

fn spawn(role: ChannelRole, channel: Arc<dyn DataChannel>, media: &Media) {
    let task = ChannelTask { role, channel, data: Arc::clone(&media.data), stop: media.stopping().clone() };
    let end = media.ending().clone();
    tokio::spawn(async move {
        tokio::select! {
            () = task.run() => {}
            () = end.cancelled() => {}
        }
    });
}

struct ChannelTask {
    role: ChannelRole,
    channel: Arc<dyn DataChannel>,
    data: Arc<DataTraffic>,
    stop: CancellationToken,
}

impl ChannelTask {
    async fn run(self) {
        if !is_open(&self.channel).await {
            return;
        }
        self.data.opened(self.role);
        match self.role {
            ChannelRole::EchoSender => self.echo().await,
            ChannelRole::BulkSender => self.send_bulk().await,
            ChannelRole::EchoAnswerer | ChannelRole::BulkReceiver => self.receive().await,
        }
    }

    async fn echo(&self) {
        loop {
            let due = self.data.next_echo_due();
            tokio::select! {
                () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {
                    if let Some(message) = self.data.next_echo() && !self.send(message).await {
                        return;
                    }
                }
                () = self.stop.cancelled(), if due.is_some() => {}
                event = self.channel.poll() => match event {
                    Some(DataChannelEvent::OnMessage(message)) => {
                        self.data.received(self.role, &message.data);
                    }
                    Some(_) => {}
                    None => return,
                },
            }
        }
    }

    async fn receive(&self) {
        while let Some(event) = self.channel.poll().await {
            let DataChannelEvent::OnMessage(message) = event else { continue };
            if !self.data.received(self.role, &message.data) {
                continue;
            }
            if !self.send(message).await {
                return;
            }
            self.data.was_sent_back();
        }
    }

    /// False if the channel takes nothing any more.
    async fn send(&self, message: RTCDataChannelMessage) -> bool {
        let sent = if message.is_string {
            self.channel.send_text(&String::from_utf8_lossy(&message.data)).await
        } else {
            self.channel.send(message.data).await
        };
        sent.is_ok()
    }

    async fn send_bulk(&self) {
        while let Some(message) = self.data.next_bulk() {
            // Waits while the stack's send buffer is full.
            if self.channel.send(message).await.is_err() {
                return;
            }
            self.data.bulk_was_sent();
        }
    }
}

/// Waits until the channel is open; false if it never will be.
async fn is_open(channel: &Arc<dyn DataChannel>) -> bool {
    while let Some(event) = channel.poll().await {
        match event {
            DataChannelEvent::OnOpen => return true,
            DataChannelEvent::OnClose | DataChannelEvent::OnError => return false,
            _ => {}
        }
    }
    false
}
