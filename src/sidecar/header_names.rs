//! Which header names mean something, which mean the same to an app, and which nobody but us may set. Pure. Names are
//! lower case, as the HTTP library has them.

/// Only we set what starts with this.
const OURS: &str = tollgate_contract::names::IDENTITY_HEADER_PREFIX;

/// Names that mean something to us or to the app's framework. CGI-like interfaces (WSGI, PHP, Rack) read `_` and `-` as
/// one, so another spelling of these would count as the header itself.
const MEANINGFUL: [&str; 19] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "dpop",
    "expect",
    "forwarded",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
    "traceparent",
];

/// Make some frameworks serve another method or path than the one that was judged.
const OVERRIDES: [&str; 5] =
    ["x-http-method", "x-http-method-override", "x-method-override", "x-original-url", "x-rewrite-url"];

/// CGI hands it to the program as `HTTP_PROXY`, where HTTP clients look for their proxy (CVE-2016-5385). HTTP knows no
/// such header.
const HTTPOXY: &str = "proxy";

/// Of one connection, not of the message (RFC 9110 section 7.6.1). `Expect` ends here too: we say 100 when we begin to
/// read the body. `Upgrade` is dropped. What proxies ask their next client for (sections 11.7.1 to 11.7.3) is not for an
/// app behind us to ask or to hear; any other `Proxy-*` (such as `Proxy-Status`, RFC 9209) is end to end.
pub(crate) fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "expect"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// What a caller must not be able to say to the app.
pub(crate) fn is_untrusted(name: &str) -> bool {
    let resembles_any = |known: &[&str]| known.iter().any(|known| resembles(name, known));
    is_ours(name)
        || OVERRIDES.contains(&name)
        || name == HTTPOXY
        || (is_odd(name) && (resembles_any(&MEANINGFUL) || resembles_any(&OVERRIDES)))
}

/// What decides how a message is read, and so has no place at its end (RFC 9110 section 6.5.1).
pub(crate) fn is_meaningful(name: &str) -> bool {
    MEANINGFUL.contains(&name)
}

/// Whether two names are the same when every character that is no letter or digit counts as `-`.
pub(crate) fn resembles(name: &str, known: &str) -> bool {
    let is_mark = |byte: u8| !byte.is_ascii_alphanumeric();
    name.len() == known.len() && name.bytes().zip(known.bytes()).all(|(a, b)| a == b || (is_mark(a) && is_mark(b)))
}

/// Whether a claim may be handed to the app under this name; else why not, as the end of a sentence.
pub(crate) fn check_claim_header(name: &str) -> Result<(), &'static str> {
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !plain || !name.starts_with(|c: char| c.is_ascii_lowercase()) || name.len() > 64 {
        return Err("is no name of at most 64 lower-case letters, digits and -");
    }
    if is_ours(name) {
        return Err("starts with x-tollgate-, which is the sidecar's own");
    }
    if tollgate_contract::header_names::is_meaningful(name) {
        return Err("means something else in HTTP");
    }
    Ok(())
}

fn is_ours(name: &str) -> bool {
    name.len() >= OURS.len() && name.starts_with('x') && resembles(&name[..OURS.len()], OURS)
}

/// Holds a character other than letters, digits and `-`.
fn is_odd(name: &str) -> bool {
    name.bytes().any(|byte| !(byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_handed_on_only_under_a_name_that_means_nothing_else() {
        for good in ["x-user", "x-groups", "remote-user", "x-auth-request-email", "user", "x-toll", "x1"] {
            assert_eq!(check_claim_header(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "X-User",
            "x_user",
            "x.user",
            "x user",
            "-x",
            "1x",
            "é",
            &"x".repeat(65),
            "x-tollgate-subject",
            "x-tollgate-x",
            "connection",
            "keep-alive",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "proxy-authorization",
            "proxy-x",
            "proxy",
            "host",
            "content-length",
            "content-encoding",
            "authorization",
            "dpop",
            "cookie",
            "x-forwarded-for",
            "x-forwarded-user",
            "forwarded",
            "x-real-ip",
            "x-request-id",
            "traceparent",
            "tracestate",
            "x-http-method-override",
            "x-original-url",
            "origin",
            "access-control-request-method",
            "sec-websocket-protocol",
            "accept",
            "accept-encoding",
            "if-match",
            "range",
            "user-agent",
            "grpc-timeout",
        ] {
            assert!(check_claim_header(bad).is_err(), "{bad}");
        }
    }
}
