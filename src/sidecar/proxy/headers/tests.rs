//! What crosses the proxy in headers and trailers, and what never does.

use tollgate_contract::{ArrayForm, ClaimHeader};

use super::*;

fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static(value));
    }
    headers
}

fn forwarded(pairs: &[(&'static str, &'static str)], identity: Option<&IdentityHeaders>) -> HeaderMap {
    read_and_forwarded(pairs, identity, &[])
}

fn read_and_forwarded(
    pairs: &[(&'static str, &'static str)],
    identity: Option<&IdentityHeaders>,
    read: &[HeaderName],
) -> HeaderMap {
    let mut headers = map(pairs);
    let peer = Peer::new("10.0.0.7".parse().unwrap(), None);
    let (host, request_id) = (HeaderValue::from_static("api.test"), &HeaderValue::from_static("id1"));
    let told = Told { host, peer: &peer, request_id, identity };
    for_app(&mut headers, told, &rules(&[], AuthorizationHeader::Forward), &read.iter());
    headers
}

fn rules(claim_headers: &[&str], authorization: AuthorizationHeader) -> HeaderRules {
    let rule = |header: &&str| ClaimHeader {
        claim: vec!["c".into()],
        header: (*header).to_owned(),
        arrays: ArrayForm::default(),
    };
    let claims = ClaimHeaders::new(&claim_headers.iter().map(rule).collect::<Vec<_>>()).unwrap();
    HeaderRules::new(&Arc::new(claims), authorization)
}

#[test]
fn no_spelling_of_our_headers_gets_through() {
    for name in [
        "X-Tollgate-Subject",
        "x-tollgate-subject",
        "X_Tollgate_Subject",
        "X-Tollgate_Subject",
        "x.tollgate.subject",
        "X~Tollgate~Scopes",
        "x!tollgate!issuer",
        "X-Tollgate-",
        "X-Tollgate-Anything-New",
        "x_tollgate-client_id",
    ] {
        let headers = forwarded(&[(name, "admin")], None);
        assert!(!headers.values().any(|value| value == "admin"), "{name}");
    }
}

#[test]
fn other_spellings_of_headers_that_matter_are_removed() {
    for name in [
        "Authorization_",
        "Transfer_Encoding",
        "Content_Length",
        "X_Forwarded_For",
        "x.forwarded.host",
        "X_Forwarded_Proto",
        "X_HTTP_Method_Override",
        "X_Original_URL",
        "X_Request_Id",
        "X_Real_IP",
    ] {
        let kept = forwarded(&[(name, "evil")], None).values().any(|value| value == "evil");
        assert_eq!(kept, name == "Authorization_", "{name}");
    }
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL"] {
        assert!(!forwarded(&[(name, "evil")], None).values().any(|value| value == "evil"), "{name}");
    }
}

#[test]
fn no_spelling_of_a_claim_header_gets_through_in_headers_or_trailers() {
    let rules = rules(&["x-user", "x-team-id"], AuthorizationHeader::Forward);
    let given = [
        ("X-User", "evil"),
        ("x_user", "evil"),
        ("x.user", "evil"),
        ("x-team_id", "evil"),
        ("x~team-id", "evil"),
        ("x-users", "fine"),
        ("xuser", "fine"),
    ];
    let (peer, request_id) = (Peer::new("10.0.0.7".parse().unwrap(), None), &HeaderValue::from_static("id1"));
    let user = (HeaderName::from_static("x-user"), HeaderValue::from_static("ada"));
    let identity = IdentityHeaders {
        claims: WrittenClaims::Headers(vec![user].into()),
        ..crate::identity::Identity::blank().headers
    };
    for (identity, expected) in [(None, None), (Some(&identity), Some("ada"))] {
        let mut headers = map(&given);
        headers.insert(header::CONNECTION, HeaderValue::from_static("x-user"));
        let told = Told { host: HeaderValue::from_static("a"), peer: &peer, request_id, identity };
        for_app(&mut headers, told, &rules, &[].iter());
        assert!(!headers.values().any(|value| value == "evil"), "{headers:?}");
        assert_eq!(headers.values().filter(|value| *value == "fine").count(), 2);
        assert_eq!(headers.get("x-user").map(|value| value.to_str().unwrap()), expected);
    }
    let mut trailers = map(&given);
    for_trailers(&mut trailers, Some(&rules));
    assert_eq!(trailers.len(), 2, "{trailers:?}");
    assert!(trailers.values().all(|value| value == "fine"));
}

#[test]
fn credentials_are_stripped_where_the_policy_says_so_alone() {
    let given = [("authorization", "Bearer t"), ("authorization", "Bearer u"), ("dpop", "p"), ("accept", "a/b")];
    for (setting, left) in [(AuthorizationHeader::Forward, 4), (AuthorizationHeader::Strip, 1)] {
        let mut headers = map(&given);
        rules(&[], setting).strip_credentials(&mut headers);
        assert_eq!(headers.len(), left, "{setting:?}");
    }
}

#[test]
fn honest_odd_names_stay() {
    let headers = forwarded(&[("sec_ch_ua", "1"), ("X-Tollgates", "2"), ("X-Toll-Gate", "3")], None);
    assert_eq!(
        (&headers["sec_ch_ua"], &headers["x-tollgates"], &headers["x-toll-gate"]),
        (&HeaderValue::from_static("1"), &HeaderValue::from_static("2"), &HeaderValue::from_static("3"))
    );
}

#[test]
fn what_a_rule_reads_comes_in_no_other_spelling() {
    let given = [("x-tenant", "1"), ("X_Tenant", "2"), ("x.tenant", "3"), ("xtenant", "4"), ("x_other", "5")];
    let left = |read: &[&'static str]| {
        let read: Vec<_> = read.iter().copied().map(HeaderName::from_static).collect();
        let headers = read_and_forwarded(&given, None, &read);
        let left = given.iter().filter(|(_, value)| headers.values().any(|left| left == value));
        left.map(|(name, _)| *name).collect::<Vec<_>>()
    };
    assert_eq!(left(&[]), ["x-tenant", "X_Tenant", "x.tenant", "xtenant", "x_other"]);
    assert_eq!(left(&["x-tenant"]), ["x-tenant", "xtenant", "x_other"]);
    assert_eq!(left(&["x_tenant"]), ["X_Tenant", "xtenant", "x_other"]);
    assert_eq!(left(&["accept", "x-tenant", "x-other"]), ["x-tenant", "xtenant"]);
}

#[test]
fn headers_named_by_connection_go_first_and_ours_are_set_after() {
    let identity = IdentityHeaders {
        subject: Some(HeaderValue::from_static("user1")),
        client_id: Some(HeaderValue::from_static("client1")),
        scopes: None,
        issuer: HeaderValue::from_static("https://issuer.test"),
        claims: WrittenClaims::default(),
    };
    let headers = forwarded(
        &[
            ("connection", "close, X-Secret,x-tollgate-subject , X-Forwarded-For,host"),
            ("connection", "keep-alive, X-Second-Secret"),
            ("x-secret", "1"),
            ("x-second-secret", "2"),
            ("x-tollgate-subject", "admin"),
            ("x-forwarded-for", "6.6.6.6"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
            ("te", "trailers, deflate"),
            ("transfer-encoding", "chunked"),
            ("expect", "100-continue"),
            ("proxy-authorization", "Basic eDp5"),
            ("accept", "a/b"),
        ],
        Some(&identity),
    );
    let mut names: Vec<_> = headers.iter().map(|(k, v)| format!("{k}: {}", v.to_str().unwrap())).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "accept: a/b",
            "forwarded: for=10.0.0.7;proto=http",
            "host: api.test",
            "te: trailers",
            "x-forwarded-for: 10.0.0.7",
            "x-forwarded-host: api.test",
            "x-forwarded-proto: http",
            "x-request-id: id1",
            "x-tollgate-client-id: client1",
            "x-tollgate-issuer: https://issuer.test",
            "x-tollgate-subject: user1",
        ]
    );
}

#[test]
fn of_what_is_called_after_proxies_only_what_is_end_to_end_passes() {
    for (name, passes) in [
        ("proxy", false),
        ("proxy-authorization", false),
        ("proxy-authenticate", false),
        ("proxy-authentication-info", false),
        ("proxy-connection", false),
        ("proxy-status", true),
        ("proxy-anything", true),
        ("proxyuser", true),
    ] {
        assert_eq!(forwarded(&[(name, "http://evil.test")], None).contains_key(name), passes, "{name}");
        let mut answer = HeaderMap::new();
        answer.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
        for_caller(&mut answer, &HeaderValue::from_static("id1"));
        assert_eq!(answer.contains_key(name), passes || name == "proxy", "{name} in an answer");
        let mut trailers = HeaderMap::new();
        trailers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
        for_trailers(&mut trailers, None);
        assert_eq!(trailers.contains_key(name), passes, "{name} in trailers");
    }
}

#[test]
fn the_chain_of_proxies_is_continued_in_one_line() {
    let headers = forwarded(
        &[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2, 3.3.3.3"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "public.test"),
            ("forwarded", "for=1.1.1.1"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("authorization", "Bearer t"),
        ],
        None,
    );
    assert_eq!(headers["x-forwarded-for"], "1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.7");
    assert_eq!(headers["forwarded"], "for=1.1.1.1, for=10.0.0.7;proto=http");
    assert!(!headers.contains_key("te"), "who takes no trailers is not said to");
    assert_eq!(headers["x-forwarded-proto"], "https");
    assert_eq!(headers["x-forwarded-host"], "public.test");
    assert_eq!(headers["traceparent"], "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_eq!(headers["authorization"], "Bearer t");
    let odd = forwarded(&[("x-forwarded-proto", "gopher"), ("x-forwarded-host", "a"), ("x-forwarded-host", "b")], None);
    assert_eq!(
        (&odd["x-forwarded-proto"], odd.get_all("x-forwarded-host").iter().count()),
        (&HeaderValue::from_static("http"), 1)
    );
}

#[test]
fn a_callers_open_quote_does_not_swallow_who_is_connected() {
    for open in ["for=\"x", "for=\"x\\\"", "for=a, for=\"b"] {
        assert_eq!(forwarded(&[("forwarded", open)], None)["forwarded"], "for=10.0.0.7;proto=http", "{open}");
    }
    let closed = forwarded(&[("forwarded", "for=\"[2001:db8::1]\"")], None);
    assert_eq!(closed["forwarded"], "for=\"[2001:db8::1]\", for=10.0.0.7;proto=http");
}

#[test]
fn ipv6_peers_are_quoted_in_forwarded_and_mapped_ones_shown_as_ipv4() {
    assert_eq!(Peer::new("2001:db8::1".parse().unwrap(), None).forwarded, "for=\"[2001:db8::1]\";proto=http");
    assert_eq!(Peer::new("::ffff:10.1.2.3".parse().unwrap(), None).address, "10.1.2.3");
}

#[test]
fn a_request_id_is_taken_only_where_it_is_safe() {
    let long = "a".repeat(64);
    for good in ["a", "A-b_9", &long] {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_str(good).unwrap());
        assert_eq!(request_id(&headers), good);
    }
    let too_long = "a".repeat(65);
    for bad in ["", "a b", "a\"b", "a,b", "a.b", &too_long] {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_str(bad).unwrap());
        let made = request_id(&headers);
        assert_ne!(made, bad);
        assert_eq!(made.len(), 32);
    }
    assert_eq!(request_id(&map(&[("x-request-id", "a"), ("x-request-id", "b")])).len(), 32);
    assert_ne!(new_request_id(), new_request_id());
}

#[test]
fn trailers_carry_no_identity_framing_or_credentials() {
    let mut trailers = map(&[
        ("x-tollgate-subject", "admin"),
        ("x_tollgate_subject", "admin"),
        ("authorization", "Bearer t"),
        ("host", "other"),
        ("content-length", "5"),
        ("transfer-encoding", "chunked"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-authorization", "Basic x"),
        ("x-checksum", "abc"),
        ("grpc-status", "0"),
    ]);
    for_trailers(&mut trailers, None);
    let mut names: Vec<_> = trailers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["grpc-status", "x-checksum"]);
}
