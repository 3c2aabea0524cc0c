//! Who asks for an allocation: long-term credentials (RFC 8489, section 9.2), also time-limited ones (the TURN REST API).

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rtc::crypto::{self, HmacAlgorithm};

use super::error::ClientError;

/// A user name and its password.
#[derive(Clone, Eq, PartialEq)]
pub struct Credentials {
    username: String,
    password: String,
}

impl Credentials {
    /// A user name and its password.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self { username: username.into(), password: password.into() }
    }

    /// Time-limited credentials, made from the secret that the server shares with its application: the user name is
    /// `expiry` or `expiry:user`, the password base64 of HMAC-SHA1 over it.
    ///
    /// # Errors
    ///
    /// No HMAC-SHA1 in this build.
    pub fn from_secret(
        secret: &str,
        user: Option<&str>,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Self, ClientError> {
        let expiry = seconds(now).saturating_add(lifetime.as_secs());
        let username = user.map_or_else(|| expiry.to_string(), |user| format!("{expiry}:{user}"));
        let failed = |error: crypto::CryptoError| ClientError::Internal(error.to_string());
        let provider = crypto::default_provider().map_err(failed)?;
        let mut tag = [0; 20];
        let mut mac = provider.crypto().new_hmac(HmacAlgorithm::Sha1, secret.as_bytes()).map_err(failed)?;
        mac.sign(&[username.as_bytes()], &mut tag).map_err(failed)?;
        Ok(Self { username, password: STANDARD.encode(tag) })
    }

    /// The user name.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// How long ago these credentials expired, if their user name holds a time that has passed.
    pub fn expired_since(&self, now: SystemTime) -> Option<Duration> {
        let now = seconds(now);
        // Nine digits: from 1973 on, so that a numeric user name is not taken for a time.
        let expiry = self
            .username
            .split(':')
            .filter(|part| part.len() >= 9 && part.bytes().all(|byte| byte.is_ascii_digit()))
            .find_map(|part| part.parse::<u64>().ok())?;
        (expiry < now).then(|| Duration::from_secs(now - expiry))
    }

    pub(super) fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Credentials {
    /// Leaves out the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Whole seconds since 1970.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_secret_makes_the_password_that_servers_expect() {
        // printf 1600003600:alice | openssl dgst -sha1 -hmac north -binary | base64
        let made = Credentials::from_secret("north", Some("alice"), at(1_600_000_000), Duration::from_secs(3600));
        let made = made.unwrap();
        assert_eq!(made.username(), "1600003600:alice");
        assert_eq!(made.password(), "sYkA/EzXmqbJaUTgIDzArenFQu0=");
        let nameless = Credentials::from_secret("north", None, at(5), Duration::from_secs(5)).unwrap();
        assert_eq!(nameless.username(), "10");
    }

    #[test]
    fn only_a_user_name_with_a_past_time_has_expired() {
        let expired = |username: &str| Credentials::new(username, "x").expired_since(at(1_600_000_600));
        assert_eq!(expired("1600000000:alice"), Some(Duration::from_secs(600)));
        assert_eq!(expired("alice:1600000000"), Some(Duration::from_secs(600)));
        assert_eq!(expired("1600000000"), Some(Duration::from_secs(600)));
        assert_eq!(expired("1600009999:alice"), None);
        assert_eq!(expired("4711:alice"), None);
        assert_eq!(expired("alice"), None);
    }

    #[test]
    fn the_password_is_not_shown() {
        assert!(!format!("{:?}", Credentials::new("alice", "hunter2")).contains("hunter2"));
    }
}
