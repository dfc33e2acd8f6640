//! Request smuggling: where a message ends must never be a matter of opinion between the sidecar and the app. Whatever
//! is doubtful is refused or the connection closed; whatever is forwarded is framed anew.

use tests::raw::Raw;
use tests::upstream::{Upstream, ok};

use crate::scene::{Scene, public};

/// Sends bytes and a second, innocent request; returns the targets that reached the app and the first status, if any.
async fn smuggle(bytes: &str) -> (Vec<String>, Option<u16>) {
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::start(&public(app.port())).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send(bytes).await;
    caller.send("GET /second HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let status = caller.head().await.map(|head| head.status());
    caller.rest().await;
    (app.arrived().iter().map(|request| request.head.target().to_owned()).collect(), status)
}

#[tokio::test]
async fn doubtful_framing_is_refused() {
    for (what, bytes) in [
        ("two lengths", "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!"),
        ("a list of lengths", "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5, 6\r\n\r\nhello!"),
        ("a signed length", "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\nhello"),
        ("a negative length", "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n"),
        ("a hexadecimal length", "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 0x5\r\n\r\nhello"),
        ("an endless length", "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\nx"),
        ("a folded header", "GET /a HTTP/1.1\r\nhost: a\r\nx-a: b\r\n folded: c\r\n\r\n"),
        ("a folded encoding", "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
        ("a space before the colon", "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n"),
        ("a space before the name", "GET /a HTTP/1.1\r\n host: a\r\n\r\n"),
        (
            "another last encoding",
            "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        ),
        ("an unknown encoding", "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ("chunks in HTTP/1.0", "POST /a HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("a header without a colon", "GET /a HTTP/1.1\r\nhost: a\r\nnonsense\r\n\r\n"),
        ("NUL in a value", "GET /a HTTP/1.1\r\nhost: a\r\nx-a: b\0c\r\n\r\n"),
        ("a bare CR in a value", "GET /a HTTP/1.1\r\nhost: a\r\nx-a: b\rx-tollgate-subject: admin\r\n\r\n"),
        ("a space in the target", "GET /a /b HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("no version", "GET /a\r\n\r\n"),
        ("HTTP/2 by prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("TLS", "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n"),
    ] {
        let (arrived, status) = smuggle(bytes).await;
        assert!(!arrived.contains(&"/a".to_owned()), "{what}: {arrived:?}");
        assert!(matches!(status, None | Some(400 | 431 | 505)), "{what}: {status:?}");
        assert_eq!(arrived, Vec::<String>::new(), "{what}: what follows is not trusted either");
    }
}

#[tokio::test]
async fn a_coding_that_would_be_lost_on_the_way_is_refused() {
    let bytes = "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(smuggle(bytes).await, (vec!["/second".to_owned()], Some(400)));
}

#[tokio::test]
async fn chunks_win_over_a_length_and_only_chunks_are_forwarded() {
    for headers in [
        "transfer-encoding: chunked\r\ncontent-length: 3",
        "content-length: 3\r\ntransfer-encoding: chunked",
        "content-length: 40\r\ntransfer-encoding: chunked",
        "Content-Length: 3\r\nTransfer-Encoding: Chunked",
    ] {
        let app = Upstream::start(|_| ok("")).await;
        let scene = Scene::start(&public(app.port())).await;
        let mut caller = Raw::connect(scene.address()).await;
        let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
        caller.send(format!("POST /a HTTP/1.1\r\nhost: a\r\n{headers}\r\n\r\n5\r\nhello\r\n0\r\n\r\n{smuggled}")).await;
        caller.rest().await;
        let arrived = app.arrived();
        let targets: Vec<&str> = arrived.iter().map(|request| request.head.target()).collect();
        assert_eq!(
            targets,
            ["/a"],
            "{headers:?}: the connection ends after a message with both (RFC 9112 section 6.3)"
        );
        assert_eq!(arrived[0].body.bytes, b"hello");
        assert_eq!(arrived[0].head.header("content-length"), None, "{headers:?}");
        assert_eq!(arrived[0].head.header("transfer-encoding"), Some("chunked"), "{headers:?}");
    }
}

#[tokio::test]
async fn broken_chunks_never_complete_a_request() {
    for chunks in [
        "5\r\nhelloX\r\n0\r\n\r\n",
        "z\r\n\r\n0\r\n\r\n",
        "-1\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\n",
        "5\nhello\n0\n\n",
        "\r\n0\r\n\r\n",
    ] {
        let (arrived, status) =
            smuggle(&format!("POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunks}")).await;
        assert_eq!(arrived, Vec::<String>::new(), "{chunks:?}");
        assert!(status.is_none_or(|status| status >= 400), "{chunks:?}: {status:?}");
    }
}

#[tokio::test]
async fn a_bare_line_feed_ends_a_line_for_us_and_the_app_alike() {
    // RFC 9112 section 2.2 lets a recipient take it as the end of a line; the app gets what we understood, with CR LF.
    let app = Upstream::start(|_| ok("")).await;
    let scene = Scene::start(&public(app.port())).await;
    let mut caller = Raw::connect(scene.address()).await;
    caller.send("GET /a HTTP/1.1\nhost: a\nx-a: b\nX-Tollgate-Subject: admin\nconnection: close\n\n").await;
    caller.rest().await;
    assert_eq!(app.arrived().len(), 1);
    for request in app.arrived() {
        assert!(!request.head.as_str().replace("\r\n", "").contains('\n'), "{:?}", request.head);
        assert!(!request.head.as_str().contains("admin"), "{:?}", request.head);
    }
}

#[tokio::test]
async fn a_refused_request_leaves_no_body_behind_to_be_read_as_the_next_request() {
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    for path in ["//", "/x"] {
        let app = Upstream::start(|_| ok("")).await;
        let mut config = public(app.port());
        config["routes"][0]["path"] = serde_json::json!({"prefix": "/second"});
        let scene = Scene::start(&config).await;
        let mut caller = Raw::connect(scene.address()).await;
        caller
            .send(format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{smuggled}", smuggled.len()))
            .await;
        caller.send("GET /second HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        caller.rest().await;
        assert!(app.arrived().iter().all(|request| request.head.target() == "/second"), "{:?}", app.arrived());
    }
}
