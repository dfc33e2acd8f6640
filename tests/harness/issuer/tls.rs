//! The certificates of the authorization server: a private CA's, and two that no client must accept. It decides
//! nothing.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// A private CA, its server certificate, and two that must not be accepted.
pub(super) struct Certificates {
    pub(super) ca_pem: String,
    pub(super) good: TlsAcceptor,
    pub(super) strange: TlsAcceptor,
    pub(super) other_name: TlsAcceptor,
}

impl Certificates {
    pub(super) fn issue() -> Self {
        crate::install_crypto();
        let (ca, strangers) = (authority("Test CA"), authority("Strange CA"));
        Self {
            good: acceptor(&ca, "127.0.0.1"),
            strange: acceptor(&strangers, "127.0.0.1"),
            other_name: acceptor(&ca, "elsewhere.example"),
            ca_pem: ca.pem(),
        }
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA")
}

fn acceptor(ca: &CertifiedIssuer<'static, KeyPair>, name: &str) -> TlsAcceptor {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    let certificate: CertificateDer<'static> = params.signed_by(&key, ca).expect("a certificate").der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    TlsAcceptor::from(Arc::new(config.expect("server settings")))
}
