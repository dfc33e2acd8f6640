//! Rules of the data path: TLS, the way to the app, streams, browsers, bounds, and what is seen of requests.

use serde_json::{Value, json};

use super::case::{Case, case, set};

pub(super) fn cases() -> Vec<Case> {
    [upstream_cases(), claim_header_cases(), stream_cases(), cors_cases(), origin_cases(), size_cases(), tls_cases()]
        .concat()
}

fn upstream_cases() -> Vec<Case> {
    const NAME: &str = "write a host name in lower case, such as items.internal";
    let tls = |name: &str| [set("/spec/upstream/tls", json!({"serverName": name}))];
    let mut cases: Vec<_> = ["Items", "-items", "items_1", "https://items", "items:8000"]
        .into_iter()
        .map(|bad| case(bad, &tls(bad), "spec.upstream.tls.serverName", NAME, &tls("items.internal")))
        .collect();
    for (member, bad, message, good) in [
        ("connect", "9ms", "choose at least 10ms", "10ms"),
        ("connect", "61s", "choose at most 1m", "1m"),
        ("responseHeader", "99ms", "choose at least 100ms", "100ms"),
        ("responseHeader", "25h", "choose at most 24h", "24h"),
        ("idle", "999ms", "choose at least 1s", "1s"),
        ("idle", "25h", "choose at most 24h", "24h"),
    ] {
        let timeout = |text: &str| [set("/spec/upstream/timeouts", json!({member: text}))];
        let field = format!("spec.upstream.timeouts.{member}");
        cases.push(case(&format!("{member} {bad}"), &timeout(bad), &field, message, &timeout(good)));
    }
    for member in ["connect", "responseHeader", "idle"] {
        let timeout = |text: &str| [set("/spec/upstream/timeouts", json!({member: text}))];
        let field = format!("spec.upstream.timeouts.{member}");
        cases.push(case(&format!("{member} 5"), &timeout("5"), &field, DURATION, &timeout("5s")));
    }
    cases
}

const DURATION: &str = "write a duration as whole numbers with the units h, m, s or ms, such as 60s or 1m30s";

fn claim_header_cases() -> Vec<Case> {
    const NAME: &str = "write a header's name with letters, digits and -, such as X-User";
    const OURS: &str = "headers that start with X-Tollgate are the sidecar's own: choose another name, such as X-User";
    const MEANINGFUL: &str = "this header means something to servers and proxies: choose another name, such as X-User";
    const CLAIM: &str =
        r"write a claim such as email, or a.b for the member b of a, 8 names at most; a dot within a name is \.";
    const TWICE: &str = "two claims have the same header, for case does not count: give each a header of its own";
    let headers = |headers: &[(&str, &str)]| {
        let headers: Vec<_> = headers.iter().map(|(claim, header)| json!({"claim": claim, "header": header})).collect();
        [set("/spec/upstream/claimHeaders", json!(headers))]
    };
    let good = headers(&[("sub", "X-User")]);
    let named = |bad: &str, message| {
        let field = "spec.upstream.claimHeaders[0].header";
        case(&format!("the header {bad:?}"), &headers(&[("sub", bad)]), field, message, &good)
    };
    let mut cases = Vec::new();
    cases.extend(["X_User", "X User", "X-User:", "-x", "1x", "X-Usér"].map(|bad| named(bad, NAME)));
    cases.extend(["X-Tollgate-Subject", "x-tollgate-anything", "X-TOLLGATE"].map(|bad| named(bad, OURS)));
    cases.extend(
        [
            "Connection",
            "keep-alive",
            "Proxy",
            "Proxy-Authorization",
            "TE",
            "Trailer",
            "transfer-encoding",
            "Upgrade",
            "HOST",
            "Authorization",
            "DPoP",
            "Cookie",
            "Set-Cookie",
            "Content-Length",
            "content-type",
            "X-Forwarded-For",
            "Forwarded",
            "X-Request-Id",
            "traceparent",
            "X-HTTP-Method-Override",
            "X-Original-URL",
            "X-Rewrite-URL",
            "Access-Control-Allow-Origin",
            "Sec-WebSocket-Protocol",
            "grpc-status",
            "If-Match",
            "Accept",
        ]
        .map(|bad| named(bad, MEANINGFUL)),
    );
    for bad in [".", "a.", ".a", "a..b", r"a\b", r"a\", "1.2.3.4.5.6.7.8.9"] {
        let field = "spec.upstream.claimHeaders[0].claim";
        cases.push(case(&format!("the claim {bad:?}"), &headers(&[(bad, "X-User")]), field, CLAIM, &good));
    }
    cases.push(case(
        "two claims of one header",
        &headers(&[("sub", "X-User"), ("email", "x-user")]),
        "spec.upstream.claimHeaders",
        TWICE,
        &headers(&[("sub", "X-User"), (r"https://acme\.com/mail.first", "X-Mail")]),
    ));
    cases
}

fn stream_cases() -> Vec<Case> {
    const TOGETHER: &str = "maxDuration goes with atExpiry: Keep and only with it: say how long a stream may go on, such \
                            as 8h, or leave out both";
    let streams = |streams: Value| [set("/spec/streams", streams)];
    let longest = |text: &str| streams(json!({"atExpiry": "Keep", "maxDuration": text}));
    let field = "spec.streams.maxDuration";
    vec![
        case("Keep without an end", &streams(json!({"atExpiry": "Keep"})), field, TOGETHER, &longest("8h")),
        case(
            "Close with a later end",
            &streams(json!({"atExpiry": "Close", "maxDuration": "8h"})),
            field,
            TOGETHER,
            &streams(json!({"atExpiry": "Close"})),
        ),
        case("no time at all", &longest("0s"), field, "choose at least 1s", &longest("1s")),
        case("more than a week", &longest("169h"), field, "choose at most 168h", &longest("168h")),
        case("a number", &longest("8"), field, DURATION, &longest("8h")),
    ]
}

fn cors_cases() -> Vec<Case> {
    const ORIGINS: &str = "mode: Handle needs origins: name those whose scripts may call, such as https://app.acme.com";
    const HANDLE: &str = "the other settings are for mode: Handle: set it, or leave them out";
    const CREDENTIALS: &str =
        "with the origin * browsers send no credentials: name the origins, or leave credentials out";
    const HEADER: &str = "write a header's name with letters, digits and -, such as X-Page";
    let cors = |cors: Value| [set("/spec/cors", cors)];
    let app = json!(["https://app.acme.com"]);
    let handle = |member: &str, value: Value| {
        let mut handle = json!({"mode": "Handle", "origins": app});
        handle[member] = value;
        cors(handle)
    };
    let good = handle("maxAge", json!("24h"));
    let mut cases = vec![
        case("Handle for nobody", &cors(json!({"mode": "Handle"})), "spec.cors.origins", ORIGINS, &good),
        case("Handle for none", &handle("origins", json!([])), "spec.cors.origins", ORIGINS, &good),
        case(
            "credentials for everybody",
            &cors(json!({"mode": "Handle", "origins": ["*"], "credentials": true})),
            "spec.cors.credentials",
            CREDENTIALS,
            &handle("credentials", json!(true)),
        ),
        case("a day and an hour", &handle("maxAge", json!("25h")), "spec.cors.maxAge", "choose at most 24h", &good),
        case("a number", &handle("maxAge", json!("600")), "spec.cors.maxAge", DURATION, &good),
    ];
    for (member, value) in [
        ("origins", app.clone()),
        ("methods", json!(["GET"])),
        ("headers", json!(["X-Page"])),
        ("expose", json!(["X-Page"])),
        ("credentials", json!(true)),
        ("maxAge", json!("10m")),
    ] {
        for mode in ["Refuse", "PassPreflight"] {
            let mut other = json!({"mode": mode});
            other[member] = value.clone();
            let broken = format!("{mode} with {member}");
            cases.push(case(&broken, &cors(other), "spec.cors.mode", HANDLE, &cors(json!({"mode": mode}))));
        }
    }
    for member in ["headers", "expose"] {
        for bad in ["*", "X Page", "X-Page, X-Size", "x_page"] {
            let broken = format!("{member} {bad:?}");
            let field = format!("spec.cors.{member}[0]");
            cases.push(case(&broken, &handle(member, json!([bad])), &field, HEADER, &good));
        }
    }
    cases
}

fn origin_cases() -> Vec<Case> {
    const SHAPE: &str =
        "write an origin as browsers send it, in lower case and without a path, such as https://app.acme.com";
    const PORT: &str = "leave out the port; browsers do not send it";
    const ALONE: &str = "* is every origin: let it stand alone, or leave it out";
    let origins = |origins: &[&str]| [set("/spec/cors", json!({"mode": "Handle", "origins": origins}))];
    let good = origins(&["https://app.acme.com", "http://localhost:3000", "https://[::1]:8443"]);
    let wrong = |bad: &str, message| {
        case(&format!("the origin {bad:?}"), &origins(&[bad]), "spec.cors.origins[0]", message, &good)
    };
    let mut cases = Vec::new();
    for bad in
        ["app.acme.com", "https://app.acme.com/", "https://App.acme.com", "https://*.acme.com", "null", "file://"]
    {
        cases.push(wrong(bad, SHAPE));
    }
    cases.extend(["https://app.acme.com:443", "http://app.acme.com:80"].map(|bad| wrong(bad, PORT)));
    let among_others = origins(&["*", "https://app.acme.com"]);
    cases.push(case("every origin and one more", &among_others, "spec.cors.origins", ALONE, &origins(&["*"])));
    cases
}

fn size_cases() -> Vec<Case> {
    const SIZE: &str = "write a size such as 10Mi, or a number of bytes";
    let size = |size: Value| [set("/spec/limits", json!({"maxBodySize": size}))];
    [json!("10m"), json!("10MB"), json!("0"), json!(0), json!("-1"), json!("1.5Mi"), json!("1e6"), json!("all")]
        .into_iter()
        .zip([json!("10Mi"), json!(10_485_760)].into_iter().cycle())
        .map(|(bad, good)| case(&format!("a body of {bad}"), &size(bad), "spec.limits.maxBodySize", SIZE, &size(good)))
        .collect()
}

fn tls_cases() -> Vec<Case> {
    const OBJECT: &str = "write the object's name: a-z, 0-9, - and .";
    const KEY: &str = "write the key's name: letters, digits, -, _ and .";
    const COLLECTOR: &str = "write a URL without a trailing slash, such as http://collector.observability:4318";
    let tls = |name: &str| [set("/spec/tls", json!({"secretRef": {"name": name}}))];
    let bundle = |name: &str, key: &str| json!({"configMapRef": {"name": name, "key": key}});
    let callers = |bundle: Value| {
        let certificates = json!({"caBundle": bundle, "mode": "Optional"});
        [set("/spec/tls", json!({"secretRef": {"name": "items-tls"}, "clientCertificates": certificates}))]
    };
    let app = |bundle: Value| [set("/spec/upstream/tls", json!({"serverName": "items.internal", "caBundle": bundle}))];
    let collector = |url: &str| [set("/spec/sidecar/tracing", json!({"endpoint": url}))];
    let mut cases =
        vec![case("a Secret's name", &tls("Items_TLS"), "spec.tls.secretRef.name", OBJECT, &tls("items-tls"))];
    for (name, key, member, message) in [("A_CA", "ca.crt", "name", OBJECT), ("ca", "a/b", "key", KEY)] {
        let (bad, good) = (bundle(name, key), bundle("ca", "ca.crt"));
        let field = format!("spec.tls.clientCertificates.caBundle.configMapRef.{member}");
        cases.push(case(&format!("callers' {member}"), &callers(bad.clone()), &field, message, &callers(good.clone())));
        let field = format!("spec.upstream.tls.caBundle.configMapRef.{member}");
        cases.push(case(&format!("the app's {member}"), &app(bad), &field, message, &app(good)));
    }
    for bad in
        ["collector:4318", "http://collector:4318/", "grpc://collector:4317", "http://collector:4318/v1?x", "http://"]
    {
        let field = "spec.sidecar.tracing.endpoint";
        cases.push(case(bad, &collector(bad), field, COLLECTOR, &collector("http://collector.observability:4318")));
    }
    cases
}
