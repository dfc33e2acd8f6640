//! A private CA, the certificates of servers and callers, and both ends of a connection that show them. It decides
//! nothing.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Whose certificates are trusted.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub struct Pair {
    certificate: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn new(name: &str) -> Self {
        crate::install_crypto();
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA"))
    }

    /// Its certificate.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Writes its certificate to a file.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn write(&self, file: &Path) {
        std::fs::write(file, self.pem()).expect("a file");
    }

    /// A server's certificate for this name.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn server(&self, name: &str) -> Pair {
        self.sign(&CertificateParams::new(vec![name.to_owned()]).expect("a name"))
    }

    /// A server's certificate for this name that ends then.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn server_until(&self, name: &str, end: SystemTime) -> Pair {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.not_after = end.into();
        self.sign(&params)
    }

    /// A caller's certificate.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn caller(&self, name: &str) -> Pair {
        self.sign(&of_caller(name))
    }

    /// A caller's certificate that was good until yesterday.
    #[must_use]
    pub fn expired_caller(&self, name: &str) -> Pair {
        self.caller_until(name, SystemTime::now() - Duration::from_secs(86_400))
    }

    /// A caller's certificate that ends then.
    #[must_use]
    pub fn caller_until(&self, name: &str, end: SystemTime) -> Pair {
        let mut params = of_caller(name);
        params.not_after = end.into();
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Pair { certificate: certificate.der().clone(), pem: certificate.pem(), key }
    }
}

fn of_caller(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

impl Pair {
    /// Puts it where a `kubernetes.io/tls` Secret would be mounted.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn mount(&self, folder: &Path) {
        for (name, text) in [("tls.crt", self.pem.clone()), ("tls.key", self.key.serialize_pem())] {
            let next = folder.join(format!("{name}.next"));
            std::fs::write(&next, text).expect("a file");
            std::fs::rename(&next, folder.join(name)).expect("a file");
        }
    }

    /// A Secret of this name that holds it.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn secret(&self, name: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": name},
            "stringData": {"tls.crt": self.pem, "tls.key": self.key.serialize_pem()},
        })
    }

    /// A server that shows it and agrees to speak one of `protocols` (ALPN).
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn acceptor(&self, protocols: &[&str]) -> TlsAcceptor {
        let builder = ServerConfig::builder().with_no_client_auth();
        let mut config = builder.with_single_cert(vec![self.certificate.clone()], self.key()).expect("a pair");
        config.alpn_protocols = alpn(protocols);
        TlsAcceptor::from(Arc::new(config))
    }

    /// `x5t#S256` (RFC 8705 section 3.1).
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.certificate);
        URL_SAFE_NO_PAD.encode(digest.as_ref())
    }

    /// Its DER, to be told from others.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.certificate
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }
}

/// Connects to `localhost` with TLS.
///
/// # Errors
/// The handshake fails on our side: the server's certificate is not of `trusted`, or the server has said no.
///
/// # Panics
/// When nobody listens.
pub async fn connect(
    address: SocketAddr,
    trusted: &Authority,
    shown: Option<&Pair>,
    protocols: &[&str],
) -> io::Result<TlsStream<TcpStream>> {
    connect_by(&connector(trusted, shown, protocols), address).await
}

/// The same for a caller that connects more than once, and takes its session up again.
///
/// # Errors
/// As with [`connect`].
///
/// # Panics
/// When nobody listens.
pub async fn connect_by(connector: &TlsConnector, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await.expect("a listener");
    let name = ServerName::try_from("localhost").expect("a name");
    connector.connect(name, stream).await
}

/// A caller.
///
/// # Panics
/// Never.
#[must_use]
pub fn connector(trusted: &Authority, shown: Option<&Pair>, protocols: &[&str]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.0.der().clone()).expect("a CA");
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match shown {
        Some(pair) => builder.with_client_auth_cert(vec![pair.certificate.clone()], pair.key()).expect("a pair"),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn(protocols);
    TlsConnector::from(Arc::new(config))
}

fn alpn(protocols: &[&str]) -> Vec<Vec<u8>> {
    protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect()
}
