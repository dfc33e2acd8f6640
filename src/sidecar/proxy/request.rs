//! A request made ready for what the app speaks: target, version and framing. Its headers are decided in `headers`.

use std::sync::Arc;

use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Uri, Version, header};
use http_body::Body;
use hyper::body::Incoming;
use tollgate_contract::UpstreamProtocol;

use super::body::{Progress, Upload, UploadRules};
use super::dial::Dialer;
use super::websocket::{Opening, Question};

/// How the app is spoken to.
#[derive(Debug, Clone)]
pub(crate) struct Tongue {
    pub(crate) protocol: UpstreamProtocol,
    scheme: Scheme,
    /// Where a caller named none that HTTP/2 could carry.
    authority: Authority,
}

/// A request's bodies, made ready to be forwarded.
pub(crate) struct Outgoing {
    pub(super) request: Request<Upload>,
    pub(super) progress: Option<Arc<Progress>>,
    pub(super) is_grpc: bool,
}

impl Tongue {
    pub(crate) fn new(protocol: UpstreamProtocol, dialer: &Dialer) -> Self {
        let scheme = if dialer.is_tls() { Scheme::HTTPS } else { Scheme::HTTP };
        let authority = Authority::try_from(dialer.address().to_string());
        Self { protocol, scheme, authority: authority.unwrap_or(Authority::from_static("localhost")) }
    }

    /// `parts` has the headers as the app may see them.
    pub(crate) fn outgoing(&self, mut parts: Parts, body: Incoming, rules: &UploadRules, is_grpc: bool) -> Outgoing {
        let (body, progress) = Upload::new(body, rules);
        match self.protocol {
            UpstreamProtocol::Http1 => for_http1(&mut parts, &body),
            UpstreamProtocol::H2c => self.for_http2(&mut parts),
        }
        parts.extensions.clear();
        Outgoing { request: Request::from_parts(parts, body), progress, is_grpc }
    }

    /// The same for a request that asks for a WebSocket.
    pub(crate) fn opening(&self, mut parts: Parts, opening: &Opening) -> (Outgoing, Question) {
        parts.extensions.clear();
        match self.protocol {
            UpstreamProtocol::Http1 => for_http1(&mut parts, &Upload::Empty),
            UpstreamProtocol::H2c => self.for_http2(&mut parts),
        }
        let question = opening.ask(&mut parts, self.protocol);
        let request = Request::from_parts(parts, Upload::Empty);
        (Outgoing { request, progress: None, is_grpc: false }, question)
    }

    /// The authority stands in the target alone (RFC 9113 section 8.3.1).
    fn for_http2(&self, parts: &mut Parts) {
        let host = parts.headers.remove(header::HOST);
        let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
        let mut target = http::uri::Parts::default();
        target.scheme = Some(self.scheme.clone());
        target.authority = Some(authority.unwrap_or_else(|| self.authority.clone()));
        let path = std::mem::take(&mut parts.uri).into_parts().path_and_query;
        target.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        parts.uri = Uri::from_parts(target).unwrap_or_default();
        parts.version = Version::HTTP_2;
    }
}

impl Outgoing {
    /// How the upload is coming along; none without a body.
    pub(crate) fn progress(&self) -> Option<Arc<Progress>> {
        self.progress.clone()
    }
}

/// The target in origin form (RFC 9112 section 3.2.1).
fn for_http1(parts: &mut Parts, body: &Upload) {
    if parts.uri.authority().is_some() {
        parts.uri = std::mem::take(&mut parts.uri).into_parts().path_and_query.map(Into::into).unwrap_or_default();
    }
    parts.version = Version::HTTP_11;
    if body.size_hint().exact().is_none() {
        // Unasked, hyper sends no body of unknown length with GET and HEAD.
        parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Whether a request asks for no change (RFC 9110 section 9.2.1): an app may have acted on it before it hung up, and a
/// DELETE that was done answers 404 the second time.
pub(super) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// A second copy of a request without a body. One with a body is on its way as soon as the app takes it.
pub(super) fn spare(request: &Request<Upload>) -> Option<Request<Upload>> {
    if !matches!(request.body(), Upload::Empty) {
        return None;
    }
    let mut spare = Request::new(Upload::Empty);
    *spare.method_mut() = request.method().clone();
    *spare.uri_mut() = request.uri().clone();
    *spare.version_mut() = request.version();
    *spare.headers_mut() = request.headers().clone();
    Some(spare)
}
