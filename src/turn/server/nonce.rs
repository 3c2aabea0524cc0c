//! Nonces that need no memory: the time at which one was made, and a signature.

use std::time::Duration;

use ring::hmac;

const TIME_DIGITS: usize = 10;
const TAG_BYTES: usize = 8;

/// Makes and checks nonces. Times are since the server started.
#[derive(Debug)]
pub(super) struct Nonces {
    key: hmac::Key,
    lifetime: Duration,
}

impl Nonces {
    pub(super) fn new(key: &[u8], lifetime: Duration) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), lifetime }
    }

    pub(super) fn make(&self, now: Duration) -> String {
        let mut nonce = format!("{:0width$x}", now.as_millis() as u64, width = TIME_DIGITS);
        let tag = self.tag(&nonce);
        nonce.push_str(&tag);
        nonce
    }

    pub(super) fn is_fresh(&self, nonce: &str, now: Duration) -> bool {
        let Some((time, tag)) = nonce.split_at_checked(TIME_DIGITS) else { return false };
        let Ok(millis) = u64::from_str_radix(time, 16) else { return false };
        // Nothing secret is compared: a nonce is sent in the clear, and a guessed one only saves its maker a round trip.
        tag == self.tag(time) && now.saturating_sub(Duration::from_millis(millis)) < self.lifetime
    }

    fn tag(&self, time: &str) -> String {
        let tag = hmac::sign(&self.key, time.as_bytes());
        tag.as_ref()[..TAG_BYTES].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_lives_as_long_as_it_should() {
        let nonces = Nonces::new(b"key", Duration::from_secs(10));
        let nonce = nonces.make(Duration::from_secs(100));
        assert!(nonces.is_fresh(&nonce, Duration::from_millis(109_999)));
        assert!(!nonces.is_fresh(&nonce, Duration::from_secs(110)));
    }

    #[test]
    fn a_nonce_of_somebody_else_is_refused() {
        let nonces = Nonces::new(b"key", Duration::from_secs(10));
        let now = Duration::from_secs(1);
        let other = Nonces::new(b"another key", Duration::from_secs(10)).make(now);
        for nonce in ["", "bogus", "0000000bb8", "ääääääääää", &other] {
            assert!(!nonces.is_fresh(nonce, now), "{nonce}");
        }
    }
}
