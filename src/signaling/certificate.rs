//! The server's certificate: made for the run, or the user's own.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};

use super::Pin;
use super::address::{host_name, lan_addresses};
use super::trust;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Well below the 397 days that browsers accept (CA/Browser Forum baseline requirements, section 6.3.2).
const LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);

/// A certificate with its key, and what clients need to trust it.
#[derive(Clone)]
pub struct Identity {
    leaf: CertificateDer<'static>,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    ca: Option<Ca>,
    spki_sha256: [u8; 32],
}

/// A certificate and its private key, for programs that read them from files.
pub struct KeyPem {
    /// The certificate.
    pub certificate: String,
    /// The key: a secret.
    pub key: String,
}

#[derive(Clone)]
struct Ca {
    pem: String,
    sha256: [u8; 32],
}

/// Why there is no usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not the PEM file it should be.
    #[error("{} is not usable: {detail}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it lacks, and what to do about it.
        detail: String,
    },
    /// A file holds something that TLS cannot use.
    #[error("{} is not usable: {source}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The key is not the certificate's.
    #[error("the key in {} does not belong to the certificate in {}: give the pair that was issued together", key.display(), cert.display())]
    KeyMismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The certificate's time is over.
    #[error("the certificate in {} expired at {not_after}: renew it", cert.display())]
    Expired {
        /// The certificate's file.
        cert: PathBuf,
        /// When it expired, RFC 3339.
        not_after: String,
    },
    /// The certificate's time has not come.
    #[error("the certificate in {} is not valid before {not_before}: check this machine's clock", cert.display())]
    NotYetValid {
        /// The certificate's file.
        cert: PathBuf,
        /// When it becomes valid, RFC 3339.
        not_before: String,
    },
    /// The certificate does not come from the CA.
    #[error("the certificate in {} was not issued by {ca}: {remedy}", cert.display())]
    NotFromCa {
        /// The certificate's file.
        cert: PathBuf,
        /// The CA's file, or the machine's store.
        ca: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The machine trusts no CA.
    #[error(
        "this machine has no trusted CA certificates{detail}: install ca-certificates, or give the CA as a PEM file"
    )]
    NoSystemRoots {
        /// What went wrong while they were looked for, in brackets.
        detail: String,
    },
    /// No certificate could be made.
    #[error("cannot make a certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl Identity {
    /// A fresh CA and a leaf issued by it, both ECDSA P-256 and valid for 90 days: for localhost, 127.0.0.1, ::1, the
    /// host name, the LAN addresses and `also`. The CA's key is forgotten: nothing else can ever be issued by it.
    pub fn generate(also: &[IpAddr]) -> Result<Self, CertificateError> {
        Ok(Self::generate_named(also, &[])?.0)
    }

    /// As [`generate`](Self::generate), for these DNS names as well. Also gives certificate and key in PEM, for other
    /// programs.
    ///
    /// # Errors
    ///
    /// As those of `generate`; a name that is none.
    pub fn generate_named(also: &[IpAddr], names: &[&str]) -> Result<(Self, KeyPem), CertificateError> {
        // A day of grace for machines whose clock is behind.
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let not_before = rcgen::date_time_ymd(1970, 1, 1) + since_1970.saturating_sub(DAY);
        let not_after = not_before + DAY + LIFETIME;
        // Browsers keep several CAs of the same name apart badly.
        let mut suffix = [0; 4];
        random(&mut suffix)?;
        let suffix: String = suffix.iter().map(|byte| format!("{byte:02x}")).collect();

        let mut ca = CertificateParams::default();
        ca.distinguished_name = rcgen::DistinguishedName::new();
        ca.distinguished_name.push(DnType::CommonName, format!("harness test CA {suffix}"));
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (ca.not_before, ca.not_after) = (not_before, not_after);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;

        let mut leaf = CertificateParams::default();
        leaf.distinguished_name = rcgen::DistinguishedName::new();
        leaf.distinguished_name.push(DnType::CommonName, "harness signaling server");
        leaf.subject_alt_names = alternative_names(also, names)?;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        (leaf.not_before, leaf.not_after) = (not_before, not_after);
        let key = KeyPair::generate()?;
        let leaf = leaf.signed_by(&key, &ca)?;

        let pem = KeyPem { certificate: leaf.pem(), key: key.serialize_pem() };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone())?;
        let sha256 = Sha256::digest(ca.der()).into();
        let identity = Self::new(vec![leaf.into()], key, roots, Some(Ca { pem: ca.pem(), sha256 }))?;
        Ok((identity, pem))
    }

    /// The user's own certificate (with its intermediates) and key, from PEM files. `ca` is what clients trust; without
    /// it they trust what this machine trusts.
    ///
    /// # Errors
    ///
    /// Anything that would make every client refuse the server: a missing or wrong file, a key of another certificate,
    /// a certificate that is out of its time or not issued by the CA.
    pub fn load(cert: &Path, key: &Path, ca: Option<&Path>) -> Result<Self, CertificateError> {
        let chain = trust::certificates_of_file(cert)?;
        let private_key = private_key(key)?;
        let (roots, ca) = match ca {
            Some(path) => {
                let certificates = trust::certificates_of_file(path)?;
                let pem = String::from_utf8_lossy(&trust::read(path)?).into_owned();
                let sha256 = Sha256::digest(&certificates[0]).into();
                (trust::roots_of_file(path)?, Some((path, Ca { pem, sha256 })))
            }
            None => (trust::roots_of_system()?, None),
        };
        verify(cert, &chain, &roots, ca.as_ref().map(|(path, _)| *path))?;
        Self::new(chain, private_key, roots, ca.map(|(_, ca)| ca)).map_err(|error| match error {
            CertificateError::Tls(rustls::Error::InconsistentKeys(_)) => {
                CertificateError::KeyMismatch { cert: cert.into(), key: key.into() }
            }
            CertificateError::Tls(source) => CertificateError::Unusable { path: cert.into(), source },
            other => other,
        })
    }

    /// The CA that clients must trust, in PEM; `None` for a certificate that this machine trusts anyway.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca.as_ref().map(|ca| ca.pem.as_str())
    }

    /// SHA-256 of the CA certificate (DER); `None` as for [`ca_pem`](Self::ca_pem).
    pub fn ca_sha256(&self) -> Option<[u8; 32]> {
        self.ca.as_ref().map(|ca| ca.sha256)
    }

    /// The leaf certificate as it is served there.
    pub fn pin(&self, host: &str, port: u16) -> Pin {
        Pin { host: host.to_owned(), port, leaf_sha256: self.leaf_sha256(), spki_sha256: self.spki_sha256() }
    }

    /// SHA-256 of the leaf certificate (DER).
    pub(super) fn leaf_sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.leaf).into()
    }

    /// SHA-256 of the leaf's SubjectPublicKeyInfo (DER).
    pub(super) fn spki_sha256(&self) -> [u8; 32] {
        self.spki_sha256
    }

    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        self.server.clone()
    }

    pub(super) fn client_config(&self) -> Arc<ClientConfig> {
        self.client.clone()
    }

    /// Whether the certificate is valid for this DNS name or IP address.
    pub(super) fn covers(&self, host: &str) -> bool {
        let (Ok(certificate), Ok(name)) = (ParsedCertificate::try_from(&self.leaf), ServerName::try_from(host)) else {
            return false;
        };
        rustls::client::verify_server_name(&certificate, &name).is_ok()
    }

    /// The DNS names of the certificate, without wildcards.
    pub(super) fn dns_names(&self) -> Vec<String> {
        webpki::EndEntityCert::try_from(&self.leaf).map_or_else(
            |_| Vec::new(),
            |leaf| leaf.valid_dns_names().filter(|name| !name.contains('*')).map(str::to_owned).collect(),
        )
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        roots: RootCertStore,
        ca: Option<Ca>,
    ) -> Result<Self, CertificateError> {
        let leaf = chain.first().cloned().ok_or(rustls::Error::NoCertificatesPresented)?;
        let spki = ParsedCertificate::try_from(&leaf)?.subject_public_key_info();
        let spki_sha256 = Sha256::digest(&spki).into();
        Ok(Self { leaf, server: server_config(chain, key)?, client: trust::client_config(roots)?, ca, spki_sha256 })
    }
}

impl fmt::Debug for Identity {
    /// Leaves out the private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("leaf_sha256", &hex(&self.leaf_sha256())).finish_non_exhaustive()
    }
}

/// Bytes from the random source of the operating system.
pub(super) fn random(bytes: &mut [u8]) -> Result<(), rustls::Error> {
    let provider = rustls::crypto::ring::default_provider();
    provider.secure_random.fill(bytes).map_err(rustls::Error::from)
}

/// Bytes in lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn alternative_names(also: &[IpAddr], dns: &[&str]) -> Result<Vec<SanType>, rcgen::Error> {
    let mut names = vec![SanType::DnsName("localhost".try_into()?)];
    for name in dns {
        names.push(SanType::DnsName((*name).try_into()?));
    }
    if let Some(name) = host_name().filter(|name| name != "localhost") {
        names.push(SanType::DnsName(name.try_into()?));
    }
    let mut addresses = BTreeSet::from([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    addresses.extend(lan_addresses());
    addresses.extend(also.iter().filter(|address| !address.is_unspecified()));
    names.extend(addresses.into_iter().map(SanType::IpAddress));
    Ok(names)
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Stateless tickets: thousands of clients resume, where the default remembers 256 sessions.
    config.ticketer = rustls::crypto::ring::Ticketer::new()?;
    Ok(Arc::new(config))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let pem = trust::read(path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        let detail = if String::from_utf8_lossy(&pem).contains("ENCRYPTED PRIVATE KEY") {
            "the key is encrypted: give it decrypted (`openssl pkey -in KEY -out PLAIN`)".to_owned()
        } else if matches!(error, rustls::pki_types::pem::Error::NoItemsFound) {
            "it holds no \"-----BEGIN PRIVATE KEY-----\" section".to_owned()
        } else {
            error.to_string()
        };
        CertificateError::Pem { path: path.into(), detail }
    })
}

/// Does what every client will do, so that the fault shows here and not at each of them.
fn verify(
    cert: &Path,
    chain: &[CertificateDer<'_>],
    roots: &RootCertStore,
    ca: Option<&Path>,
) -> Result<(), CertificateError> {
    use rustls::CertificateError as Fault;

    let unusable = |source| CertificateError::Unusable { path: cert.into(), source };
    let leaf = ParsedCertificate::try_from(&chain[0]).map_err(unusable)?;
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
    let verified = rustls::client::verify_server_cert_signed_by_trust_anchor(
        &leaf,
        roots,
        &chain[1..],
        UnixTime::now(),
        algorithms,
    );
    verified.map_err(|error| match error {
        rustls::Error::InvalidCertificate(Fault::ExpiredContext { not_after, .. }) => {
            CertificateError::Expired { cert: cert.into(), not_after: trust::date(not_after) }
        }
        rustls::Error::InvalidCertificate(Fault::NotValidYetContext { not_before, .. }) => {
            CertificateError::NotYetValid { cert: cert.into(), not_before: trust::date(not_before) }
        }
        rustls::Error::InvalidCertificate(Fault::UnknownIssuer | Fault::BadSignature) => match ca {
            Some(ca) => CertificateError::NotFromCa {
                cert: cert.into(),
                ca: ca.display().to_string(),
                remedy: "give the CA that issued it, and put intermediate certificates behind the leaf in its file",
            },
            None => CertificateError::NotFromCa {
                cert: cert.into(),
                ca: "a CA that this machine trusts".into(),
                remedy: "give its CA with --ca",
            },
        },
        other => unusable(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a PEM pair with the given end of validity, and its CA.
    fn write_pair(dir: &Path, name: &str, not_after: (i32, u8, u8)) -> (PathBuf, PathBuf, PathBuf) {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let mut leaf = CertificateParams::new(vec!["test.example".to_owned()]).unwrap();
        leaf.not_before = rcgen::date_time_ymd(2000, 1, 1);
        leaf.not_after = rcgen::date_time_ymd(not_after.0, not_after.1, not_after.2);
        let key = KeyPair::generate().unwrap();
        let leaf = leaf.signed_by(&key, &ca).unwrap();
        let paths = ["cert", "key", "ca"].map(|kind| dir.join(format!("{name}-{kind}.pem")));
        std::fs::write(&paths[0], leaf.pem()).unwrap();
        std::fs::write(&paths[1], key.serialize_pem()).unwrap();
        std::fs::write(&paths[2], ca.pem()).unwrap();
        paths.into()
    }

    #[test]
    fn the_generated_certificate_covers_every_local_name() {
        let also = "192.0.2.77".parse().unwrap();
        let identity = Identity::generate(&[also]).unwrap();
        for host in ["localhost", "127.0.0.1", "::1", "192.0.2.77"] {
            assert!(identity.covers(host), "{host}");
        }
        for address in lan_addresses() {
            assert!(identity.covers(&address.to_string()), "{address}");
        }
        assert!(!identity.covers("example.com"));
    }

    #[test]
    fn a_pair_of_the_users_own_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key, ca) = write_pair(dir.path(), "a", (2999, 1, 1));
        let identity = Identity::load(&cert, &key, Some(&ca)).unwrap();
        assert_eq!(identity.dns_names(), ["test.example"]);
        assert_eq!(identity.ca_pem(), Some(std::fs::read_to_string(&ca).unwrap().as_str()));
    }

    #[test]
    fn each_fault_of_the_users_files_has_its_own_error() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key, ca) = write_pair(dir.path(), "a", (2999, 1, 1));
        let (_, other_key, other_ca) = write_pair(dir.path(), "b", (2999, 1, 1));
        let (old_cert, old_key, old_ca) = write_pair(dir.path(), "c", (2001, 2, 3));
        let missing = dir.path().join("missing.pem");

        let message = |cert: &Path, key: &Path, ca: &Path| Identity::load(cert, key, Some(ca)).unwrap_err().to_string();
        assert!(message(&missing, &key, &ca).contains("cannot read"));
        assert!(message(&key, &key, &ca).contains("BEGIN CERTIFICATE"));
        assert!(message(&cert, &cert, &ca).contains("BEGIN PRIVATE KEY"));
        assert!(message(&cert, &other_key, &ca).contains("does not belong to the certificate"));
        assert!(message(&cert, &key, &other_ca).contains("was not issued by"));
        assert!(message(&old_cert, &old_key, &old_ca).contains("expired at 2001-02-03"));
    }
}
