//! Connections to the app as bytes: where it listens, TLS where the policy asks for it, and how long all of that may
//! take. A CA bundle that is missing or broken leaves the last good one in force. What is spoken on them is the pools'
//! business.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tollgate_contract::{ProblemCode, UpstreamAddress, UpstreamConfig, UpstreamProtocol, UpstreamTls, names};
use tollgate_runtime::files::{self, FileError};

/// A bundle of every public CA has some 200 KiB.
const MAX_CA_BYTES: u64 = 1 << 20;
/// How often the bundle is looked at: a CA is replaced over days.
const CA_INTERVAL: Duration = Duration::from_secs(10);

/// The way to the app's port, for all workers.
#[derive(Debug)]
pub(crate) struct Dialer {
    address: SocketAddr,
    tls: Option<Tls>,
    within: Duration,
}

/// A connection on which nothing has been said yet.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Settings that lead to no app.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The pod's address was not handed over.
    #[error("the app listens on the pod's address, which the environment variable {} does not say", names::POD_IP_ENV)]
    NoPodAddress,
    /// The name that the app's certificate must have is none.
    #[error("{name:?} is no name that a certificate could have")]
    ServerName {
        /// As written.
        name: String,
        /// What is wrong with it.
        #[source]
        source: InvalidDnsNameError,
    },
    /// The provider lacks a protocol version.
    #[error("setting up TLS towards the app")]
    Provider(#[from] rustls::Error),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("the app did not take the connection in time")]
    Timeout,
    #[error("connecting to the app")]
    Connect(#[source] io::Error),
    #[error("agreeing on TLS with the app")]
    Tls(#[source] io::Error),
    #[error("there has been no CA bundle yet to know the app by")]
    NoCa,
    #[error("the app does not agree to speak HTTP/2 (ALPN)")]
    Protocol,
}

#[derive(Debug)]
struct Tls {
    name: ServerName<'static>,
    /// HTTP/2 over TLS is spoken only where both sides have said so (RFC 9113 section 3.3).
    needs_h2: bool,
    trust: watch::Receiver<Trust>,
}

/// Why a CA bundle is of no use.
#[derive(Debug, thiserror::Error)]
enum CaError {
    #[error("reading it")]
    File(#[from] FileError),
    #[error("it holds no usable certificate")]
    NoCertificate,
    #[error("setting up TLS towards the app")]
    Provider(#[from] rustls::Error),
}

/// Whom we take for the app. Told apart by the file that it was made of, and by whether that file is still good.
#[derive(Debug, Clone, Default)]
struct Trust {
    pem: Vec<u8>,
    /// None until there has been a good file.
    config: Option<Arc<ClientConfig>>,
    is_broken: bool,
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.pem == other.pem && self.is_broken == other.is_broken
    }
}

impl Dialer {
    /// `pod` is the pod's own address, where it is known. Reads the CA bundle anew when it changes, until `stop`.
    pub(crate) fn new(
        config: &UpstreamConfig,
        pod: Option<IpAddr>,
        stop: &CancellationToken,
    ) -> Result<Self, UpstreamError> {
        let ip = match config.address {
            UpstreamAddress::Loopback => IpAddr::V4(Ipv4Addr::LOCALHOST),
            UpstreamAddress::Pod => pod.ok_or(UpstreamError::NoPodAddress)?,
        };
        let tls = config.tls.as_ref().map(|tls| Tls::new(tls, config.protocol, stop)).transpose()?;
        let within = Duration::from_millis(config.timeouts.connect_millis);
        Ok(Self { address: SocketAddr::new(ip, config.port), tls, within })
    }

    /// Where the app listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether the app can be told from others, where it has to be.
    pub(crate) fn is_ready(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| tls.trust.borrow().config.is_some())
    }

    /// What is wrong with the CA bundle now, whatever is in force.
    pub(crate) fn problem(&self) -> Option<ProblemCode> {
        let is_broken = self.tls.as_ref().is_some_and(|tls| tls.trust.borrow().is_broken);
        is_broken.then_some(ProblemCode::UpstreamCaMissing)
    }

    /// Whether requests are made over TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// How long a connection may take.
    pub(crate) fn within(&self) -> Duration {
        self.within
    }

    pub(crate) async fn dial(&self) -> Result<Stream, DialError> {
        timeout(self.within, self.connect()).await.unwrap_or(Err(DialError::Timeout))
    }

    async fn connect(&self) -> Result<Stream, DialError> {
        let stream = TcpStream::connect(self.address).await.map_err(DialError::Connect)?;
        stream.set_nodelay(true).map_err(DialError::Connect)?;
        match &self.tls {
            None => Ok(Stream::Plain(stream)),
            Some(tls) => tls.connect(stream).await.map(|stream| Stream::Tls(Box::new(stream))),
        }
    }
}

impl Tls {
    fn new(config: &UpstreamTls, protocol: UpstreamProtocol, stop: &CancellationToken) -> Result<Self, UpstreamError> {
        let name = config.server_name.clone();
        let name = ServerName::try_from(name.clone()).map_err(|source| UpstreamError::ServerName { name, source })?;
        let trust = match &config.ca_file {
            // Nothing about the public roots can change: the channel never wakes anybody.
            None => watch::channel(Trust::in_public_roots(protocol)?).1,
            Some(path) => {
                let path = PathBuf::from(path);
                let mut last = Trust::default();
                files::watch(CA_INTERVAL, stop.clone(), move || {
                    last = match Trust::in_file(&path, protocol) {
                        Ok(trust) => trust,
                        Err(error) => std::mem::take(&mut last).kept_despite(&error),
                    };
                    last.clone()
                })
            }
        };
        Ok(Self { name, needs_h2: protocol == UpstreamProtocol::H2c, trust })
    }

    async fn connect(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, DialError> {
        let config = self.trust.borrow().config.clone().ok_or(DialError::NoCa)?;
        let stream = TlsConnector::from(config).connect(self.name.clone(), stream).await.map_err(DialError::Tls)?;
        if self.needs_h2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(DialError::Protocol);
        }
        Ok(stream)
    }
}

impl Trust {
    fn in_public_roots(protocol: UpstreamProtocol) -> Result<Self, UpstreamError> {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Ok(Self::new(Vec::new(), roots, protocol)?)
    }

    /// In the file's certificates and in nothing else.
    fn in_file(path: &Path, protocol: UpstreamProtocol) -> Result<Self, CaError> {
        let pem = files::read(path, MAX_CA_BYTES)?;
        let mut roots = RootCertStore::empty();
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
        if roots.add_parsable_certificates(certificates).0 == 0 {
            return Err(CaError::NoCertificate);
        }
        Ok(Self::new(pem, roots, protocol)?)
    }

    /// What makes no sense does not replace what does. Said when it begins.
    fn kept_despite(self, error: &CaError) -> Self {
        if !self.is_broken {
            let (error, kept) = (error as &dyn std::error::Error, self.config.is_some());
            tracing::error!(error, kept, "the CA bundle for the app's certificate is of no use");
        }
        Self { is_broken: true, ..self }
    }

    fn new(pem: Vec<u8>, roots: RootCertStore, protocol: UpstreamProtocol) -> Result<Self, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = match protocol {
            UpstreamProtocol::Http1 => vec![b"http/1.1".to_vec()],
            UpstreamProtocol::H2c => vec![b"h2".to_vec()],
        };
        Ok(Self { pem, config: Some(Arc::new(config)), is_broken: false })
    }
}
