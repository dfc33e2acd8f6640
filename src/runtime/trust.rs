//! The TLS settings of calls to an issuer: the public roots, plus a CA bundle where one is named, and aws-lc-rs as the
//! provider. There is no way to switch verification off.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Why no settings could be made.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The bundle holds no certificate that can be trusted.
    #[error("the CA bundle holds no usable certificate")]
    NoCertificate,
    /// The provider lacks a protocol version.
    #[error("setting up TLS")]
    Provider(#[from] rustls::Error),
}

/// Settings that trust the public roots and the certificates of `ca_bundle` (PEM).
///
/// # Errors
/// The bundle holds no certificate.
pub fn client_config(ca_bundle: Option<&[u8]>) -> Result<ClientConfig, TrustError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(pem) = ca_bundle {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect();
        if roots.add_parsable_certificates(certificates).0 == 0 {
            return Err(TrustError::NoCertificate);
        }
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_without_a_certificate_is_refused() {
        for pem in ["", "no PEM at all", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(matches!(client_config(Some(pem.as_bytes())), Err(TrustError::NoCertificate)), "{pem}");
        }
        assert!(client_config(None).is_ok());
    }
}
