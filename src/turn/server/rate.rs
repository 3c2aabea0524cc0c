//! How much a stranger is answered.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// More strangers than this at a time are not told apart: the flood comes from forged addresses.
const STRANGERS: usize = 65_536;

/// A token bucket of one second for each IP address.
#[derive(Debug)]
pub(super) struct RateLimit {
    per_second: f64,
    buckets: HashMap<IpAddr, Bucket>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl RateLimit {
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second), buckets: HashMap::new(), swept: None }
    }

    /// Whether one more answer may be sent.
    pub(super) fn allows(&mut self, now: Instant, address: IpAddr) -> bool {
        if self.buckets.len() >= STRANGERS && !self.buckets.contains_key(&address) {
            self.sweep(now);
            if self.buckets.len() >= STRANGERS {
                return false;
            }
        }
        let full = Bucket { tokens: self.per_second, filled: now };
        let bucket = self.buckets.entry(address).or_insert(full);
        if bucket.refill(now, self.per_second) < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }

    /// Forgets those who have not been here for a second; no more often than that, because it takes its time.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now < swept + Duration::from_secs(1)) {
            return;
        }
        let per_second = self.per_second;
        self.buckets.retain(|_, bucket| bucket.refill(now, per_second) < per_second);
        self.swept = Some(now);
    }
}

impl Bucket {
    fn refill(&mut self, now: Instant, per_second: f64) -> f64 {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + elapsed * per_second).min(per_second);
        self.filled = now;
        self.tokens
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn each_address_has_its_own_allowance_which_comes_back() {
        let start = Instant::now();
        let mut limit = RateLimit::new(10);
        let [a, b] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        let allowed = |limit: &mut RateLimit, now, address| (0..50).filter(|_| limit.allows(now, address)).count();
        assert_eq!(allowed(&mut limit, start, a), 10);
        assert_eq!(allowed(&mut limit, start, b), 10);
        assert_eq!(allowed(&mut limit, start + Duration::from_millis(500), a), 5);
        assert_eq!(allowed(&mut limit, start + Duration::from_secs(60), a), 10);
    }

    #[test]
    fn forged_addresses_take_no_memory_without_end() {
        let start = Instant::now();
        let mut limit = RateLimit::new(1);
        for bits in 0..STRANGERS as u32 + 10 {
            limit.allows(start, Ipv4Addr::from_bits(bits).into());
        }
        assert_eq!(limit.buckets.len(), STRANGERS);
        assert!(limit.allows(start + Duration::from_secs(2), Ipv4Addr::from_bits(u32::MAX).into()));
        assert_eq!(limit.buckets.len(), 1);
    }
}
