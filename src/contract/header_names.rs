//! Names of headers that no claim may be handed to the app under: the resource refuses them, and so does the sidecar.

/// Headers that mean something to servers and proxies, so that none may be a claim's: those of one connection, of
/// credentials, of routing and of framing, and those that a reader trusts to come from a proxy.
pub const MEANINGFUL: [&str; 40] = [
    "alt-svc",
    "authorization",
    "baggage",
    "cache-control",
    "connection",
    "cookie",
    "cookie2",
    "date",
    "dpop",
    "early-data",
    "expect",
    "forwarded",
    "from",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "origin",
    "pragma",
    "priority",
    "proxy",
    "range",
    "referer",
    "server",
    "set-cookie",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "warning",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-real-ip",
    "x-request-id",
];

/// And those that begin so.
pub const MEANINGFUL_PREFIXES: [&str; 10] = [
    "accept",
    "access-control-",
    "content-",
    "grpc-",
    "if-",
    "proxy-",
    "sec-",
    "x-envoy-",
    "x-forwarded",
    "x-rewrite-",
];

/// Whether a name, in lower case, is one of these.
#[must_use]
pub fn is_meaningful(name: &str) -> bool {
    MEANINGFUL.contains(&name) || MEANINGFUL_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
