//! Where a body ends: lengths, transfer codings, chunks.

use super::Want::Refused;
use super::{Row, arrives, either, row};

/// All of them.
pub(super) fn all() -> Vec<Row> {
    [lengths(), codings(), chunks()].concat()
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
