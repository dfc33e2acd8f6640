//! Decides which headers cross the proxy and what is added. Pure. Headers named by `Connection` go first, then those of
//! the hop, then every spelling of ours; only then ours are set, so that nobody but us can have set them.

use std::sync::Arc;

use http::header::{self, Entry, HeaderName};
use http::{HeaderMap, HeaderValue};
use rand::Rng;
use tollgate_contract::AuthorizationHeader;

use super::trace_context;
use crate::claim_headers::{ClaimHeaders, WrittenClaims};
use crate::header_names::{is_hop_by_hop, is_meaningful, is_untrusted, resembles};
use crate::identity::{IdentityHeaders, Thumbprint};

/// Enough for every app's correlation id, too short to be a burden in logs.
const MAX_REQUEST_ID: usize = 64;

const DPOP: HeaderName = HeaderName::from_static("dpop");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_TOLLGATE_SUBJECT: HeaderName = HeaderName::from_static("x-tollgate-subject");
const X_TOLLGATE_CLIENT_ID: HeaderName = HeaderName::from_static("x-tollgate-client-id");
const X_TOLLGATE_SCOPES: HeaderName = HeaderName::from_static("x-tollgate-scopes");
const X_TOLLGATE_ISSUER: HeaderName = HeaderName::from_static("x-tollgate-issuer");

/// How the caller is connected, with header values made once a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// The other end of the connection.
    pub(crate) ip: std::net::IpAddr,
    sealed: Option<Sealed>,
    address: HeaderValue,
    forwarded: HeaderValue,
}

/// A connection under TLS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sealed {
    /// Of the caller's certificate, where it showed one.
    pub(crate) certificate: Option<Thumbprint>,
}

impl Peer {
    /// `sealed` = under TLS.
    pub(crate) fn new(address: std::net::IpAddr, sealed: Option<Sealed>) -> Self {
        // A dual-stack listener shows IPv4 peers as ::ffff:a.b.c.d, which few apps expect.
        let address = address.to_canonical();
        let scheme = if sealed.is_some() { "https" } else { "http" };
        let forwarded = match address {
            std::net::IpAddr::V4(v4) => format!("for={v4};proto={scheme}"),
            std::net::IpAddr::V6(v6) => format!("for=\"[{v6}]\";proto={scheme}"),
        };
        let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown"));
        Self { ip: address, sealed, address: value(address.to_string()), forwarded: value(forwarded) }
    }

    /// Of the certificate that the caller showed, under a CA of the policy.
    pub(crate) fn certificate(&self) -> Option<Thumbprint> {
        self.sealed?.certificate
    }

    fn scheme(&self) -> HeaderValue {
        HeaderValue::from_static(if self.sealed.is_some() { "https" } else { "http" })
    }
}

/// Takes the caller's request id where it is safe to repeat, else makes one.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let mut given = headers.get_all(X_REQUEST_ID).iter();
    let safe = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    match (given.next(), given.next()) {
        (Some(id), None) if (1..=MAX_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(safe) => id.clone(),
        _ => new_request_id(),
    }
}

/// What a policy says of the headers that the app gets.
#[derive(Debug, Clone)]
pub(crate) struct HeaderRules {
    /// None where no claim is handed on.
    claims: Option<Arc<ClaimHeaders>>,
    strips_credentials: bool,
}

impl HeaderRules {
    pub(crate) fn new(claims: &Arc<ClaimHeaders>, authorization: AuthorizationHeader) -> Self {
        let claims = claims.names().next().is_some().then(|| Arc::clone(claims));
        Self { claims, strips_credentials: authorization == AuthorizationHeader::Strip }
    }

    /// Whether we alone set it, because of the policy.
    fn keeps_for_us(&self, name: &str) -> bool {
        self.claims.as_ref().is_some_and(|claims| claims.names().any(|ours| resembles(name, ours.as_str())))
    }

    /// Takes away what the caller proved itself with, where the app is not to have it. Refusals look at it, so this comes
    /// after the last of them.
    pub(crate) fn strip_credentials(&self, headers: &mut HeaderMap) {
        if self.strips_credentials {
            headers.remove(header::AUTHORIZATION);
            headers.remove(DPOP);
        }
    }
}

/// What the app is told beside what the caller said.
pub(crate) struct Told<'a> {
    /// The authority that the caller asked for.
    pub(crate) host: HeaderValue,
    pub(crate) peer: &'a Peer,
    pub(crate) request_id: &'a HeaderValue,
    pub(crate) identity: Option<&'a IdentityHeaders>,
}

/// Makes a request's headers what the app may see. `read` is what rules turn on: it comes in no second spelling.
pub(crate) fn for_app<'r>(
    headers: &mut HeaderMap,
    told: Told<'_>,
    rules: &HeaderRules,
    read: &(impl Iterator<Item = &'r HeaderName> + Clone),
) {
    let Told { host, peer, request_id, identity } = told;
    let is_misspelt = |name: &str| read.clone().any(|read| name != read && resembles(name, read.as_str()));
    let is_unwanted =
        |name: &str| is_hop_by_hop(name) || is_untrusted(name) || is_misspelt(name) || rules.keeps_for_us(name);
    let wants_trailers = headers.get_all(header::TE).iter().any(|te| lists(te, "trailers"));
    remove_named_by_connection(headers);
    remove_where(headers, is_unwanted);
    trace_context::sanitize(headers);
    // At once what the lines below add, so that the map grows once.
    headers.reserve(10);
    if wants_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    append(headers, X_FORWARDED_FOR, &peer.address, |_| true);
    append(headers, header::FORWARDED, &peer.forwarded, closes_its_quotes);
    keep_or_set(headers, X_FORWARDED_PROTO, |proto| matches!(proto, b"http" | b"https"), || peer.scheme());
    keep_or_set(headers, X_FORWARDED_HOST, |host| !host.is_empty(), || host.clone());
    headers.insert(header::HOST, host);
    headers.insert(X_REQUEST_ID, request_id.clone());
    if let Some(IdentityHeaders { subject, client_id, scopes, issuer, claims }) = identity {
        headers.insert(X_TOLLGATE_ISSUER, issuer.clone());
        for (name, value) in
            [(X_TOLLGATE_SUBJECT, subject), (X_TOLLGATE_CLIENT_ID, client_id), (X_TOLLGATE_SCOPES, scopes)]
        {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
        if let WrittenClaims::Headers(claims) = claims {
            headers.extend(claims.iter().cloned());
        }
    }
}

/// Makes an answer's headers what the caller may see.
pub(crate) fn for_caller(headers: &mut HeaderMap, request_id: &HeaderValue) {
    remove_named_by_connection(headers);
    remove_where(headers, is_hop_by_hop);
    headers.insert(X_REQUEST_ID, request_id.clone());
}

/// Adds the request's id to an answer of our own.
pub(crate) fn mark(headers: &mut HeaderMap, request_id: &HeaderValue) {
    headers.insert(X_REQUEST_ID, request_id.clone());
}

/// Trailers may carry what only the end of a body can tell, nothing that headers decide (RFC 9110 section 6.5.1).
/// `rules` are for a request's.
pub(crate) fn for_trailers(trailers: &mut HeaderMap, rules: Option<&HeaderRules>) {
    remove_named_by_connection(trailers);
    let is_ours = |name: &str| rules.is_some_and(|rules| rules.keeps_for_us(name));
    remove_where(trailers, |name| is_hop_by_hop(name) || is_untrusted(name) || is_meaningful(name) || is_ours(name));
}

/// RFC 9110 section 7.6.1: what `Connection` names is for this hop alone, whatever it is.
fn remove_named_by_connection(headers: &mut HeaderMap) {
    let Entry::Occupied(connection) = headers.entry(header::CONNECTION) else { return };
    let mut named = Vec::new();
    for value in connection.remove_entry_mult().1 {
        let options = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        // The usual options name no header of ours to keep.
        let names =
            options.filter(|name| !name.eq_ignore_ascii_case(b"close") && !name.eq_ignore_ascii_case(b"keep-alive"));
        named.extend(names.filter_map(|name| HeaderName::from_bytes(name).ok()));
    }
    for name in named {
        headers.remove(name);
    }
}

/// Removes by name; allocates only where there is something to remove.
fn remove_where(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let found: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name.as_str())).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// Appends to a comma-separated list in one line, where all of it is fit for that, else replaces it; without an earlier value
/// nothing is allocated.
fn append(headers: &mut HeaderMap, name: HeaderName, value: &HeaderValue, is_fit: impl Fn(&HeaderValue) -> bool) {
    match headers.entry(name) {
        Entry::Vacant(vacant) => {
            vacant.insert(value.clone());
        }
        Entry::Occupied(mut occupied) if !occupied.iter().all(is_fit) => {
            occupied.insert(value.clone());
        }
        Entry::Occupied(mut occupied) => {
            let mut list = Vec::new();
            for earlier in occupied.iter().chain(std::iter::once(value)).filter(|value| !value.is_empty()) {
                if !list.is_empty() {
                    list.extend_from_slice(b", ");
                }
                list.extend_from_slice(earlier.as_bytes());
            }
            if let Ok(list) = HeaderValue::from_bytes(&list) {
                occupied.insert(list);
            }
        }
    }
}

/// An open quote would make what we append a part of what the caller said.
fn closes_its_quotes(value: &HeaderValue) -> bool {
    let quotes = value.as_bytes().iter().filter(|byte| **byte == b'"').count();
    quotes % 2 == 0 && !value.as_bytes().contains(&b'\\')
}

/// Keeps what is there once and good.
fn keep_or_set(
    headers: &mut HeaderMap,
    name: HeaderName,
    is_good: impl Fn(&[u8]) -> bool,
    value: impl Fn() -> HeaderValue,
) {
    match headers.entry(name) {
        Entry::Vacant(vacant) => {
            vacant.insert(value());
        }
        Entry::Occupied(mut occupied) => {
            let mut values = occupied.iter();
            let is_kept = values.next().is_some_and(|value| is_good(value.as_bytes())) && values.next().is_none();
            if !is_kept {
                occupied.insert(value());
            }
        }
    }
}

pub(super) fn lists(value: &HeaderValue, word: &str) -> bool {
    value.as_bytes().split(|byte| *byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

fn new_request_id() -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let random: u128 = rand::rng().random();
    let text: [u8; 32] = std::array::from_fn(|at| DIGITS[(random >> (4 * at)) as usize & 0xf]);
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests;
