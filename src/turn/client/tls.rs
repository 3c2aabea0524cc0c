//! TLS to a server: whom to trust, and what its certificate says, also when it is refused.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError as Fault, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::error::{ClientError, TlsFault};
use crate::lab::place::Stream;
use crate::signaling::CertificateError;
use crate::signaling::trust::{certificates_of_file, date, roots_of_system};

/// Whom to trust: the CAs of this machine, and one of the user's own.
#[derive(Clone, Debug)]
pub struct Trust {
    verifier: Arc<WebPkiServerVerifier>,
}

/// What a server showed of itself.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// `TLSv1.3` or `TLSv1.2`; `None` if the handshake did not come so far.
    pub version: Option<String>,
    /// The certificates, the server's own first.
    pub chain: Vec<Certificate>,
}

/// What a certificate says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// Whom it is for (RFC 4514).
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// The DNS names and addresses that it is for.
    pub names: Vec<String>,
    /// The start of its validity, in seconds since 1970.
    pub not_before: i64,
    /// Its end.
    pub not_after: i64,
}

impl Trust {
    /// Trusts what this machine trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured), and the CA in a PEM file.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or holds no certificate; a machine that trusts no CA, without a file.
    pub fn new(ca: Option<&Path>) -> Result<Self, CertificateError> {
        let mut roots = match (roots_of_system(), ca) {
            (Ok(roots), _) => roots,
            (Err(_), Some(_)) => RootCertStore::empty(),
            (Err(error), None) => return Err(error),
        };
        if let Some(path) = ca {
            for certificate in certificates_of_file(path)? {
                roots.add(certificate).map_err(|source| CertificateError::Unusable { path: path.into(), source })?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let verifier = verifier.map_err(|error| CertificateError::Tls(rustls::Error::General(error.to_string())))?;
        Ok(Self { verifier })
    }

    /// Makes TLS with a server. What it showed is returned also when it is refused.
    pub(crate) async fn connect(
        &self,
        host: &str,
        stream: Box<dyn Stream>,
    ) -> (Shown, Result<Box<TlsStream<Box<dyn Stream>>>, TlsFault>) {
        let witness = Arc::new(Witness { inner: Arc::clone(&self.verifier), seen: Mutex::default() });
        let connected = handshake(host, stream, Arc::clone(&witness)).await;
        let seen = witness.seen.lock().map(|seen| seen.clone()).unwrap_or_default();
        let version = connected.as_ref().ok().and_then(|stream| stream.get_ref().1.protocol_version());
        let version = version.and_then(|version| version.as_str()).map(|name| name.replace('_', "."));
        let chain: Vec<_> = seen.iter().map(|der| Certificate::read(der)).collect();
        let connected = connected.map_err(|fault| match (fault, chain.first()) {
            // As the certificate spells them.
            (TlsFault::WrongName { host, .. }, Some(leaf)) => {
                TlsFault::WrongName { host, names: leaf.names.join(", ") }
            }
            (fault, _) => fault,
        });
        (Shown { version, chain }, connected)
    }
}

impl Certificate {
    /// Whole days from `now`, in seconds since 1970, to the end of its validity; negative once it has expired.
    pub fn days_left(&self, now: i64) -> i64 {
        (self.not_after - now).div_euclid(86_400)
    }

    fn read(der: &CertificateDer<'_>) -> Self {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else {
            let unreadable = "not readable".to_owned();
            return Self {
                subject: unreadable.clone(),
                issuer: unreadable,
                names: vec![],
                not_before: 0,
                not_after: 0,
            };
        };
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map(|names| names.value.general_names.iter().filter_map(name).collect()).unwrap_or_default();
        Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            names,
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
        }
    }
}

/// Decides as its inner verifier does, and remembers what was shown.
#[derive(Debug)]
struct Witness {
    inner: Arc<WebPkiServerVerifier>,
    seen: Mutex<Vec<CertificateDer<'static>>>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Ok(mut seen) = self.seen.lock() {
            *seen = std::iter::once(end_entity).chain(intermediates).map(|der| der.clone().into_owned()).collect();
        }
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

async fn handshake(
    host: &str,
    stream: Box<dyn Stream>,
    verifier: Arc<Witness>,
) -> Result<Box<TlsStream<Box<dyn Stream>>>, TlsFault> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| TlsFault::Handshake(format!("{host:?} is neither a name nor an address")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsFault::Handshake(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(sort(host, &error)),
    }
}

fn sort(host: &str, error: &std::io::Error) -> TlsFault {
    let other = || TlsFault::Handshake(error.to_string());
    let Some(fault) = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) else { return other() };
    let host = host.to_owned();
    match fault {
        rustls::Error::InvalidCertificate(fault) => match fault {
            Fault::UnknownIssuer | Fault::BadSignature => TlsFault::Untrusted,
            Fault::NotValidForName | Fault::NotValidForNameContext { .. } => {
                TlsFault::WrongName { host, names: String::new() }
            }
            Fault::Expired => TlsFault::Expired { detail: "has expired".into() },
            Fault::ExpiredContext { not_after, .. } => {
                TlsFault::Expired { detail: format!("expired at {}", date(*not_after)) }
            }
            Fault::NotValidYet => TlsFault::NotYetValid { detail: "is not valid yet".into() },
            Fault::NotValidYetContext { not_before, .. } => {
                TlsFault::NotYetValid { detail: format!("is not valid before {}", date(*not_before)) }
            }
            _ => other(),
        },
        rustls::Error::InvalidMessage(_) => TlsFault::Handshake("the server does not speak TLS on this port".into()),
        _ => other(),
    }
}

impl From<TlsFault> for ClientError {
    fn from(fault: TlsFault) -> Self {
        Self::Tls(fault)
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
            (Ok(v4), _) => Some(std::net::IpAddr::from(v4).to_string()),
            (_, Ok(v6)) => Some(std::net::IpAddr::from(v6).to_string()),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_tells_its_names_and_its_time() {
        let mut params =
            rcgen::CertificateParams::new(vec!["turn.example".to_owned(), "192.0.2.1".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 3, 1);
        let der = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let certificate = Certificate::read(der.der());
        assert_eq!(certificate.names, ["turn.example", "192.0.2.1"]);
        assert_eq!(certificate.subject, certificate.issuer);
        assert_eq!(certificate.days_left(certificate.not_before), 59);
        assert_eq!(certificate.days_left(certificate.not_after + 1), -1);
    }

    #[test]
    fn noise_is_not_readable() {
        assert_eq!(Certificate::read(&CertificateDer::from(vec![1, 2, 3])).subject, "not readable");
    }
}
