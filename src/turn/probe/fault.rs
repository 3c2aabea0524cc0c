//! What can be wrong with a server: one class for each thing that is repaired in its own way.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::report::{Step, Verdict};
use super::unix_now;
use crate::turn::client::{ClientError, IceUrl, Refusal, Scheme, TlsFault, Transport};
use crate::turn::credentials::Login;

/// Something that is wrong.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
pub struct Fault {
    /// Where it showed.
    pub step: Step,
    /// What it is.
    pub class: FaultClass,
    /// The STUN error code of the server (RFC 8489, section 14.8; RFC 8656, section 19), if it gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// What happened.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultClass {
    /// The name does not resolve.
    DnsFailed,
    /// No name server answers here.
    DnsUnavailable,
    /// This machine has no route to the address.
    NoRoute,
    /// Nothing listens on the port.
    ConnectionRefused,
    /// No TCP connection, or no TLS handshake, in time.
    TimedOut,
    /// The certificate comes from a CA that is not trusted, or its intermediates are missing.
    TlsUntrusted,
    /// The certificate is for another name.
    TlsNameMismatch,
    /// The certificate's time is over.
    TlsExpired,
    /// The certificate's time has not come.
    TlsNotYetValid,
    /// TLS fails for another reason.
    TlsFailed,
    /// The server ended the connection.
    ConnectionClosed,
    /// No STUN message came back.
    StunNoAnswer,
    /// 401 to the credentials.
    Unauthorized,
    /// 401 to time-limited credentials whose time is over.
    CredentialsExpired,
    /// 438 again and again.
    StaleNonce,
    /// 300: the server sends its clients elsewhere.
    TryAlternate,
    /// 403: the server does not relay to that peer.
    Forbidden,
    /// 437: the connection has an allocation already, or has none.
    AllocationMismatch,
    /// 440: no relay addresses of that family.
    FamilyUnsupported,
    /// 441: other credentials than those of the allocation.
    WrongCredentials,
    /// 442: the server does not relay UDP.
    TransportUnsupported,
    /// 443: the peer's address is of another family than the allocation.
    PeerFamilyMismatch,
    /// 486: the user holds as many allocations as it may.
    QuotaReached,
    /// 508: the server has no relay ports left.
    InsufficientCapacity,
    /// Another error code.
    Refused,
    /// Nothing came through the relay.
    RelayDropsPackets,
    /// A good part of what was sent did not come through, or came through changed.
    RelayLosesPackets,
    /// The server sent what the protocol does not allow.
    ProtocolBroken,
    /// This program failed.
    Internal,
}

impl FaultClass {
    /// What it makes of the probe.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::DnsUnavailable | Self::NoRoute => Verdict::Invalid,
            Self::Internal => Verdict::Error,
            _ => Verdict::Fail,
        }
    }
}

impl fmt::Display for FaultClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl Fault {
    /// Sorts an error of the client, and finds its remedy.
    pub(super) fn new(step: Step, error: &ClientError, url: &IceUrl, login: Option<&Login>) -> Self {
        let since = login.and_then(|login| login.expired_since(unix_now()));
        let mut message = error.to_string();
        let class = match error {
            // The resolver's words are the only thing that tells these apart.
            ClientError::Dns { source, .. } if source.to_string().contains("Temporary failure") => {
                FaultClass::DnsUnavailable
            }
            ClientError::Dns { .. } => FaultClass::DnsFailed,
            ClientError::NoRoute { .. } => FaultClass::NoRoute,
            ClientError::Refused { .. } => FaultClass::ConnectionRefused,
            ClientError::TimedOut { .. } if matches!(step, Step::TcpConnect | Step::Tls) => FaultClass::TimedOut,
            ClientError::TimedOut { .. } => FaultClass::StunNoAnswer,
            ClientError::Tls(fault) => match fault {
                TlsFault::Untrusted => FaultClass::TlsUntrusted,
                TlsFault::WrongName { .. } => FaultClass::TlsNameMismatch,
                TlsFault::Expired { .. } => FaultClass::TlsExpired,
                TlsFault::NotYetValid { .. } => FaultClass::TlsNotYetValid,
                TlsFault::Handshake(_) => FaultClass::TlsFailed,
            },
            ClientError::Closed { .. } | ClientError::Io { .. } => FaultClass::ConnectionClosed,
            ClientError::Protocol { .. } => FaultClass::ProtocolBroken,
            ClientError::Internal(_) => FaultClass::Internal,
            ClientError::Refusal(Refusal { code, alternate, .. }) => match code {
                300 => {
                    if let Some(alternate) = alternate {
                        message += &format!(": {alternate} is to be used instead");
                    }
                    FaultClass::TryAlternate
                }
                401 => match since {
                    Some(since) => {
                        let minutes = since.as_secs().div_ceil(60);
                        message += &format!(": the time-limited credential expired {minutes} minutes ago");
                        FaultClass::CredentialsExpired
                    }
                    None => FaultClass::Unauthorized,
                },
                403 => FaultClass::Forbidden,
                437 => FaultClass::AllocationMismatch,
                438 => FaultClass::StaleNonce,
                440 => FaultClass::FamilyUnsupported,
                441 => FaultClass::WrongCredentials,
                442 => FaultClass::TransportUnsupported,
                443 => FaultClass::PeerFamilyMismatch,
                486 => FaultClass::QuotaReached,
                508 => FaultClass::InsufficientCapacity,
                _ => FaultClass::Refused,
            },
        };
        let code = if let ClientError::Refusal(refusal) = error { Some(refusal.code) } else { None };
        let remedy = match (step, class) {
            // TCP connected: it is no firewall that looks at ports only.
            (Step::Tls, FaultClass::TimedOut) => remedy(FaultClass::TlsFailed, url),
            _ => remedy(class, url),
        };
        Self { step, class, code, message, remedy }
    }

    /// A fault that shows in what did not arrive.
    pub(super) fn observed(step: Step, class: FaultClass, message: String, url: &IceUrl) -> Self {
        Self { step, class, code: None, message, remedy: remedy(class, url) }
    }
}

/// What to do about it.
fn remedy(class: FaultClass, url: &IceUrl) -> String {
    let IceUrl { scheme, transport, host, port } = url;
    match class {
        FaultClass::DnsFailed => format!("check the spelling of {host}, and its A and AAAA records"),
        FaultClass::DnsUnavailable => "give this machine a name server (/etc/resolv.conf), or probe an address".into(),
        FaultClass::NoRoute => {
            "probe from a machine with a route to that address; for IPv6 this one may have none at all".into()
        }
        FaultClass::ConnectionRefused => {
            format!("start the server, or let it listen on {} port {port}", socket_kind(*transport))
        }
        FaultClass::TimedOut => {
            format!("open TCP port {port} in the firewalls on the way, and check that the server is not overloaded")
        }
        FaultClass::TlsUntrusted => {
            "install the full chain (certificate, then intermediates) at the server; for a CA of your own give --ca"
                .into()
        }
        FaultClass::TlsNameMismatch => {
            format!("issue the certificate for {host}, or use a name of the certificate in the URL")
        }
        FaultClass::TlsExpired => "renew the certificate and reload the server, or check this machine's clock".into(),
        FaultClass::TlsNotYetValid => "check the clocks of this machine and of the CA".into(),
        FaultClass::TlsFailed => {
            format!("check that the server speaks TLS on port {port}, and offers TLS 1.2 or 1.3")
        }
        FaultClass::ConnectionClosed => "look into the server's log: it ended the connection".into(),
        FaultClass::StunNoAnswer => match transport {
            Transport::Udp => {
                format!("open UDP port {port} in the firewalls on the way, and check that the server runs")
            }
            _ => format!("check that what listens on port {port} is a {} server", scheme_word(*scheme)),
        },
        FaultClass::Unauthorized => {
            "check user name, password or secret, and the realm; time-limited credentials also fail when clocks differ"
                .into()
        }
        FaultClass::CredentialsExpired => {
            "let the application fetch fresh credentials before each call and each ICE restart".into()
        }
        FaultClass::StaleNonce => {
            "behind a load balancer, send each client to the same server; then check its log".into()
        }
        FaultClass::TryAlternate => "probe the server that it names".into(),
        FaultClass::Forbidden => {
            "allow the peer in the server's rules (coturn: allowed-peer-ip, denied-peer-ip); clients that are both \
             relayed need the server's own relay addresses allowed"
                .into()
        }
        FaultClass::AllocationMismatch => {
            "look for something on the way that shares or reuses the connection's addresses".into()
        }
        FaultClass::FamilyUnsupported => "give the server a relay address of that family".into(),
        FaultClass::WrongCredentials => "use the credentials that made the allocation".into(),
        FaultClass::TransportUnsupported => "let the server relay UDP".into(),
        FaultClass::PeerFamilyMismatch => "use peers of the allocation's address family".into(),
        FaultClass::QuotaReached => {
            "raise the quota (coturn: user-quota, total-quota): a client holds one allocation per network interface \
             and TURN URL"
                .into()
        }
        FaultClass::InsufficientCapacity => "widen the range of relay ports (coturn: min-port, max-port)".into(),
        FaultClass::Refused => "look up the code, and the server's log".into(),
        FaultClass::RelayDropsPackets => {
            "open UDP from and to the server's relay ports (49152-65535), and check its external address (coturn: \
             external-ip) if it is behind NAT"
                .into()
        }
        FaultClass::RelayLosesPackets => {
            "check bandwidth limits (coturn: max-bps, bps-capacity), CPU and receive buffers of the server".into()
        }
        FaultClass::ProtocolBroken => {
            format!("check that what listens on port {port} is a {} server", scheme_word(*scheme))
        }
        FaultClass::Internal => "report it as a fault of the harness".into(),
    }
}

fn socket_kind(transport: Transport) -> &'static str {
    if transport == Transport::Udp { "UDP" } else { "TCP" }
}

fn scheme_word(scheme: Scheme) -> &'static str {
    if scheme == Scheme::Stun { "STUN" } else { "TURN" }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn refusal(code: u16) -> ClientError {
        ClientError::Refusal(Refusal {
            method: "Allocate",
            code,
            reason: "no".into(),
            alternate: None,
            unauthorized: 2,
            stale_nonces: 0,
        })
    }

    fn fault(error: &ClientError, username: &str) -> Fault {
        let url = "turn:a.example".parse().unwrap();
        Fault::new(Step::Allocation, error, &url, Some(&Login::new(username, "x")))
    }

    #[test]
    fn each_code_has_its_class() {
        for (code, class) in [
            (300, "try-alternate"),
            (401, "unauthorized"),
            (403, "forbidden"),
            (437, "allocation-mismatch"),
            (438, "stale-nonce"),
            (440, "family-unsupported"),
            (441, "wrong-credentials"),
            (442, "transport-unsupported"),
            (443, "peer-family-mismatch"),
            (486, "quota-reached"),
            (508, "insufficient-capacity"),
            (500, "refused"),
        ] {
            let fault = fault(&refusal(code), "alice");
            assert_eq!((fault.class.to_string().as_str(), fault.code), (class, Some(code)));
            assert!(fault.message.contains("Allocate") && !fault.remedy.is_empty());
        }
    }

    #[test]
    fn a_user_name_with_a_past_time_says_how_long_ago_it_expired() {
        let fault = fault(&refusal(401), &format!("{}:alice", unix_now().as_secs() - 600));
        assert_eq!(fault.class, FaultClass::CredentialsExpired);
        assert!(fault.message.contains("expired 10 minutes ago"), "{}", fault.message);
    }

    #[test]
    fn what_cannot_be_measured_from_here_is_not_the_servers_fault() {
        let address = "[2001:db8::1]:3478".parse().unwrap();
        let route = ClientError::from_io(address, io::ErrorKind::NetworkUnreachable.into());
        assert_eq!(fault(&route, "alice").class.verdict(), Verdict::Invalid);
        let dns = |words: &str| ClientError::Dns { host: "a".into(), source: io::Error::other(words.to_owned()) };
        assert_eq!(fault(&dns("Temporary failure in name resolution"), "a").class.verdict(), Verdict::Invalid);
        assert_eq!(fault(&dns("Name or service not known"), "a").class, FaultClass::DnsFailed);
    }
}
