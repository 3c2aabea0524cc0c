//! Does anything come through the relay: permissions, datagrams there and back, then a paced stream.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::time::{sleep_until, timeout, timeout_at};

use super::fault::{Fault, FaultClass};
use super::millis;
use super::report::{Goodput, Partner, RelayReport, Step};
use super::server::Probe;
use crate::turn::client::{Allocation, Client, ClientError, Refusal};

/// Round trips that make the median.
const ROUND_TRIPS: u32 = 10;

/// How long to wait for a datagram to come back; a relay over several hops and a slow access takes less.
const PATIENCE: Duration = Duration::from_secs(1);

/// After as many datagrams none of which came back, the relay is said to drop them.
const HOPELESS: u32 = 5;

/// So often a socket of this machine tries to reach the relay address.
const DIRECT_TRIES: u32 = 3;

/// What is offered to the relay, in bits of payload per second: a video call.
const OFFERED_BPS: f64 = 2e6;

/// What media packets take, so that a relay that drops large datagrams shows.
const PAYLOAD: usize = 1200;

/// How long stragglers may take.
const STRAGGLERS: Duration = Duration::from_millis(500);

/// Losing more than this share is a fault: real-time media suffers visibly from it.
const LOSS: f64 = 0.05;

/// The far end of the relay.
enum Far {
    Allocation(Box<Client>),
    Socket(UdpSocket),
}

pub(super) async fn measure(probe: &mut Probe<'_>, mut near: Client, allocation: &Allocation) {
    let relayed = allocation.relayed;
    let far = match second_allocation(probe, &mut near, relayed).await {
        Some(far) => Some(far),
        None => own_socket(probe, &mut near, allocation).await,
    };
    if let Some(mut far) = far {
        if let Some(peer) = round_trips(probe, &mut near, relayed, &mut far).await {
            match goodput(probe.options.duration, &mut near, peer, &mut far).await {
                Ok(goodput) => {
                    judge(probe, &goodput);
                    probe.report.goodput = Some(goodput);
                }
                Err(error) => probe.fail(Step::Goodput, &error),
            }
        }
        if let Far::Allocation(client) = far {
            if probe.report.goodput.is_some() {
                direct(probe, &mut near, allocation).await;
            }
            client.release().await;
        }
    }
    near.release().await;
}

/// A second allocation, each permitted at the other: how two clients meet that are both relayed.
async fn second_allocation(probe: &mut Probe<'_>, near: &mut Client, relayed: SocketAddr) -> Option<Far> {
    let (_, client) = probe.connect(near.server()).await;
    let mut client = match client {
        Ok(client) => client,
        Err(error) => {
            probe.report.warnings.push(format!("a second connection fails: {error}"));
            return None;
        }
    };
    let second = match client.allocate(relayed.is_ipv6()).await {
        Ok(second) => second,
        Err(error) => {
            // One allocation is not enough for a call.
            probe.fail(Step::Allocation, &error);
            return None;
        }
    };
    let permitted = match near.permit(second.relayed.ip()).await {
        Ok(rtt) => {
            probe.report.permission_ms = Some(millis(rtt));
            client.permit(relayed.ip()).await
        }
        refused => refused,
    };
    match permitted {
        Ok(_) => Some(Far::Allocation(Box::new(client))),
        Err(error) => {
            probe.fail(Step::Permission, &error);
            client.release().await;
            None
        }
    }
}

/// Between two allocations nothing needs to leave the server, so a firewall before its relay ports, or an address that is
/// not its own, shows to others only. A warning: it may as well be this machine's network that lets no UDP through.
async fn direct(probe: &mut Probe<'_>, near: &mut Client, allocation: &Allocation) {
    let relayed = allocation.relayed;
    let Some(seen) = allocation.mapped.filter(|mapped| mapped.is_ipv4() == relayed.is_ipv4()) else { return };
    if near.permit(seen.ip()).await.is_err() {
        return;
    }
    let Ok(socket) = UdpSocket::bind(any(relayed)).await else { return };
    let mut far = Far::Socket(socket);
    let mut reached = false;
    for number in 0..DIRECT_TRIES {
        let mark = format!("harness probe direct {number} {:016x}", nonce()).into_bytes();
        if let Ok(Ok(_)) = timeout(PATIENCE, round_trip(near, relayed, &mut far, &mark)).await {
            reached = true;
            break;
        }
    }
    if let Some(relay) = &mut probe.report.relay {
        relay.direct = Some(reached);
    }
    if !reached {
        probe.report.warnings.push(format!(
            "nothing came through from this machine straight to {relayed}: unless UDP is blocked here, peers that are not \
             relayed themselves cannot reach it; open the server's relay ports (49152-65535), and check its external \
             address (coturn: external-ip)"
        ));
    }
}

/// A UDP socket of this machine, permitted by the address that the server saw of it.
async fn own_socket(probe: &mut Probe<'_>, near: &mut Client, allocation: &Allocation) -> Option<Far> {
    let seen = allocation.mapped.or_else(|| probe.report.stun.as_ref().map(|stun| stun.mapped))?.ip();
    if seen.is_ipv4() != allocation.relayed.is_ipv4() {
        probe.report.warnings.push("the relay is not tried: it is of another address family than this machine".into());
        return None;
    }
    match near.permit(seen).await {
        Ok(rtt) => {
            probe.report.permission_ms.get_or_insert_with(|| millis(rtt));
        }
        Err(error) => {
            let told = probe.report.faults.iter().any(|fault| fault.step == Step::Permission);
            if !told {
                probe.fail(Step::Permission, &error);
            }
            return None;
        }
    }
    match UdpSocket::bind(any(allocation.relayed)).await {
        Ok(socket) => Some(Far::Socket(socket)),
        Err(error) => {
            probe.report.warnings.push(format!("the relay is not tried: no UDP socket on this machine: {error}"));
            None
        }
    }
}

/// Any address of the same family, any port.
fn any(address: SocketAddr) -> SocketAddr {
    let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    SocketAddr::new(any, 0)
}

/// Datagrams from the far end to the near one and back; gives the address at which the near end sees the far one.
async fn round_trips(
    probe: &mut Probe<'_>,
    near: &mut Client,
    relayed: SocketAddr,
    far: &mut Far,
) -> Option<SocketAddr> {
    let (mut sent, mut times, mut peer) = (0, Vec::new(), None);
    let mut broken = None;
    while sent < ROUND_TRIPS && (sent < HOPELESS || !times.is_empty()) {
        let mark = format!("harness probe {sent:04} {:016x}", nonce()).into_bytes();
        sent += 1;
        let started = Instant::now();
        match timeout(PATIENCE, round_trip(near, relayed, far, &mark)).await {
            Ok(Ok(seen)) => {
                times.push(started.elapsed());
                peer = Some(seen);
            }
            Ok(Err(error)) => {
                broken = Some(error);
                break;
            }
            Err(_) => {}
        }
    }
    times.sort_unstable();
    let rtt_ms = times.get(times.len() / 2).copied().map(millis);
    let between = if matches!(far, Far::Socket(_)) { Partner::OwnSocket } else { Partner::SecondAllocation };
    let returned = u32::try_from(times.len()).unwrap_or(u32::MAX);
    probe.report.relay = Some(RelayReport { between, sent, returned, rtt_ms, direct: None });
    match (broken, peer) {
        (Some(error), _) => {
            probe.fail(Step::RelayRoundTrip, &error);
            None
        }
        (None, Some(peer)) => Some(peer),
        (None, None) => {
            let message = format!("allocated and permitted, but none of {sent} datagrams came through {relayed}");
            let class = FaultClass::RelayDropsPackets;
            probe.report.faults.push(Fault::observed(Step::RelayRoundTrip, class, message, probe.url));
            None
        }
    }
}

async fn round_trip(
    near: &mut Client,
    relayed: SocketAddr,
    far: &mut Far,
    mark: &[u8],
) -> Result<SocketAddr, ClientError> {
    far.send(relayed, mark).await?;
    let peer = loop {
        let (peer, payload) = near.receive().await?;
        if payload == mark {
            break peer;
        }
    };
    near.send(peer, mark).await?;
    while far.receive().await? != mark {}
    Ok(peer)
}

/// A paced stream from the near end to the far one, over a channel as media goes.
async fn goodput(
    duration: Duration,
    near: &mut Client,
    peer: SocketAddr,
    far: &mut Far,
) -> Result<Goodput, ClientError> {
    match near.bind_channel(peer).await {
        // Without channels the stream goes in Send indications.
        Err(ClientError::Refusal(Refusal { .. })) | Ok(()) => {}
        Err(error) => return Err(error),
    }
    let run = nonce();
    let interval = Duration::from_secs_f64(PAYLOAD as f64 * 8.0 / OFFERED_BPS);
    let total = (duration.as_secs_f64() / interval.as_secs_f64()).ceil().max(1.0) as u64;
    let started = Instant::now();
    let finish = started + interval.mul_f64(total as f64) + STRAGGLERS;

    let send = async {
        for number in 0..total {
            sleep_until((started + interval.mul_f64(number as f64)).into()).await;
            near.send(peer, &payload(run, number)).await?;
        }
        Ok::<_, ClientError>(())
    };
    let receive = async {
        let mut arrived = vec![false; usize::try_from(total).unwrap_or(0)];
        let (mut corrupt, mut last) = (0, started);
        while arrived.contains(&false) {
            let Ok(received) = timeout_at(finish.into(), far.receive()).await else { break };
            let received = received?;
            let Some(number) = number_of(run, &received) else { continue };
            let Some(slot) = usize::try_from(number).ok().and_then(|number| arrived.get_mut(number)) else { continue };
            if received == payload(run, number) {
                *slot = true;
                last = Instant::now();
            } else {
                corrupt += 1;
            }
        }
        let received = arrived.iter().filter(|arrived| **arrived).count() as u64;
        Ok::<_, ClientError>((received, corrupt, last))
    };
    let ((), (received, corrupt, last)) = tokio::try_join!(send, receive)?;
    // The first datagram stands for the interval before it.
    let seconds = (last.duration_since(started) + interval).max(interval.mul_f64(total as f64));
    Ok(Goodput {
        offered_bps: OFFERED_BPS,
        goodput_bps: received as f64 * PAYLOAD as f64 * 8.0 / seconds.as_secs_f64(),
        sent: total,
        received,
        corrupt,
        loss_ratio: 1.0 - received as f64 / total as f64,
        payload_bytes: PAYLOAD,
    })
}

fn judge(probe: &mut Probe<'_>, goodput: &Goodput) {
    if goodput.loss_ratio > LOSS || goodput.corrupt > 0 {
        let Goodput { sent, received, corrupt, .. } = goodput;
        let message = format!("of {sent} datagrams {received} came through unchanged, {corrupt} changed");
        let class = FaultClass::RelayLosesPackets;
        probe.report.faults.push(Fault::observed(Step::Goodput, class, message, probe.url));
    }
}

impl Far {
    async fn send(&mut self, to: SocketAddr, payload: &[u8]) -> Result<(), ClientError> {
        match self {
            Self::Allocation(client) => client.send(to, payload).await,
            Self::Socket(socket) => {
                socket.send_to(payload, to).await.map(drop).map_err(|error| ClientError::from_io(to, error))
            }
        }
    }

    async fn receive(&mut self) -> Result<Bytes, ClientError> {
        match self {
            Self::Allocation(client) => client.receive().await.map(|(_, payload)| payload),
            Self::Socket(socket) => {
                let mut buffer = vec![0; 2048];
                let here = socket.local_addr().unwrap_or_else(|_| SocketAddr::new([0; 4].into(), 0));
                let (length, _) =
                    socket.recv_from(&mut buffer).await.map_err(|error| ClientError::from_io(here, error))?;
                buffer.truncate(length);
                Ok(buffer.into())
            }
        }
    }
}

/// A number that no other probe has.
fn nonce() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Number `number` of a run: both, then bytes that follow from them.
fn payload(run: u64, number: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PAYLOAD + 8);
    bytes.extend(run.to_be_bytes());
    bytes.extend(number.to_be_bytes());
    // Splitmix64: what a middlebox repeats, shifts or zeroes does not look like it.
    let mut state = run ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while bytes.len() < PAYLOAD {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((mixed ^ (mixed >> 31)).to_be_bytes());
    }
    bytes.truncate(PAYLOAD);
    bytes
}

/// The number of a datagram of this run.
fn number_of(run: u64, bytes: &[u8]) -> Option<u64> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    let (number, _) = rest.split_first_chunk::<8>()?;
    (u64::from_be_bytes(*head) == run).then(|| u64::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_tells_its_run_and_number_and_every_byte_counts() {
        let bytes = payload(7, 3);
        assert_eq!((bytes.len(), number_of(7, &bytes), number_of(8, &bytes)), (PAYLOAD, Some(3), None));
        assert_ne!(bytes[16..], payload(7, 4)[16..]);
        assert_eq!(number_of(7, b"short"), None);
    }
}
