//! What a request asks for: forms of the target, ways around a rule, and what is odd and meant so.

use super::Want::Refused;
use super::{Row, arrives, either, row};

/// All of them.
pub(super) fn all() -> Vec<Row> {
    [targets(), bypasses(), kept(), honest()].concat()
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
        "/docs/%C5%BFecret",
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
