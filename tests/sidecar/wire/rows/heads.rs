//! What a head may look like: its lines, its Host, and headers that pass for somebody else's.

use super::Want::Refused;
use super::{Row, arrives, either, row};

/// All of them.
pub(super) fn all() -> Vec<Row> {
    [lines(), hosts(), spoofed()].concat()
}

fn lines() -> Vec<Row> {
    let refused: [(&str, &[u8]); 31] = [
        ("a folded header", b"GET /docs HTTP/1.1\r\nhost: api.test\r\nx-a: b\r\n c: d\r\n\r\n"),
        ("a header folded with a tab", b"GET /docs HTTP/1.1\r\nhost: api.test\r\nx-a: b\r\n\tc\r\n\r\n"),
        ("a folded host", b"GET /docs HTTP/1.1\r\nhost:\r\n api.test\r\n\r\n"),
        ("a folded first line", b"GET /docs HTTP/1.1\r\n x-a: b\r\nhost: api.test\r\n\r\n"),
        ("a header without a colon", b"GET /docs HTTP/1.1\r\nhost: api.test\r\nnonsense\r\n\r\n"),
        ("a header without a name", b"GET /docs HTTP/1.1\r\nhost: api.test\r\n: x\r\n\r\n"),
        ("a space in a name", b"GET /docs HTTP/1.1\r\nhost: api.test\r\nx a: b\r\n\r\n"),
        ("a space before the colon", b"GET /docs HTTP/1.1\r\nhost: api.test\r\nx-tollgate-subject : evil\r\n\r\n"),
        ("a bracket in a name", b"GET /docs HTTP/1.1\r\nhost: api.test\r\nx(a): b\r\n\r\n"),
        ("a byte beyond ASCII in a name", b"GET /docs HTTP/1.1\r\nhost: api.test\r\nx-\xe4: b\r\n\r\n"),
        ("NUL in a name", b"GET /docs HTTP/1.1\r\nhost: api.test\r\nx\0a: b\r\n\r\n"),
        ("NUL in a value", b"GET /docs HTTP/1.1\r\nhost: api.test\r\nx-a: b\0c\r\n\r\n"),
        ("a bare CR in a value", b"GET /docs HTTP/1.1\r\nhost: api.test\r\nx-a: b\rx-user: evil\r\n\r\n"),
        ("a control character in a value", b"GET /docs HTTP/1.1\r\nhost: api.test\r\nx-a: b\x01\r\n\r\n"),
        ("DEL in a value", b"GET /docs HTTP/1.1\r\nhost: api.test\r\nx-a: b\x7f\r\n\r\n"),
        ("CR CR LF", b"GET /docs HTTP/1.1\r\r\nhost: api.test\r\n\r\n"),
        ("two spaces after the method", b"GET  /docs HTTP/1.1\r\nhost: api.test\r\n\r\n"),
        ("a tab after the method", b"GET\t/docs HTTP/1.1\r\nhost: api.test\r\n\r\n"),
        ("a space in the target", b"GET /docs /internal HTTP/1.1\r\nhost: api.test\r\n\r\n"),
        ("a tab in the target", b"GET /docs\t/internal HTTP/1.1\r\nhost: api.test\r\n\r\n"),
        ("no version", b"GET /docs\r\n\r\n"),
        ("a version in lower case", b"GET /docs http/1.1\r\nhost: api.test\r\n\r\n"),
        ("version 1.2", b"GET /docs HTTP/1.2\r\nhost: api.test\r\n\r\n"),
        ("version 2.0", b"GET /docs HTTP/2.0\r\nhost: api.test\r\n\r\n"),
        ("version 1.1 and more", b"GET /docs HTTP/1.1 x\r\nhost: api.test\r\n\r\n"),
        ("a method in lower case", b"get /docs HTTP/1.1\r\nhost: api.test\r\n\r\n"),
        ("a method in mixed case", b"Post /docs HTTP/1.1\r\nhost: api.test\r\ncontent-length: 0\r\n\r\n"),
        ("a method that is no token", b"G@T /docs HTTP/1.1\r\nhost: api.test\r\n\r\n"),
        ("TRACE", b"TRACE /docs HTTP/1.1\r\nhost: api.test\r\n\r\n"),
        ("CONNECT with a path", b"CONNECT /docs HTTP/1.1\r\nhost: api.test\r\n\r\n"),
        ("TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\r\n\r\n"),
    ];
    let mut rows: Vec<Row> = refused.into_iter().map(|(name, bytes)| row(name, bytes, Refused)).collect();
    for (name, text) in [
        ("bare line feeds", "GET /docs HTTP/1.1\nhost: api.test\nX-User: evil\n\n"),
        ("line feeds mixed in", "GET /docs HTTP/1.1\r\nhost: api.test\nx-a: b\r\n\r\n"),
        ("an empty line first", "\r\nGET /docs HTTP/1.1\r\nhost: api.test\r\n\r\n"),
        ("a value without a space", "GET /docs HTTP/1.1\r\nhost:api.test\r\nx-a:b\r\n\r\n"),
        ("an empty value", "GET /docs HTTP/1.1\r\nhost: api.test\r\nx-a:\r\n\r\n"),
        ("letters beyond ASCII in a value", "GET /docs HTTP/1.1\r\nhost: api.test\r\nx-a: \u{f6}\r\n\r\n"),
        ("a tab in a value", "GET /docs HTTP/1.1\r\nhost: api.test\r\nx-a: b\tc\r\n\r\n"),
        ("an unknown method", "PROPFIND /docs HTTP/1.1\r\nhost: api.test\r\n\r\n"),
        ("OPTIONS", "OPTIONS /docs HTTP/1.1\r\nhost: api.test\r\n\r\n"),
        ("DELETE", "DELETE /docs HTTP/1.1\r\nhost: api.test\r\n\r\n"),
    ] {
        rows.push(row(name, text, arrives("/docs", "")));
    }
    let many = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    rows.push(row("200 headers", format!("GET /docs HTTP/1.1\r\nhost: api.test\r\n{many}\r\n"), Refused));
    let long = format!("GET /docs HTTP/1.1\r\nhost: api.test\r\nx-a: {}\r\n\r\n", "x".repeat(40_000));
    rows.push(row("a header of 40 KB", long, Refused));
    rows
}

fn hosts() -> Vec<Row> {
    let with = |hosts: &str| format!("GET /docs HTTP/1.1\r\n{hosts}\r\n");
    let refused = [
        "",
        "host: api.test\r\nhost: api.test\r\n",
        "host: api.test\r\nhost: evil.test\r\n",
        "host: api.test, evil.test\r\n",
        "host: api.test/items\r\n",
        "host: user@api.test\r\n",
        "host: api.test#x\r\n",
        "host: api.test?x\r\n",
        "host: api test\r\n",
        "host: api.test\\items\r\n",
        "host: \u{e4}pi.test\r\n",
        "host: <api.test>\r\n",
    ];
    let mut rows: Vec<Row> = refused.iter().map(|hosts| row(format!("host {hosts:?}"), with(hosts), Refused)).collect();
    for hosts in ["host: api.test\r\n", "HOST: API.test:8080\r\n", "host: [2001:db8::1]:80\r\n"] {
        rows.push(row(format!("host {hosts:?}"), with(hosts), arrives("/docs", "")));
    }
    rows.push(row("an empty host", with("host:\r\n"), either("/docs", "")));
    rows.push(row("HTTP/1.0 without a host", "GET /docs HTTP/1.0\r\n\r\n", arrives("/docs", "")));
    rows.push(row("a host named by Connection", with("host: api.test\r\nconnection: host\r\n"), arrives("/docs", "")));
    rows
}

/// Headers by which a caller could pass for somebody else, or for another request. What is evil must not arrive.
fn spoofed() -> Vec<Row> {
    [
        "X-Tollgate-Subject: evil",
        "x-tollgate-subject: evil\r\nX-TOLLGATE-SUBJECT: evil",
        "X_Tollgate_Subject: evil",
        "x-tollgate_client-id: evil",
        "x.tollgate.scopes: evil",
        "x~tollgate~issuer: evil",
        "x!tollgate|issuer: evil",
        "X-Tollgate-: evil",
        "X-Tollgate-Anything: evil",
        "X-User: evil",
        "x_user: evil",
        "x.user: evil",
        "x'user: evil",
        "X-User: evil\r\nconnection: x-user",
        "x-tollgate-subject: evil\r\nconnection: keep-alive, x-tollgate-subject",
        "connection: x-evil\r\nx-evil: evil",
        "connection: X-EVIL , keep-alive\r\nx-evil: evil",
        "connection: keep-alive\r\nconnection: x-evil\r\nx-evil: evil",
        "keep-alive: timeout=5, evil",
        "proxy-connection: evil",
        "proxy-authorization: Basic evil",
        "proxy-authenticate: Basic realm=evil",
        "Proxy: http://evil.test",
        "te: evil",
        "te: evil, trailers",
        "upgrade: evil",
        "upgrade: evil\r\nconnection: upgrade",
        "http2-settings: evil",
        "upgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: evil",
        "X-HTTP-Method-Override: evil",
        "X-HTTP-Method: evil",
        "X-Method-Override: evil",
        "x_http_method_override: evil",
        "X-Original-URL: /evil",
        "X-Rewrite-URL: /evil",
        "x_original_url: /evil",
        "x.rewrite.url: /evil",
        "content_length: evil",
        "content_type: evil",
        "x_forwarded_for: evil",
        "x.forwarded.host: evil",
        "x_forwarded_proto: evil",
        "x_real_ip: evil",
        "x_request_id: evil",
        "X-Request-Id: evil id",
        "x-forwarded-proto: evil",
        "traceparent: evil",
        "traceparent: 00-evil\r\ntracestate: evil=1",
        "expect: 100-continue\r\nx-a: b",
    ]
    .into_iter()
    .map(|lines| {
        let bytes = format!("GET /docs HTTP/1.1\r\nhost: api.test\r\n{lines}\r\n\r\n");
        row(format!("spoofed {lines:?}"), bytes, arrives("/docs", ""))
    })
    .collect()
}
