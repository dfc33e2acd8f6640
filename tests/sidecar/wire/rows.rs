//! The rows of the table: bytes that a caller sends, and what may come of them.

/// What may come of a request.
#[derive(Debug, Clone)]
pub(super) enum Want {
    /// It is answered 4xx or with the end of the connection, and no server sees it.
    Refused,
    /// It arrives once, with this target and body, and is answered 200.
    Arrives(String, Vec<u8>),
    /// One or the other: readers of HTTP differ, and either is safe.
    Either(String, Vec<u8>),
}

/// One request.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    pub(super) want: Want,
    /// With odd slashes kept.
    pub(super) keeps: bool,
}

use Want::{Arrives, Either, Refused};

fn row(name: impl Into<String>, bytes: impl Into<Vec<u8>>, want: Want) -> Row {
    Row { name: name.into(), bytes: bytes.into(), want, keeps: false }
}

fn arrives(target: &str, body: &str) -> Want {
    Arrives(target.to_owned(), body.into())
}

fn either(target: &str, body: &str) -> Want {
    Either(target.to_owned(), body.into())
}

/// Every row.
pub(super) fn all() -> Vec<Row> {
    [lengths(), codings(), chunks(), lines(), hosts(), targets(), bypasses(), kept(), spoofed(), honest()]
        .into_iter()
        .flatten()
        .collect()
}

fn post(lines: &str, body: &str) -> String {
    format!("POST /docs/a HTTP/1.1\r\nhost: api.test\r\n{lines}\r\n\r\n{body}")
}

fn lengths() -> Vec<Row> {
    let refused = [
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 6\r\ncontent-length: 5",
        "content-length: 5, 6",
        "content-length: 5,5,6",
        "content-length: +5",
        "content-length: -5",
        "content-length: 0x5",
        "content-length: 5.0",
        "content-length: 5e0",
        "content-length: 5 5",
        "content-length: \"5\"",
        "content-length: five",
        "content-length:",
        "content-length: ,5",
        "content-length: 5,",
        "content-length: 99999999999999999999",
        "content-length: 18446744073709551616",
        "content-length: \u{665}",
        "content-length: 5\u{b}",
        "content-length : 5",
        "content-length\t: 5",
        " content-length: 5",
        "content-length:\r\n 5",
        "content-length: 5\0",
    ];
    let mut rows: Vec<Row> =
        refused.iter().map(|line| row(format!("length {line:?}"), post(line, "hello"), Refused)).collect();
    for line in ["content-length: 5", "Content-Length:5", "CONTENT-LENGTH:   5  ", "content-length: 05"] {
        rows.push(row(format!("length {line:?}"), post(line, "hello"), arrives("/docs/a", "hello")));
    }
    for line in ["content-length: 5\r\ncontent-length: 5", "content-length: 5, 5"] {
        rows.push(row(format!("length {line:?}"), post(line, "hello"), either("/docs/a", "hello")));
    }
    rows
}

fn codings() -> Vec<Row> {
    let refused = [
        "transfer-encoding: xchunked",
        "transfer-encoding: chunkedx",
        "transfer-encoding: identity",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: identity, chunked",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked, chunked",
        "transfer-encoding: chunked;q=1",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding: 'chunked'",
        "transfer-encoding:",
        "transfer-encoding: ,chunked",
        "transfer-encoding: chunked,",
        "transfer-encoding: \u{b}chunked",
        "transfer-encoding: chunked\u{c}",
        "transfer-encoding: chunked\0",
        "transfer-encoding: c\u{f6}hunked",
        "transfer-encoding : chunked",
        "transfer-encoding\t: chunked",
        " transfer-encoding: chunked",
        "transfer-encoding:\r\n chunked",
        "transfer-encoding:\n chunked",
        "x-a: b\rtransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer-encoding: identity\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: xchunked\r\ncontent-length: 5",
        "content-length: 5\r\ntransfer-encoding: xchunked",
        "content-length: 5\r\ntransfer-encoding : chunked",
    ];
    const CHUNKS: &str = "5\r\nhello\r\n0\r\n\r\n";
    let mut rows: Vec<Row> =
        refused.iter().map(|line| row(format!("coding {line:?}"), post(line, CHUNKS), Refused)).collect();
    for line in [
        "transfer-encoding: chunked",
        "Transfer-Encoding: Chunked",
        "transfer-encoding: \tchunked ",
        // With both, the coding counts and the connection ends (RFC 9112 section 6.3).
        "transfer-encoding: chunked\r\ncontent-length: 3",
        "content-length: 3\r\ntransfer-encoding: chunked",
        "content-length: 60\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 0",
    ] {
        rows.push(row(format!("coding {line:?}"), post(line, CHUNKS), arrives("/docs/a", "hello")));
    }
    // Another spelling is no coding to us, so it must be none to the app.
    for line in ["transfer_encoding: chunked", "transfer.encoding: chunked", "x-transfer-encoding: chunked"] {
        let lines = format!("{line}\r\ncontent-length: 15");
        rows.push(row(format!("coding {line:?}"), post(&lines, CHUNKS), arrives("/docs/a", CHUNKS)));
    }
    let old = format!("POST /docs/a HTTP/1.0\r\nhost: api.test\r\ntransfer-encoding: chunked\r\n\r\n{CHUNKS}");
    rows.push(row("chunks in HTTP/1.0", old, Refused));
    // What looks like a second request within a body is a body.
    let hidden = "GET /internal HTTP/1.1\r\nhost: api.test\r\n\r\n";
    let lines = format!("content-length: {}", hidden.len());
    rows.push(row("a request as a body", post(&lines, hidden), arrives("/docs/a", hidden)));
    let chunk = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    let both = format!("{lines}\r\ntransfer-encoding: chunked");
    rows.push(row("a request as a chunk", post("transfer-encoding: chunked", &chunk), arrives("/docs/a", hidden)));
    rows.push(row("a request as a chunk, with a length", post(&both, &chunk), arrives("/docs/a", hidden)));
    let get = format!("GET /docs/a HTTP/1.1\r\nhost: api.test\r\n{lines}\r\n\r\n{hidden}");
    rows.push(row("a request as the body of GET", get, arrives("/docs/a", hidden)));
    rows
}

fn chunks() -> Vec<Row> {
    let refused = [
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "z\r\nhello\r\n0\r\n\r\n",
        "\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\rhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5,5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
    ];
    let chunked = |body: &str| post("transfer-encoding: chunked", body);
    let mut rows: Vec<Row> =
        refused.iter().map(|body| row(format!("chunks {body:?}"), chunked(body), Refused)).collect();
    for body in [
        "5;ext=1\r\nhello\r\n0\r\n\r\n",
        "5;ext=\"a;b\"\r\nhello\r\n0;last\r\n\r\n",
        "005\r\nhello\r\n000\r\n\r\n",
        "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-Tollgate-Subject: evil\r\nx_user: evil\r\nauthorization: evil\r\n\r\n",
        "5\r\nhello\r\n0\r\ncontent-length: 0\r\ntransfer-encoding: evil\r\nhost: evil\r\n\r\n",
    ] {
        rows.push(row(format!("chunks {body:?}"), chunked(body), arrives("/docs/a", "hello")));
    }
    let declared = "transfer-encoding: chunked\r\ntrailer: x-user, x-tollgate-subject, x-sum";
    let body = "5\r\nhello\r\n0\r\nx-user: evil\r\nx-tollgate-subject: evil\r\nx-sum: 1\r\n\r\n";
    rows.push(row("declared trailers", post(declared, body), arrives("/docs/a", "hello")));
    rows.push(row("a space after the size", chunked("5 \r\nhello\r\n0\r\n\r\n"), either("/docs/a", "hello")));
    rows
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

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: api.test\r\n\r\n")
}

fn targets() -> Vec<Row> {
    let mut rows = Vec::new();
    for target in [
        "*",
        "items",
        "docs",
        "?docs",
        "api.test:80",
        "api.test",
        "http://evil.test/docs",
        "http://api.test@evil.test/docs",
        "http://user@api.test/docs",
        "http://api.test:81/docs",
        "http:///docs",
        "http:/docs",
        "http:docs",
        "ftp://api.test/docs",
        "http://api.test",
        "http://api.test/items",
        "http://api.test/docs/../items",
        "http://api.test//docs",
        "\\docs",
        "",
    ] {
        rows.push(row(format!("target {target:?}"), get(target), Refused));
    }
    rows.push(row("OPTIONS *", "OPTIONS * HTTP/1.1\r\nhost: api.test\r\n\r\n", Refused));
    rows.push(row("CONNECT", "CONNECT api.test:443 HTTP/1.1\r\nhost: api.test:443\r\n\r\n", Refused));
    for (target, seen) in [
        ("http://api.test/docs", "/docs"),
        ("HTTP://API.TEST/docs?x=1", "/docs?x=1"),
        ("https://api.test/docs/a%20b", "/docs/a%20b"),
        ("/docs#fragment", "/docs"),
        ("/docs#/../items", "/docs"),
    ] {
        rows.push(row(format!("target {target:?}"), get(target), arrives(seen, "")));
    }
    rows.push(row("a target of 80 KB", get(&format!("/docs/{}", "a".repeat(80_000))), Refused));
    let long = format!("/docs/{}", "a".repeat(9_000));
    rows.push(row("a target of 9 KB", get(&long), either(&long, "")));
    rows
}

/// Ways to what is scoped or closed, by way of what is public.
fn bypasses() -> Vec<Row> {
    [
        "/docs/../items",
        "/docs/./../items",
        "/docs/..",
        "/docs/.",
        "/./docs",
        "/../docs",
        "/docs/%2e%2e/items",
        "/docs/%2E%2E/items",
        "/docs/.%2e/items",
        "/docs/%2e/items",
        "/docs/..;/items",
        "/docs/..;x=1/items",
        "/docs/.;/items",
        "/docs/%2e%2e;/items",
        "/docs/..%3b/items",
        "/docs/..%2fitems",
        "/docs/..%2Fitems",
        "/docs%2f..%2fitems",
        "/docs%2Fa",
        "/docs/..%5citems",
        "/docs\\..\\items",
        "/docs/..\\items",
        "/docs/%252e%252e/items",
        "/docs/%25252e%25252e/items",
        "/docs/..%252fitems",
        "/docs/..%c0%afitems",
        "/docs/%c0%ae%c0%ae/items",
        "/docs/%e0%80%ae%e0%80%ae/items",
        "/docs/..%00/items",
        "/docs%00",
        "/docs/%0d%0ax-user:%20evil",
        "/docs/%0a",
        "/docs/..%20/items",
        "/docs/%u002e%u002e/items",
        "/docs/%",
        "/docs/%zz",
        "/docs/%2",
        "//docs",
        "//items",
        "//docs/../items",
        "///docs",
        "/docs//items",
        "//evil.test/docs",
        "/items",
        "/Items",
        "/ITEMS/1",
        "/items/",
        "/items;x=1",
        "/items;/../docs",
        "/;/items",
        "/%69tems",
        "/item%73",
        "/item\u{17f}",
        "/items%3bx",
        "/items%3fx",
        "/items?/docs",
        "/internal",
        "/Internal/x",
        "/internal;x",
        "/%69nternal",
        "/docs/secret",
        "/docs/Secret",
        "/docs/secret/",
        "/docs/secret;x/y",
        "/docs/%73ecret",
        "/docs/;/secret",
        "/docs;x/secret",
        "/docs/;x/SECRET",
        "/Docs",
        "/DOCS/a",
        "/docs;x",
        "/docsx",
        "/docs.json",
        "/token",
        "/",
    ]
    .into_iter()
    .map(|target| row(format!("bypass {target:?}"), get(target), Refused))
    .collect()
}

/// With odd slashes kept.
fn kept() -> Vec<Row> {
    let mut rows = Vec::new();
    for target in [
        "/docs%2Fsecret",
        "/docs%2fSecret%2fx",
        "/docs/%2Fsecret",
        "/docs//secret",
        "/docs///secret//x",
        "/docs/;//secret",
        "//docs/secret",
        "//evil.test/docs/secret",
        "//docs/items",
        "//docs/internal",
        "/%2Finternal",
        "/docs%2F..%2Finternal",
        "/docs/..%2Finternal",
        "/docs//../internal",
        "/docs/%252Fsecret",
        "/docs%2Fa",
        "//docs",
        "//items",
        "/items%2F1",
    ] {
        rows.push(row(format!("kept {target:?}"), get(target), Refused));
    }
    for target in
        ["/docs/a%2Fb", "/docs/group%2Fproject/x%2fy.git", "/docs//a", "/docs/a//b///c", "/docs/a%2F", "/docs//"]
    {
        rows.push(row(format!("kept {target:?}"), get(target), arrives(target, "")));
    }
    rows.into_iter().map(|row| Row { keeps: true, ..row }).collect()
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
        "te: evil, trailers",
        "upgrade: evil\r\nconnection: upgrade",
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

/// Odd, and meant so.
fn honest() -> Vec<Row> {
    [
        "/docs",
        "/docs/",
        "/docs/100%25",
        "/docs/50%25off",
        "/docs/a%20b",
        "/docs/a+b",
        "/docs/caf%C3%A9",
        "/docs/%E4%BD%A0%E5%A5%BD",
        "/docs/%7Euser/~user",
        "/docs/a:b@c",
        "/docs/a,b!c$d&e'f(g)*h=i",
        "/docs/a;v=1/b",
        "/docs/...",
        "/docs/.hidden",
        "/docs/A/B",
        "/docs/a.b..c",
        "/%64ocs/a",
        "/docs?a=b?c",
        "/docs?next=/../items&x=%2e%2e%2f",
        "/docs?a=%zz&b=%&c=\\",
        "/docs?a=//b/;c",
        "/docs?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20261124%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature=fe5f80",
        "/docs/blob?sv=2022-11-02&sig=a%2Bb%2Fc%3D&se=2026-11-24T17%3A00%3A00Z",
        "/docs?q=a+b%20c&q=&=&&",
        "/docs/a%3Fb%23c",
    ]
    .into_iter()
    .map(|target| row(format!("honest {target:?}"), get(target), arrives(target, "")))
    .collect()
}
