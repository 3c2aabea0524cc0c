//! What a client shows to a server.

use std::time::Duration;

use super::{Secret, time_limited};

/// A user name and its password (RFC 8489, section 9.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Login {
    username: String,
    password: Secret,
}

impl Login {
    /// A user name and its password.
    pub fn new(username: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self { username: username.into(), password: password.into() }
    }

    /// One for a limited time, made from the secret that the server shares with its application: see [`time_limited`].
    pub fn time_limited(secret: &Secret, user: &str, expiry: Duration) -> Self {
        let (username, password) = time_limited(secret, user, expiry);
        Self { username, password }
    }

    /// The user name.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The password.
    pub fn password(&self) -> &Secret {
        &self.password
    }

    /// How long ago it expired, if its user name holds a time that has passed, on either side of the user as applications
    /// have it. `now` is the time since 1970.
    pub fn expired_since(&self, now: Duration) -> Option<Duration> {
        // Nine digits: from 1973 on, so that a numeric user name is not taken for a time.
        let mut times = self.username.split(':').filter(|part| part.len() >= 9).filter(|part| super::is_number(part));
        let expiry = times.find_map(|part| part.parse().ok().map(Duration::from_secs))?;
        (expiry < now).then(|| now - expiry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_makes_the_password_that_servers_expect() {
        // printf 1600003600:alice | openssl dgst -sha1 -hmac north -binary | base64
        let login = Login::time_limited(&"north".into(), "alice", Duration::from_secs(1_600_003_600));
        assert_eq!(login, Login::new("1600003600:alice", "sYkA/EzXmqbJaUTgIDzArenFQu0="));
        assert_eq!(Login::time_limited(&"north".into(), "", Duration::from_secs(10)).username(), "10");
    }

    #[test]
    fn only_a_user_name_with_a_past_time_has_expired() {
        let now = Duration::from_secs(1_600_000_600);
        let expired = |username: &str| Login::new(username, "x").expired_since(now);
        assert_eq!(expired("1600000000:alice"), Some(Duration::from_secs(600)));
        assert_eq!(expired("alice:1600000000"), Some(Duration::from_secs(600)));
        assert_eq!(expired("1600000000"), Some(Duration::from_secs(600)));
        assert_eq!(expired("1600009999:alice"), None);
        assert_eq!(expired("4711:alice"), None);
        assert_eq!(expired("alice"), None);
    }

    #[test]
    fn the_password_is_not_shown() {
        assert!(!format!("{:?}", Login::new("alice", "hunter2")).contains("hunter2"));
    }
}
