//! The opening of a WebSocket (RFC 6455 section 4), by an upgrade of HTTP/1.1 or by extended CONNECT of HTTP/2 (RFC 8441),
//! with the caller and with the app independently. It decides what is a wish for one, how the app is asked, and whether
//! its answer is a yes. Nothing else is ever tunnelled.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use http_body::Body;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use rand::Rng;
use tollgate_contract::UpstreamProtocol;

use super::headers::lists;
use crate::intake::Intake;
use crate::reason::Reason;
use crate::rejection::Rejection;

/// RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const WEBSOCKET: &str = "websocket";

/// A caller's wish for a WebSocket.
pub(crate) struct Opening {
    /// The caller's own; there is none with HTTP/2.
    key: Option<HeaderValue>,
    /// Becomes the caller's connection once it has read a yes.
    pub(crate) caller: OnUpgrade,
}

/// The question that the app was asked, to tell a right answer from a wrong one.
pub(super) struct Question {
    /// What HTTP/1.1 must answer; HTTP/2 answers with its status alone.
    accept: Option<HeaderValue>,
}

impl Opening {
    /// Takes the wish out of a request, which is a plain GET from then on. An upgrade to anything else is none: it is
    /// dropped with the other headers of the hop (RFC 9110 section 7.8).
    pub(crate) fn take(parts: &mut Parts, body: &Intake) -> Result<Option<Self>, Rejection> {
        if parts.method == Method::CONNECT {
            return Ok(Self::by_connect(parts));
        }
        if !parts.headers.contains_key(header::UPGRADE) {
            return Ok(None);
        }
        let names = |name, word| parts.headers.get_all(name).iter().any(|value| lists(value, word));
        let is_wish = parts.version == Version::HTTP_11
            && parts.method == Method::GET
            && names(header::UPGRADE, WEBSOCKET)
            && names(header::CONNECTION, "upgrade")
            && body.is_end_stream();
        let Some(caller) = is_wish.then(|| parts.extensions.remove::<OnUpgrade>()).flatten() else { return Ok(None) };
        let mut keys = parts.headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
        let key = keys.next().filter(|key| is_key(key) && keys.next().is_none()).cloned();
        match key {
            Some(key) => Ok(Some(Self { key: Some(key), caller })),
            None => Err(Rejection::new(Reason::BadRequest, "Sec-WebSocket-Key is missing or malformed.")),
        }
    }

    fn by_connect(parts: &mut Parts) -> Option<Self> {
        if parts.version != Version::HTTP_2 || parts.extensions.get::<Protocol>()?.as_str() != WEBSOCKET {
            return None;
        }
        parts.extensions.remove::<Protocol>();
        let caller = parts.extensions.remove::<OnUpgrade>()?;
        // A handshake is a GET (RFC 8441 section 5): routes and rules see one.
        parts.method = Method::GET;
        Some(Self { key: None, caller })
    }

    /// Makes of a request, with the headers as the app may see them, one that asks for a WebSocket.
    pub(super) fn ask(&self, parts: &mut Parts, protocol: UpstreamProtocol) -> Question {
        let headers = &mut parts.headers;
        headers.entry(header::SEC_WEBSOCKET_VERSION).or_insert(HeaderValue::from_static("13"));
        match protocol {
            UpstreamProtocol::Http1 => {
                let key = self.key.clone().unwrap_or_else(new_key);
                let accept = accept(&key);
                headers.insert(header::SEC_WEBSOCKET_KEY, key);
                set_upgrade(headers);
                Question { accept: Some(accept) }
            }
            UpstreamProtocol::H2c => {
                headers.remove(header::SEC_WEBSOCKET_KEY);
                parts.method = Method::CONNECT;
                parts.extensions.insert(Protocol::from_static(WEBSOCKET));
                Question { accept: None }
            }
        }
    }

    /// The head of the yes, made of the app's, whose headers are those that the caller may see.
    pub(crate) fn accept(&self, status: &mut StatusCode, headers: &mut HeaderMap) {
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        *status = match &self.key {
            Some(key) => {
                headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept(key));
                set_upgrade(headers);
                StatusCode::SWITCHING_PROTOCOLS
            }
            None => StatusCode::OK,
        };
    }

    /// Whether an answer that is no yes could be taken for one.
    pub(crate) fn mistakes(&self, status: StatusCode) -> bool {
        self.key.is_none() && status.is_success()
    }
}

impl Question {
    /// Whether the app's answer is a yes; an error where it only looks like one.
    pub(super) fn is_granted(&self, status: StatusCode, headers: &HeaderMap) -> Result<bool, Rejection> {
        let Some(accept) = &self.accept else { return Ok(status == StatusCode::OK) };
        if status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(false);
        }
        let says = |name: HeaderName, word: &str| headers.get_all(name).iter().any(|value| lists(value, word));
        let accepts: Vec<_> = headers.get_all(header::SEC_WEBSOCKET_ACCEPT).iter().collect();
        let is_right = says(header::UPGRADE, WEBSOCKET) && says(header::CONNECTION, "upgrade") && accepts == [accept];
        if is_right { Ok(true) } else { Err(refused("The API's answer to the WebSocket handshake is no valid one.")) }
    }
}

/// The app answers wrongly.
pub(crate) fn refused(detail: &'static str) -> Rejection {
    Rejection::new(Reason::UpgradeRefused, detail)
}

fn set_upgrade(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
}

/// Base64 of 16 octets.
fn is_key(key: &HeaderValue) -> bool {
    STANDARD.decode(key.as_bytes()).is_ok_and(|octets| octets.len() == 16)
}

fn new_key() -> HeaderValue {
    let octets: [u8; 16] = rand::rng().random();
    HeaderValue::try_from(STANDARD.encode(octets)).unwrap_or(HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA=="))
}

/// RFC 6455 section 4.2.2, item 5.4.
fn accept(key: &HeaderValue) -> HeaderValue {
    let proof = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), GUID].concat());
    HeaderValue::try_from(STANDARD.encode(proof)).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: HeaderValue = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");

    #[test]
    fn the_proof_is_that_of_the_rfc() {
        assert_eq!(accept(&KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(is_key(&KEY) && is_key(&new_key()));
        for bad in ["", "dGhlIHNhbXBsZSBub25jZQ", "dGhl", "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ=="] {
            assert!(!is_key(&HeaderValue::from_static(bad)), "{bad}");
        }
    }

    #[test]
    fn only_a_right_101_is_a_yes() {
        let question = Question { accept: Some(accept(&KEY)) };
        let right = [
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ];
        let judged = |status: u16, headers: &[(&'static str, &'static str)]| {
            let headers =
                headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            let status = StatusCode::from_u16(status).unwrap();
            question.is_granted(status, &headers.collect()).map_err(|rejection| rejection.reason)
        };
        assert_eq!(judged(101, &right), Ok(true));
        assert_eq!(judged(200, &right), Ok(false));
        assert_eq!(judged(403, &[]), Ok(false));
        for left_out in 0..3 {
            let mut wrong = right.to_vec();
            wrong.remove(left_out);
            assert_eq!(judged(101, &wrong), Err(Reason::UpgradeRefused), "{wrong:?}");
        }
        for (at, value) in [(0, "h2c"), (1, "keep-alive"), (2, "s3pPLMBiTxaQ9kYGzzhZRbK+xOO=")] {
            let mut wrong = right;
            wrong[at].1 = value;
            assert_eq!(judged(101, &wrong), Err(Reason::UpgradeRefused), "{wrong:?}");
        }
    }
}
