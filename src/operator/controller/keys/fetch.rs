//! Asks one issuer for its keys: metadata, then the key set. The URLs are a tenant's, so the answer tells nobody more than
//! one of three words, no redirect is followed, time and size are bounded, and an answer from the node itself or from its
//! cloud is refused.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::{Client, StatusCode, redirect};
use thiserror::Error;
use tollgate_contract::ProblemCode;
use tollgate_runtime::trust;

use crate::plan::keys::{Source, jwks_uri, metadata_addresses, public_keys};

/// Connections are made within a cluster or to a near edge; more than this is an outage.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// For one answer. Four of them are at most asked for.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Key sets and metadata take a few KiB.
const LARGEST_BODY: usize = 256 * 1024;

/// Why there are no keys.
#[derive(Debug, Error)]
pub(super) enum FetchError {
    #[error("connecting, or waiting for an answer")]
    Unreachable(#[source] reqwest::Error),
    #[error("status {0}")]
    Down(StatusCode),
    #[error("the certificate is not accepted")]
    BadTls,
    #[error("{0}")]
    BadResponse(&'static str),
    #[error("its CA bundle {0}")]
    Bundle(&'static str),
}

impl FetchError {
    /// What is said of the issuer; `None` when it was not asked.
    pub(super) fn code(&self) -> Option<ProblemCode> {
        match self {
            Self::Unreachable(_) | Self::Down(_) => Some(ProblemCode::IssuerUnreachable),
            Self::BadTls => Some(ProblemCode::IssuerBadTls),
            Self::BadResponse(_) => Some(ProblemCode::IssuerBadResponse),
            Self::Bundle(_) => None,
        }
    }

    /// The same in metrics.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::Down(_) => "unreachable",
            Self::BadTls => "bad_tls",
            Self::BadResponse(_) => "bad_response",
            Self::Bundle(_) => "no_bundle",
        }
    }
}

/// The issuer's public keys, as they are written for sidecars. `from_this_node` lets addresses of the node answer, for
/// tests.
pub(super) async fn fetch(source: &Source, pem: Option<&[u8]>, from_this_node: bool) -> Result<String, FetchError> {
    let client = client(pem)?;
    let get = |url: String| get(client.clone(), url, from_this_node);
    let at = match &source.named.jwks {
        Some(given) => given.clone(),
        None => discover(source, get).await?,
    };
    match get(at).await? {
        (StatusCode::OK, body) => public_keys(&body).ok_or(FetchError::BadResponse("it is no set of public keys")),
        _ => Err(FetchError::BadResponse("there are no keys where the metadata say")),
    }
}

/// The key set's URL, from the first address that has metadata.
async fn discover<F>(source: &Source, get: impl Fn(String) -> F) -> Result<String, FetchError>
where
    F: Future<Output = Result<(StatusCode, Vec<u8>), FetchError>>,
{
    for address in metadata_addresses(&source.named.issuer) {
        if let (StatusCode::OK, body) = get(address).await? {
            let uri = jwks_uri(&body, &source.named.issuer, source.allow_http);
            return uri.ok_or(FetchError::BadResponse("it is not this issuer's metadata"));
        }
    }
    Err(FetchError::BadResponse("there are no metadata"))
}

/// As sidecars ask: no proxy is theirs.
fn client(pem: Option<&[u8]>) -> Result<Client, FetchError> {
    Client::builder()
        .tls_backend_preconfigured(trust::client_config(pem).map_err(|_| FetchError::BadTls)?)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|_| FetchError::BadTls)
}

async fn get(client: Client, url: String, from_this_node: bool) -> Result<(StatusCode, Vec<u8>), FetchError> {
    let mut response = client.get(url).send().await.map_err(sort)?;
    let peer = response.remote_addr().map(|peer: SocketAddr| peer.ip());
    if !from_this_node && peer.is_none_or(is_of_the_node) {
        return Err(FetchError::BadResponse("it answers from an address of the node"));
    }
    let status = response.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(FetchError::Down(status));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(sort)? {
        if body.len() + chunk.len() > LARGEST_BODY {
            return Err(FetchError::BadResponse("it is too large"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((status, body))
}

/// Loopback, link-local (where clouds serve metadata) and what is no address of one host.
fn is_of_the_node(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unicast_link_local()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.octets().starts_with(&CLOUD_METADATA_V6)
        }
    }
}

/// fd00:ec2::/32, where a cloud serves metadata by IPv6.
const CLOUD_METADATA_V6: [u8; 4] = [0xfd, 0x00, 0x0e, 0xc2];

/// Only the kind is told apart.
fn sort(error: reqwest::Error) -> FetchError {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(inner) = cause {
        let boxed = inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if inner.is::<rustls::Error>() || boxed.is_some_and(|boxed| boxed.is::<rustls::Error>()) {
            return FetchError::BadTls;
        }
        if inner.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return FetchError::BadResponse("it is no HTTP");
        }
        // An io::Error reports its inner error's source, not the inner error: step into it.
        cause = boxed.map(|boxed| boxed as &(dyn Error + 'static)).or_else(|| inner.source());
    }
    FetchError::Unreachable(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_node_and_its_cloud_are_known_in_every_spelling() {
        for theirs in
            ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1", "0.0.0.0", "::"]
                .into_iter()
                .chain(["fd00:ec2::254", "224.0.0.1", "255.255.255.255"])
        {
            assert!(is_of_the_node(theirs.parse().expect("an address")), "{theirs}");
        }
        for fine in ["10.0.0.1", "192.0.2.7", "2001:db8::1", "fd12::1"] {
            assert!(!is_of_the_node(fine.parse().expect("an address")), "{fine}");
        }
    }
}
