//! Repeated flights of the DTLS handshake.
//!
//! An end that waits for the next flight and hears the last one again has to go on waiting, its timer running, or to repeat
//! its own flight (RFC 6347, section 4.2.4). The stack stops its timer instead. Once a flight is lost, both ends' timers
//! run for the same second: the repetition of the one stops the timer of the other, which then repeats nothing any more,
//! and the handshake hangs. So the stack does not hear again what it has heard; its own timer brings the lost flight back.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

/// A flight has at most five messages; large certificates make some more fragments.
const MESSAGES: usize = 256;

const RECORD_HEADER: usize = 13;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// The handshake messages that a peer has heard before the keys were agreed on.
#[derive(Debug, Default)]
pub(super) struct HandshakeRepeats {
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    messages: HashSet<u64>,
    /// A ClientHello has come in.
    by_server: bool,
}

impl HandshakeRepeats {
    /// Whether all of a datagram has been heard before, and is to be left out.
    ///
    /// A server has to hear two flights again: the first ClientHello, because the request to verify it has no timer (RFC
    /// 6347, section 4.2.1), and the client's last flight, because its own last one has none.
    pub(super) fn is_repeat(&self, datagram: &[u8]) -> bool {
        if datagram.first() != Some(&HANDSHAKE) {
            return false;
        }
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut repeated = true;
        for record in Records(datagram) {
            repeated &= heard.is_repeat(record);
        }
        repeated
    }
}

impl Heard {
    fn is_repeat(&mut self, record: Option<&[u8]>) -> bool {
        // Type, epoch, and of the handshake message its type and number (RFC 6347, sections 4.1 and 4.2.2).
        let Some([HANDSHAKE, _, _, 0, 0, .., _, _]) = record.map(|it| &it[..RECORD_HEADER]) else { return false };
        let message = record.map_or(&[][..], |it| &it[RECORD_HEADER..]);
        let [kind, _, _, _, number_high, number_low, ..] = *message else { return false };
        let is_hello = kind == CLIENT_HELLO;
        self.by_server |= is_hello;
        if self.by_server && (!is_hello || (number_high, number_low) == (0, 0)) {
            return false;
        }
        let mut hasher = DefaultHasher::new();
        message.hash(&mut hasher);
        let message = hasher.finish();
        self.messages.contains(&message) || (self.messages.len() < MESSAGES && !self.messages.insert(message))
    }
}

/// The records of a datagram, each with its header; `None` for what is none.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let [_, _, _, _, _, _, _, _, _, _, _, high, low, ..] = *self.0 else {
            self.0 = &[];
            return Some(None);
        };
        let length = RECORD_HEADER + usize::from(u16::from_be_bytes([high, low]));
        let (record, rest) = self.0.split_at_checked(length).map_or((None, &[][..]), |(it, rest)| (Some(it), rest));
        self.0 = rest;
        Some(record)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use bytes::BytesMut;
    use rtc::dtls::config::{ClientAuthType, ConfigBuilder};
    use rtc::dtls::crypto::Certificate;
    use rtc::dtls::endpoint::{Endpoint, EndpointEvent};
    use rtc::shared::TransportProtocol;

    use super::*;

    const DELAY: Duration = Duration::from_millis(5);
    const DEADLINE: Duration = Duration::from_secs(20);

    struct End {
        endpoint: Endpoint,
        address: SocketAddr,
        repeats: Option<HandshakeRepeats>,
        sent: usize,
        done: Option<Duration>,
    }

    impl End {
        fn new(port: u16, is_client: bool, filters: bool) -> Self {
            let provider = rtc::crypto::default_provider().unwrap();
            let certificate = Certificate::generate_self_signed(vec!["test".to_owned()], provider.crypto()).unwrap();
            let config = || {
                let builder = ConfigBuilder::default()
                    .with_crypto_provider(Arc::clone(&provider))
                    .with_certificates(vec![certificate.clone()])
                    .with_client_auth(ClientAuthType::RequireAnyClientCert)
                    .with_insecure_skip_verify(true);
                Arc::new(builder.build(is_client, None).unwrap())
            };
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let server = (!is_client).then(config);
            let mut endpoint = Endpoint::new(address, TransportProtocol::UDP, server);
            if is_client {
                endpoint.connect(Instant::now(), ([127, 0, 0, 1], 2).into(), config(), None).unwrap();
            }
            Self { endpoint, address, repeats: filters.then(HandshakeRepeats::default), sent: 0, done: None }
        }
    }

    /// How long a handshake takes of whose datagrams those are lost that each end sends at these places; `None` if it
    /// hangs. Time is simulated.
    pub(in super::super) fn handshake(filters: bool, lost: [&[usize]; 2]) -> Option<Duration> {
        let start = Instant::now();
        let mut ends = [End::new(1, true, filters), End::new(2, false, filters)];
        let addresses = ends.each_ref().map(|end| end.address);
        let mut under_way: Vec<(Duration, usize, BytesMut)> = Vec::new();
        let mut now = Duration::ZERO;
        while now < DEADLINE {
            for (index, end) in ends.iter_mut().enumerate() {
                let other = addresses[1 - index];
                if end.endpoint.poll_timeout(&other).is_some_and(|due| due <= start + now) {
                    // It gives up after some repetitions.
                    end.endpoint.handle_timeout(other, start + now).ok()?;
                }
                while let Some(transmit) = end.endpoint.poll_transmit() {
                    if !lost[index].contains(&end.sent) {
                        under_way.push((now + DELAY, 1 - index, transmit.message));
                    }
                    end.sent += 1;
                }
            }
            for (_, index, datagram) in under_way.extract_if(.., |(at, _, _)| *at <= now) {
                let end = &mut ends[index];
                if end.repeats.as_ref().is_some_and(|repeats| repeats.is_repeat(&datagram)) {
                    continue;
                }
                let events = end.endpoint.read(start + now, addresses[1 - index], None, datagram).unwrap();
                if events.iter().any(|event| matches!(event, EndpointEvent::HandshakeComplete)) {
                    end.done = Some(now);
                }
            }
            if let [Some(a), Some(b)] = ends.each_ref().map(|end| end.done) {
                return Some(a.max(b));
            }
            now += Duration::from_millis(1);
        }
        None
    }

    #[test]
    fn without_loss_nothing_is_left_out() {
        let plain = handshake(false, [&[], &[]]).expect("it completes");
        assert_eq!(handshake(true, [&[], &[]]), Some(plain));
    }

    #[test]
    fn whichever_datagrams_are_lost_the_handshake_completes() {
        let losses: [&[usize]; 7] = [&[], &[0], &[1], &[2], &[0, 1], &[1, 2], &[2, 3]];
        for by_client in losses {
            for by_server in losses {
                let taken = handshake(true, [by_client, by_server]);
                assert!(taken.is_some(), "hangs with {by_client:?} of the client and {by_server:?} of the server lost");
            }
        }
    }

    #[test]
    fn what_is_no_handshake_is_heard_each_time() {
        let repeats = HandshakeRepeats::default();
        for datagram in [&[23, 254, 253, 0, 1][..], &[22], &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1], &[]] {
            assert!(!repeats.is_repeat(datagram) && !repeats.is_repeat(datagram), "{datagram:?}");
        }
    }
}
