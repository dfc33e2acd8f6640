//! The token of a WebSocket that a browser opens: scripts can set no header there but the list of subprotocols, so the
//! token stands among them, as Kubernetes' API server takes it. Where the policy says so, this is the one place for a
//! token beside `Authorization`; the app never sees it. Pure.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderMap, HeaderValue};

use crate::reason::Reason;
use crate::rejection::Rejection;

/// What stands before the token, which is encoded once more: a subprotocol's name has fewer characters than a token.
const PREFIX: &[u8] = b"base64url.bearer.authorization.tollgate.dev.";

/// The token among the subprotocols, if there is one.
pub(super) fn token(headers: &HeaderMap) -> Result<Option<Vec<u8>>, Rejection> {
    let mut tokens = offered(headers).filter_map(|name| name.strip_prefix(PREFIX));
    let Some(encoded) = tokens.next() else { return Ok(None) };
    if tokens.next().is_some() {
        return Err(Rejection::new(Reason::BadRequest, "More than one token was sent in Sec-WebSocket-Protocol."));
    }
    let malformed = || Rejection::new(Reason::MalformedToken, "The token in Sec-WebSocket-Protocol is no base64url.");
    URL_SAFE_NO_PAD.decode(encoded).map(Some).map_err(|_| malformed())
}

/// Takes tokens out; without another subprotocol the header goes.
pub(crate) fn strip(headers: &mut HeaderMap) {
    if !offered(headers).any(|name| name.starts_with(PREFIX)) {
        return;
    }
    let others: Vec<&[u8]> = offered(headers).filter(|name| !name.starts_with(PREFIX)).collect();
    let others = HeaderValue::from_bytes(&others.join(&b", "[..])).ok().filter(|others| !others.is_empty());
    match others {
        Some(others) => headers.insert(SEC_WEBSOCKET_PROTOCOL, others),
        None => headers.remove(SEC_WEBSOCKET_PROTOCOL),
    };
}

/// Names in the list, whose header may stand there more than once (RFC 6455 section 11.3.4).
fn offered(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn one_token_is_found_wherever_it_stands_and_two_are_one_too_many() {
        let found = |values: &[&str]| token(&map(values)).map_err(|rejection| rejection.reason);
        let good = "base64url.bearer.authorization.tollgate.dev.YS5iLmM";
        assert_eq!(found(&[]), Ok(None));
        assert_eq!(found(&["chat, superchat"]), Ok(None));
        for values in [&[good][..], &[&format!("chat, {good}")], &["chat", good], &[&format!("{good},chat")]] {
            assert_eq!(found(values), Ok(Some(b"a.b.c".to_vec())), "{values:?}");
        }
        for values in [&[good, good][..], &[&format!("{good}, {good}")], &[&format!("{good}, chat, {good}x")]] {
            assert_eq!(found(values), Err(Reason::BadRequest), "{values:?}");
        }
        for bad in ["*", "YS5iLmM=", "YS5iLmM!", "a"] {
            let value = format!("base64url.bearer.authorization.tollgate.dev.{bad}");
            assert_eq!(found(&[&value]), Err(Reason::MalformedToken), "{bad}");
        }
        assert_eq!(found(&["base64url.bearer.authorization.tollgate.dev."]), Ok(Some(Vec::new())));
    }

    #[test]
    fn nothing_of_a_token_is_left_and_nothing_else_is_lost() {
        let left = |values: &[&str]| {
            let mut headers = map(values);
            strip(&mut headers);
            let all: Vec<_> = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().cloned().collect();
            all
        };
        let token = "base64url.bearer.authorization.tollgate.dev.YS5iLmM";
        assert!(left(&[token]).is_empty() && left(&[token, token]).is_empty());
        assert_eq!(left(&[&format!("chat,{token} , superchat")]), ["chat, superchat"]);
        assert_eq!(left(&["chat", token]), ["chat"]);
        assert_eq!(left(&["chat,  superchat"]), ["chat,  superchat"]);
        assert!(left(&[]).is_empty());
    }
}
