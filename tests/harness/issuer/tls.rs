//! The certificates of the authorization server: a private CA's, and two that no client must accept. It decides
//! nothing.

use tokio_rustls::TlsAcceptor;

use crate::certificates::Authority;

/// A private CA, its server certificate, and two that must not be accepted.
pub(super) struct Certificates {
    pub(super) ca_pem: String,
    pub(super) good: TlsAcceptor,
    pub(super) strange: TlsAcceptor,
    pub(super) other_name: TlsAcceptor,
}

impl Certificates {
    pub(super) fn issue() -> Self {
        let (ca, strangers) = (Authority::new("Test CA"), Authority::new("Strange CA"));
        Self {
            good: ca.server("127.0.0.1").acceptor(&[]),
            strange: strangers.server("127.0.0.1").acceptor(&[]),
            other_name: ca.server("elsewhere.example").acceptor(&[]),
            ca_pem: ca.pem(),
        }
    }
}
