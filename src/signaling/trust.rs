//! Whom clients trust: one CA, or those that this machine trusts.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{ClientConfig, RootCertStore};

use super::certificate::CertificateError;

/// A client configuration that trusts these roots and no others. Shared by all clients of a process, so that they
/// resume each other's TLS sessions.
pub(super) fn client_config(roots: RootCertStore) -> Result<Arc<ClientConfig>, CertificateError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(CertificateError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The certificates of a PEM file as roots, and the file's text.
pub(super) fn roots_of_file(path: &Path) -> Result<RootCertStore, CertificateError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates_of_file(path)? {
        roots.add(certificate).map_err(|source| CertificateError::Unusable { path: path.into(), source })?;
    }
    Ok(roots)
}

/// The roots that this machine trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured).
pub(crate) fn roots_of_system() -> Result<RootCertStore, CertificateError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // System stores hold certificates that webpki cannot use; the others count.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let detail = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
        return Err(CertificateError::NoSystemRoots { detail });
    }
    Ok(roots)
}

/// All certificates of a PEM file, of which there must be one.
pub(crate) fn certificates_of_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let pem = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates =
        certificates.map_err(|error| CertificateError::Pem { path: path.into(), detail: error.to_string() })?;
    if certificates.is_empty() {
        let detail = "it holds no \"-----BEGIN CERTIFICATE-----\" section".to_owned();
        return Err(CertificateError::Pem { path: path.into(), detail });
    }
    Ok(certificates)
}

/// A file's content.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|source| CertificateError::Read { path: path.into(), source })
}

/// An instant as a person reads it.
pub(crate) fn date(time: UnixTime) -> String {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| format!("{} s after 1970", time.as_secs()), |time| time.to_string())
}
