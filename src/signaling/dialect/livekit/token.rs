//! Access tokens: JSON Web Tokens (RFC 7519) that an API key's secret signs, each for one identity in one room.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

/// How long a token is valid, in seconds: the server looks at it when the client connects, and only then.
const VALID: u64 = 10 * 60;
/// How far the clock of the server may be behind, in seconds.
const SKEW: u64 = 60;

/// What a client may do, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant<'a> {
    pub(super) identity: &'a str,
    pub(super) room: &'a str,
    /// Or else subscribe.
    pub(super) publishes: bool,
}

/// The token for a grant at this time, in seconds since 1970.
pub(super) fn sign(key: &str, secret: &str, grant: Grant<'_>, now: u64) -> String {
    let Grant { identity, room, publishes } = grant;
    let video = json!({"roomJoin": true, "room": room, "canPublish": publishes, "canSubscribe": !publishes});
    let claims =
        json!({"iss": key, "sub": identity, "nbf": now.saturating_sub(SKEW), "exp": now + VALID, "video": video});
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encode(&json!({"alg": "HS256", "typ": "JWT"})), encode(&claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_who_may_do_what_and_is_signed() {
        let grant = Grant { identity: "bot/0", room: "r", publishes: true };
        let token = sign("devkey", "secret", grant, 1_000);
        let parts: Vec<_> = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
        let [header, claims, signature] = &parts[..] else { panic!("{token}") };
        let read = |part: &[u8]| serde_json::from_slice::<Value>(part).unwrap();
        assert_eq!(read(header), json!({"alg": "HS256", "typ": "JWT"}));
        let video = json!({"roomJoin": true, "room": "r", "canPublish": true, "canSubscribe": false});
        assert_eq!(read(claims), json!({"iss": "devkey", "sub": "bot/0", "nbf": 940, "exp": 1_600, "video": video}));
        let signed = token.rsplit_once('.').unwrap().0.as_bytes();
        let key = |secret: &str| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        hmac::verify(&key("secret"), signed, signature).unwrap();
        hmac::verify(&key("another"), signed, signature).unwrap_err();
    }
}
