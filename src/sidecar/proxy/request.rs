//! A request made ready for what the app speaks: target, version and framing. Its headers are decided in `headers`.

use std::sync::Arc;

use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use http_body::Body;
use tollgate_contract::UpstreamProtocol;

use super::body::{Progress, Upload, UploadRules};
use super::dial::Dialer;
use super::websocket::{Opening, Question};
use crate::intake::Intake;

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
    /// Boxed: many steps pass it on.
    pub(super) parts: Box<Parts>,
    pub(super) body: Upload,
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
    pub(crate) fn outgoing(&self, mut parts: Box<Parts>, body: Intake, rules: &UploadRules, is_grpc: bool) -> Outgoing {
        let (body, progress) = Upload::new(body, rules);
        match self.protocol {
            UpstreamProtocol::Http1 => for_http1(&mut parts, &body),
            UpstreamProtocol::H2c => self.for_http2(&mut parts),
        }
        parts.extensions.clear();
        Outgoing { parts, body, progress, is_grpc }
    }

    /// The same for a request that asks for a WebSocket.
    pub(crate) fn opening(&self, mut parts: Box<Parts>, opening: &Opening) -> (Outgoing, Question) {
        parts.extensions.clear();
        match self.protocol {
            UpstreamProtocol::Http1 => for_http1(&mut parts, &Upload::Empty),
            UpstreamProtocol::H2c => self.for_http2(&mut parts),
        }
        let question = opening.ask(&mut parts, self.protocol);
        (Outgoing { parts, body: Upload::Empty, progress: None, is_grpc: false }, question)
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
    /// Whether the request's body goes on until its caller ends it: it names no length.
    pub(crate) fn is_open_ended(&self) -> bool {
        self.body.size_hint().exact().is_none()
    }

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

/// A second copy of a request without a body; one with a body is on its way as soon as the app takes it. Nearly none is ever
/// used, so it is kept as cheaply as can be.
pub(super) struct Spare {
    method: Method,
    uri: Uri,
    version: Version,
    /// `name:value\n` each, or `name;value\n` where the value is sensitive; neither may hold what ends it.
    headers: Vec<u8>,
}

impl Spare {
    pub(super) fn of(parts: &Parts, body: &Upload) -> Option<Self> {
        // The protocol that CONNECT asks for stands beside the request (RFC 8441).
        if !matches!(body, Upload::Empty) || parts.method == Method::CONNECT {
            return None;
        }
        let length = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 2).sum();
        let mut headers = Vec::with_capacity(length);
        for (name, value) in &parts.headers {
            headers.extend_from_slice(name.as_str().as_bytes());
            headers.push(if value.is_sensitive() { b';' } else { b':' });
            headers.extend_from_slice(value.as_bytes());
            headers.push(b'\n');
        }
        let (method, uri, version) = (parts.method.clone(), parts.uri.clone(), parts.version);
        Some(Self { method, uri, version, headers })
    }

    /// The request again.
    pub(super) fn request(self) -> Request<Upload> {
        let mut request = Request::new(Upload::Empty);
        let headers = self.headers.split(|byte| *byte == b'\n').filter_map(|line| {
            let (name, [mark, value @ ..]) = line.split_at(line.iter().position(|byte| matches!(byte, b':' | b';'))?)
            else {
                return None;
            };
            let mut value = HeaderValue::from_bytes(value).ok()?;
            value.set_sensitive(*mark == b';');
            Some((HeaderName::from_bytes(name).ok()?, value))
        });
        for (name, value) in headers {
            request.headers_mut().append(name, value);
        }
        (*request.method_mut(), *request.uri_mut(), *request.version_mut()) = (self.method, self.uri, self.version);
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_is_the_same_request_again() {
        let mut request = Request::new(Upload::Empty);
        (*request.method_mut(), *request.version_mut()) = (Method::HEAD, Version::HTTP_2);
        *request.uri_mut() = Uri::from_static("http://app:80/items?a=b:c");
        for (name, value) in
            [("x-many", &b"one"[..]), ("accept", b"a/b: c"), ("x-many", b"\xfftwo\t"), ("empty", b""), ("x-many", b":")]
        {
            request.headers_mut().append(name, HeaderValue::from_bytes(value).unwrap());
        }
        request.headers_mut().get_mut("accept").unwrap().set_sensitive(true);
        let (parts, body) = request.into_parts();
        let again = Spare::of(&parts, &body).unwrap().request();
        let request = Request::from_parts(parts, body);
        assert_eq!(
            (again.method(), again.uri(), again.version()),
            (request.method(), request.uri(), request.version())
        );
        assert_eq!(again.headers(), request.headers());
        let sensitive = |request: &Request<Upload>| request.headers()["accept"].is_sensitive();
        assert!(sensitive(&request) && sensitive(&again));
    }

    #[test]
    fn a_wish_for_a_websocket_over_http2_is_not_kept() {
        let request = Request::builder().method(Method::CONNECT).body(Upload::Empty).unwrap();
        let (parts, body) = request.into_parts();
        assert!(Spare::of(&parts, &body).is_none());
    }
}
