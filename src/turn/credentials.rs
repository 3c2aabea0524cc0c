//! TURN credentials: names and passwords, and those that anybody with a shared secret makes for a limited time.

mod login;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest, Md5};
use ring::hmac;

pub use self::login::Login;

/// A text that stays out of logs and reports: its `Debug` output is a placeholder.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The key of MESSAGE-INTEGRITY.
#[derive(Clone)]
pub struct Key(hmac::Key);

impl Key {
    /// Length of the HMAC-SHA1, in bytes.
    pub const TAG_BYTES: usize = 20;

    /// The key of the long-term mechanism: MD5 of name, realm and password (RFC 8489, section 18.5.1.1).
    pub fn long_term(username: &str, realm: &str, password: &Secret) -> Self {
        let mut md5 = Md5::new();
        for part in [username, ":", realm, ":", password.expose()] {
            md5.update(part);
        }
        Self(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &md5.finalize()))
    }

    /// HMAC-SHA1 of the concatenated parts.
    pub(super) fn sign(&self, parts: &[&[u8]]) -> [u8; Self::TAG_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        let mut tag = [0; Self::TAG_BYTES];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    /// Compares in constant time.
    pub(super) fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        hmac::verify(&self.0, &parts.concat(), tag).is_ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Who may use a TURN server.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    users: HashMap<String, Secret>,
    secret: Option<Secret>,
}

/// Why a user has no key. Clients cannot tell them apart: both are a 401.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Denial {
    /// No such user.
    Unknown,
    /// The time in the user name has passed.
    Expired,
}

impl Credentials {
    /// Nobody.
    pub fn none() -> Self {
        Self::default()
    }

    /// Also a user with a password.
    pub fn with_user(mut self, name: impl Into<String>, password: impl Into<Secret>) -> Self {
        self.users.insert(name.into(), password.into());
        self
    }

    /// Also everybody with a user name and password made from this secret, as of [`time_limited`].
    pub fn with_secret(mut self, secret: impl Into<Secret>) -> Self {
        self.secret = Some(secret.into());
        self
    }

    /// The key of a user. `now` is the time since 1970.
    pub(super) fn key(&self, username: &str, realm: &str, now: Duration) -> Result<Key, Denial> {
        if let Some(password) = self.users.get(username) {
            return Ok(Key::long_term(username, realm, password));
        }
        let (Some(secret), Some(expiry)) = (&self.secret, expiry(username)) else { return Err(Denial::Unknown) };
        if expiry <= now {
            return Err(Denial::Expired);
        }
        Ok(Key::long_term(username, realm, &password(secret, username)))
    }

    /// Whose quota a user name draws on: credentials that differ in their time only are one user's.
    pub(super) fn account<'a>(&self, username: &'a str) -> &'a str {
        if self.secret.is_none() || self.users.contains_key(username) || expiry(username).is_none() {
            return username;
        }
        username.split_once(':').map_or("", |(_, user)| user)
    }
}

/// A user name and password for a limited time: `expiry:user`, and Base64 of its HMAC-SHA1 under the shared secret
/// ("A REST API For Access To TURN Services", draft-uberti-behave-turn-rest-00). `expiry` is a time since 1970, of which
/// whole seconds count.
pub fn time_limited(secret: &Secret, user: &str, expiry: Duration) -> (String, Secret) {
    let seconds = expiry.as_secs();
    let username = if user.is_empty() { seconds.to_string() } else { format!("{seconds}:{user}") };
    let password = password(secret, &username);
    (username, password)
}

fn password(secret: &Secret, username: &str) -> Secret {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.expose().as_bytes());
    Secret(BASE64_STANDARD.encode(hmac::sign(&key, username.as_bytes())))
}

fn expiry(username: &str) -> Option<Duration> {
    let seconds = username.split_once(':').map_or(username, |(seconds, _)| seconds);
    if is_number(seconds) { seconds.parse().ok().map(Duration::from_secs) } else { None }
}

/// Digits and nothing else, which `parse` alone does not demand.
fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000_000_000);

    #[test]
    fn the_long_term_key_is_the_one_of_the_standard() {
        // RFC 8489, section 18.5.1.1: MD5("user:realm:pass") is 0x8493fbc53ba582fb4c044c456bdc40eb.
        let key = [0x84, 0x93, 0xfb, 0xc5, 0x3b, 0xa5, 0x82, 0xfb, 0x4c, 0x04, 0x4c, 0x45, 0x6b, 0xdc, 0x40, 0xeb];
        let expected = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key), b"text");
        assert_eq!(Key::long_term("user", "realm", &"pass".into()).sign(&[b"te", b"xt"]), expected.as_ref());
    }

    #[test]
    fn a_time_limited_user_is_let_in_until_the_time_has_come() {
        let secret = Secret::from("north");
        let credentials = Credentials::none().with_secret("north");
        let (username, password) = time_limited(&secret, "alice", NOW + Duration::from_secs(1));
        assert_eq!(username, "1000000001:alice");

        let key = credentials.key(&username, "realm", NOW).unwrap();
        assert_eq!(key.sign(&[b"x"]), Key::long_term(&username, "realm", &password).sign(&[b"x"]));
        assert_eq!(credentials.key(&username, "realm", NOW + Duration::from_secs(1)).unwrap_err(), Denial::Expired);
        assert_eq!(credentials.key("alice", "realm", NOW).unwrap_err(), Denial::Unknown);
        assert_eq!(credentials.key("+1000000009:alice", "realm", NOW).unwrap_err(), Denial::Unknown);
    }

    #[test]
    fn the_password_is_the_one_that_other_tools_make() {
        // printf 1000000001:alice | openssl dgst -sha1 -hmac north -binary | base64
        let (_, password) = time_limited(&"north".into(), "alice", NOW + Duration::from_secs(1));
        assert_eq!(password.expose(), "7/uyPENVfEb6rY1TiSeKyeQBGQ8=");
    }

    #[test]
    fn credentials_that_differ_in_time_only_share_an_account() {
        let credentials = Credentials::none().with_secret("north").with_user("17:bob", "x");
        assert_eq!(credentials.account("1000000001:alice"), credentials.account("1000000002:alice"));
        assert_eq!(credentials.account("17:bob"), "17:bob");
        assert_eq!(Credentials::none().account("1:a"), "1:a");
    }

    #[test]
    fn nothing_secret_is_printed() {
        let credentials = Credentials::none().with_user("bob", "hunter2").with_secret("north");
        let key = Key::long_term("bob", "realm", &"hunter2".into());
        let printed = format!("{credentials:?} {key:?}");
        assert!(!printed.contains("hunter2") && !printed.contains("north"), "{printed}");
    }
}
