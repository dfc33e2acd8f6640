//! TLS towards callers: the certificate and the CAs of their certificates as they are mounted now, and the handshake. It
//! decides which files are good enough to use (broken ones leave the last good ones in force), and how long a caller's
//! certificate stands. What it is worth to a token is decided in `auth`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::aws_lc_rs::digest::{Context, SHA256};
use arc_swap::ArcSwapOption;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rustls::crypto::aws_lc_rs;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tollgate_contract::{ClientCertificates, ProblemCode, TlsConfig};
use tollgate_runtime::files;

use super::protocol::Http;
use crate::identity::Thumbprint;

/// A chain of a few certificates, and a company's list of CAs.
const LARGEST_FILE: u64 = 1024 * 1024;
const H2: &[u8] = b"h2";

/// TLS of one port, shared by all workers.
pub(crate) struct Tls {
    /// None until the files have been good once.
    settings: ArcSwapOption<InForce>,
    /// What is wrong with the files now, whatever is in force.
    problem: ArcSwapOption<ProblemCode>,
    failed: Counter,
    unusable: Gauge,
    /// Seconds since 1970; 0 while none is in force.
    expires: Gauge,
}

/// What the handshake told.
pub(super) struct Secured<S> {
    pub(super) stream: TlsStream<S>,
    pub(super) http: Http,
    /// The caller's certificate, which a CA of the policy stands for.
    pub(super) certificate: Option<Shown>,
}

/// A certificate that a caller has shown.
pub(super) struct Shown {
    pub(super) thumbprint: Thumbprint,
    pub(super) standing: Standing,
}

/// How long a caller's certificate stands: to its end, and while its CA is in the bundle.
pub(super) struct Standing {
    until: Instant,
    withdrawn: CancellationToken,
}

/// Settings that connections begin with.
struct InForce {
    settings: Arc<ServerConfig>,
    callers: Vec<CertificateDer<'static>>,
    /// Cancelled when one of `callers` is a CA no more.
    withdrawn: CancellationToken,
}

/// Why mounted files are of no use.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("reading a file")]
    File(#[from] files::FileError),
    #[error("{} holds no {what}", path.display())]
    Empty { path: PathBuf, what: &'static str },
    #[error("reading PEM from {}", path.display())]
    Pem { path: PathBuf, source: rustls_pki_types::pem::Error },
    #[error("{} holds a certificate that has ended", path.display())]
    Expired { path: PathBuf },
    #[error("using the certificate with its key")]
    Pair(#[source] rustls::Error),
    #[error("using the CA certificates for callers")]
    Ca(#[source] rustls::Error),
    #[error("using the CA certificates for callers")]
    Verifier(#[from] VerifierBuilderError),
}

/// The mounted files at one time; equal when the files are.
#[derive(Clone)]
struct Mounted {
    digest: [u8; 32],
    settings: Result<Usable, Arc<(ProblemCode, Unusable)>>,
}

/// Files that are good enough.
#[derive(Clone)]
struct Usable {
    settings: Arc<ServerConfig>,
    /// CAs of callers.
    callers: Vec<CertificateDer<'static>>,
    /// When the certificate ends, in seconds since 1970.
    expires: i64,
}

impl PartialEq for Mounted {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Tls {
    /// Reads the files now and then every `interval`, until `shutdown`. Must be called within a tokio runtime.
    pub(crate) fn watch(
        config: &TlsConfig,
        interval: Duration,
        registry: &mut Registry,
        shutdown: CancellationToken,
    ) -> Arc<Self> {
        let tls = Arc::new(Self {
            settings: ArcSwapOption::empty(),
            problem: ArcSwapOption::empty(),
            failed: Counter::default(),
            unusable: Gauge::default(),
            expires: Gauge::default(),
        });
        registry.register("tls_handshakes_failed", "Connections of callers that came to no TLS", tls.failed.clone());
        let help = "1 while the mounted certificate, key or CA file is of no use; the last good ones stay in force";
        registry.register("tls_files_unusable", help, tls.unusable.clone());
        let help = "When the certificate in force ends, in seconds since 1970; 0 while there is none";
        registry.register("tls_certificate_expiry_timestamp_seconds", help, tls.expires.clone());
        let config = config.clone();
        let mut mounted = files::watch(interval, shutdown, move || Mounted::read(&config));
        tls.take(mounted.borrow_and_update().clone());
        let taking = Arc::clone(&tls);
        tokio::spawn(async move {
            while mounted.changed().await.is_ok() {
                let now = mounted.borrow_and_update().clone();
                taking.take(now);
            }
        });
        tls
    }

    /// Whether connections can be served.
    pub(crate) fn is_ready(&self) -> bool {
        self.settings.load().is_some()
    }

    /// What is wrong with the files, or with the certificate in force, for the report.
    pub(crate) fn problem(&self, now: SystemTime) -> Option<ProblemCode> {
        let has_ended = has_ended(self.expires.get(), now).then_some(ProblemCode::TlsCertificateExpired);
        self.problem.load().as_deref().copied().or(has_ended)
    }

    /// The handshake, within this time.
    pub(super) async fn accept<S>(&self, stream: S, within: Duration) -> io::Result<Secured<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let done = timeout(within, self.shake_hands(stream)).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
        if done.is_err() {
            self.failed.inc();
        }
        done
    }

    async fn shake_hands<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<Secured<S>> {
        let in_force = self.settings.load_full().ok_or(io::ErrorKind::NotConnected)?;
        let stream = TlsAcceptor::from(Arc::clone(&in_force.settings)).accept(stream).await?;
        let (_, connection) = stream.get_ref();
        let http = if connection.alpn_protocol() == Some(H2) { Http::Two } else { Http::One };
        let certificate = match connection.peer_certificates().and_then(<[_]>::first) {
            Some(leaf) => {
                // A session that is taken up again shows what was good when it began.
                let left = left(expiry(leaf), SystemTime::now()).ok_or(io::ErrorKind::PermissionDenied)?;
                let standing = Standing { until: Instant::now() + left, withdrawn: in_force.withdrawn.clone() };
                Some(Shown { thumbprint: Thumbprint::of_certificate(leaf), standing })
            }
            None => None,
        };
        Ok(Secured { stream, http, certificate })
    }

    fn take(&self, mounted: Mounted) {
        match mounted.settings {
            Ok(Usable { settings, callers, expires }) => {
                let before = self.settings.load_full();
                let kept = before.as_ref().filter(|before| before.callers.iter().all(|ca| callers.contains(ca)));
                let withdrawn = kept.map(|kept| kept.withdrawn.clone()).unwrap_or_default();
                self.settings.store(Some(Arc::new(InForce { settings, callers, withdrawn })));
                if let (None, Some(before)) = (kept, &before) {
                    before.withdrawn.cancel();
                }
                self.expires.set(expires);
                self.problem.store(None);
                tracing::info!("the mounted certificate is in force");
            }
            Err(unusable) => {
                let (problem, error) = &*unusable;
                self.problem.store(Some(Arc::new(*problem)));
                let error = error as &dyn std::error::Error;
                tracing::error!(error, kept = self.is_ready(), "the mounted TLS files are of no use");
            }
        }
        self.unusable.set(self.problem.load().is_some().into());
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("problem", &self.problem.load()).finish_non_exhaustive()
    }
}

impl Standing {
    /// Waits until it stands no more.
    pub(super) async fn lapsed(&self) {
        tokio::select! {
            () = sleep_until(self.until) => {}
            () = self.withdrawn.cancelled() => {}
        }
    }

    /// Whether it stands no more.
    pub(super) fn has_lapsed(&self) -> bool {
        self.until <= Instant::now() || self.withdrawn.is_cancelled()
    }
}

impl Mounted {
    fn read(config: &TlsConfig) -> Self {
        let dir = Path::new(&config.dir);
        let (certificate, key) = (dir.join("tls.crt"), dir.join("tls.key"));
        let ca = config.client_certificates.as_ref().map(|clients| PathBuf::from(&clients.ca_file));
        let mut digest = Context::new(&SHA256);
        let mut read = |path: &Path| {
            let bytes = files::read(path, LARGEST_FILE);
            // With its length, so that no two sets of files read as one.
            let seen = bytes.as_deref().unwrap_or_default();
            digest.update(&(seen.len() as u64).to_be_bytes());
            digest.update(seen);
            bytes
        };
        let pair = (read(&certificate), read(&key));
        let ca = ca.map(|path| (read(&path), path));
        let settings = settings(config, (pair.0, &certificate), (pair.1, &key), ca, SystemTime::now());
        let mut octets = [0; 32];
        octets.copy_from_slice(digest.finish().as_ref());
        Self { digest: octets, settings: settings.map_err(Arc::new) }
    }
}

type Bytes = Result<Vec<u8>, files::FileError>;

fn settings(
    config: &TlsConfig,
    certificate: (Bytes, &Path),
    key: (Bytes, &Path),
    ca: Option<(Bytes, PathBuf)>,
    now: SystemTime,
) -> Result<Usable, (ProblemCode, Unusable)> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let own = |error| (ProblemCode::TlsCertificateMissing, error);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| own(Unusable::Pair(error)))?;
    let (builder, callers) = match (&config.client_certificates, ca) {
        (Some(clients), Some((bytes, path))) => {
            let of_callers = |error| (ProblemCode::ClientCaMissing, error);
            let callers = certificates(bytes, &path).map_err(of_callers)?;
            let roots = roots(&callers).map_err(of_callers)?;
            let verifier = verifier(clients, roots, provider).map_err(|error| of_callers(Unusable::Verifier(error)))?;
            (builder.with_client_cert_verifier(verifier), callers)
        }
        _ => (builder.with_no_client_auth(), Vec::new()),
    };
    let chain = certificates(certificate.0, certificate.1).map_err(own)?;
    let expires = chain.first().map_or(0, expiry);
    if has_ended(expires, now) {
        return Err((ProblemCode::TlsCertificateExpired, Unusable::Expired { path: certificate.1.to_owned() }));
    }
    let key = private_key(key.0, key.1).map_err(own)?;
    let mut settings = builder.with_single_cert(chain, key).map_err(|error| own(Unusable::Pair(error)))?;
    settings.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
    Ok(Usable { settings: Arc::new(settings), callers, expires })
}

/// What is left of a certificate; none where it has ended.
fn left(expires: i64, now: SystemTime) -> Option<Duration> {
    let end = UNIX_EPOCH + Duration::from_secs(u64::try_from(expires).ok()?);
    end.duration_since(now).ok().filter(|left| !left.is_zero())
}

/// 0 for what is no certificate; rustls, which reads it as well, has the say on whether it can be used.
fn expiry(certificate: &CertificateDer<'_>) -> i64 {
    x509_parser::parse_x509_certificate(certificate)
        .map_or(0, |(_, certificate)| certificate.validity().not_after.timestamp())
}

/// Whether that time, in seconds since 1970, is over; 0 is no time.
fn has_ended(expires: i64, now: SystemTime) -> bool {
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    expires != 0 && expires <= now
}

fn certificates(bytes: Bytes, path: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let pem = |source| Unusable::Pem { path: path.to_owned(), source };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&bytes?).collect::<Result<_, _>>().map_err(pem)?;
    if chain.is_empty() {
        return Err(Unusable::Empty { path: path.to_owned(), what: "certificate" });
    }
    Ok(chain)
}

fn private_key(bytes: Bytes, path: &Path) -> Result<PrivateKeyDer<'static>, Unusable> {
    PrivateKeyDer::from_pem_slice(&bytes?).map_err(|source| Unusable::Pem { path: path.to_owned(), source })
}

/// Every one of them must be good: a CA that is left out would lock its callers out.
fn roots(callers: &[CertificateDer<'static>]) -> Result<RootCertStore, Unusable> {
    let mut roots = RootCertStore::empty();
    for certificate in callers {
        roots.add(certificate.clone()).map_err(Unusable::Ca)?;
    }
    Ok(roots)
}

/// A certificate that is shown must be good in either mode.
fn verifier(
    clients: &ClientCertificates,
    roots: RootCertStore,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, VerifierBuilderError> {
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if clients.required { builder.build() } else { builder.allow_unauthenticated().build() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_ends_in_the_second_that_it_names_and_one_without_an_end_never_does() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(!has_ended(1_000, at(999)));
        assert!(has_ended(1_000, at(1_000)));
        assert!(!has_ended(0, at(1_000)));
        assert!(has_ended(-1, at(1_000)), "before 1970");
    }
}
