//! What `parse` takes and refuses. The operator's tests break every rule of the schema one by one and look here as
//! well; these are the rules that matter most, what the schema cannot see, and what comes out.

use serde_json::{Value, json};
use tollgate_contract::{PathMatch, SidecarConfig};

use super::*;

fn spec() -> Value {
    json!({
        "issuers": [{
            "name": "okta",
            "url": "https://acme.okta.com/oauth2/default",
            "audiences": ["api://default"],
            "validation": "LocalAndIntrospection",
            "client": {"secretRef": {"name": "okta-items"}, "authMethod": "ClientSecretPost"},
            "introspection": {"cache": "1m30s", "maxStale": "2m", "onOutage": {"policy": "AcceptLocallyValid", "maxDuration": "10m"}},
            "clockSkew": "30s",
            "caBundle": {"configMapRef": {"name": "corp-ca", "key": "bundle.pem"}},
            "algorithms": ["ES256", "EdDSA"],
            "tokenProfile": "Rfc9068",
            "maxTokenLifetime": "1h",
            "dpop": "Require",
            "dpopNonce": "PerPod",
            "endpoints": {"jwks": "https://keys.acme.com/keys?of=items"},
        }],
        "externalUrls": ["https://api.acme.com/shop"],
        "trustedProxies": ["10.0.0.0/8"],
        "defaultAccess": "Denied",
        "routes": [
            {
                "name": "read", "match": {"path": {"prefix": "/items"}, "methods": ["GET"]}, "scopes": {"allOf": ["items"]},
                "issuers": ["okta"], "when": "claims.sub != ''",
            },
            {"name": "docs", "match": {"path": {"exact": "/docs"}}, "access": "Public"},
        ],
        "tokenBroker": {"issuer": "okta", "defaultScopes": ["items"], "allowedScopes": ["items", "items:write"], "swaggerForm": true},
        "tls": {
            "secretRef": {"name": "items-tls"},
            "clientCertificates": {"caBundle": {"configMapRef": {"name": "callers-ca", "key": "ca.crt"}}, "mode": "Optional"},
        },
        "upstream": {
            "port": 8000,
            "address": "Pod",
            "protocol": "H2c",
            "tls": {"serverName": "items.internal", "caBundle": {"configMapRef": {"name": "inner-ca", "key": "ca.crt"}}},
            "claimHeaders": [{"claim": "address.country", "header": "X-Country", "arrays": "Comma"}],
            "authorization": "Strip",
            "timeouts": {"connect": "2s", "responseHeader": "90s", "idle": "1h"},
        },
        "paths": {"encodedSlash": "Keep", "doubleSlash": "Reject", "caseSensitive": true},
        "streams": {"atExpiry": "Keep", "maxDuration": "8h", "webSocketToken": "Subprotocol"},
        "cors": {
            "mode": "Handle", "origins": ["https://app.acme.com"], "methods": ["POST", "GET"], "headers": ["X-Page"],
            "expose": ["X-Total"], "credentials": true, "maxAge": "1h",
        },
        "limits": {"maxBodySize": "10Mi"},
        "sidecar": {
            "accessLog": {"enabled": true, "oneIn": 100},
            "tracing": {"endpoint": "http://collector.observability:4318", "samplePercent": 0.1},
        },
        "app": {"image": "ghcr.io/acme/items:1.4", "replicas": 3, "resources": {"requests": {"cpu": "100m"}}},
    })
}

fn resource(changes: &[(&str, Value)]) -> OktaProtectedApi {
    let mut spec = spec();
    for (pointer, value) in changes {
        let (parent, member) = pointer.rsplit_once('/').expect("a pointer starts with a slash");
        spec.pointer_mut(parent).expect("the parent is there")[member] = value.clone();
    }
    let mut resource =
        OktaProtectedApi::new("items", serde_json::from_value(spec).expect("the spec has the right shape"));
    resource.metadata.namespace = Some("shop".into());
    resource.metadata.uid = Some("2f0c".into());
    resource.metadata.generation = Some(7);
    resource
}

fn parse(changes: &[(&str, Value)]) -> Result<ValidatedApi, NotAccepted> {
    ValidatedApi::parse(&resource(changes), ParseOptions::default())
}

#[test]
fn a_sound_resource_becomes_types_that_need_no_second_look() {
    let api = parse(&[]).expect("sound");
    assert_eq!(
        (api.namespace.as_str(), api.name.as_str(), api.uid.as_str(), api.generation),
        ("shop", "items", "2f0c", 7)
    );
    assert_eq!(api.issuers[0].introspection.cache.as_secs(), 90);
    assert_eq!(api.issuers[0].clock_skew.as_secs(), 30);
    assert_eq!(api.routes[0].path, PathMatch::Prefix("/items".into()));
    assert_eq!(api.broker.map(|broker| broker.path), Some("/token".into()));
    assert_eq!((api.service_port, api.network_policy, api.app.replicas), (80, true, 3));
}

#[test]
fn each_thing_that_would_not_work_is_refused_with_its_field_and_the_fix() {
    let issuer = |name: &str, url: &str, validation: &str| json!({"name": name, "url": url, "audiences": ["a"], "validation": validation, "client": {"secretRef": {"name": "s"}}});
    let route = |name: &str, path: Value| json!({"name": name, "match": {"path": path}});
    for (pointer, value, message) in [
        ("/issuers", json!([]), "issuers: name 1 to 8"),
        ("/issuers/0/audiences", json!([]), "issuer okta: audiences: name 1 to 8, such as api://default"),
        ("/issuers/0/audiences", json!([""]), "is empty, too long, or has stray white space"),
        ("/issuers/0/client", Value::Null, "introspection needs client.secretRef"),
        (
            "/issuers/0/url",
            json!("https://acme.okta.com"),
            "use validation: Introspection, or a custom authorization server",
        ),
        (
            "/issuers/0/url",
            json!("https://ACME.OKTA.COM:443"),
            "use validation: Introspection, or a custom authorization server",
        ),
        ("/issuers/0/url", json!("https://acme.okta.com/oauth2/default/"), "leave out the trailing slash"),
        ("/issuers/0/url", json!("https://acme.okta.com:70000/oauth2/default"), "write a URL such as"),
        ("/issuers/0/url", json!("https://[::g]/oauth2/default"), "write a URL such as"),
        ("/issuers/0/clockSkew", json!("301s"), "issuer okta: clockSkew: 301s is too long; at most 5m"),
        (
            "/issuers/0/introspection/cache",
            json!("61m"),
            "issuer okta: introspection.cache: 61m is too long; at most 1h",
        ),
        ("/issuers/0/introspection/maxStale", json!("61m"), "introspection.maxStale: 61m is too long; at most 1h"),
        (
            "/issuers/0/introspection/onOutage/policy",
            json!("Reject"),
            "maxDuration goes with policy: AcceptLocallyValid",
        ),
        ("/issuers/0/introspection/onOutage", json!({"policy": "AcceptLocallyValid"}), "and only with it"),
        (
            "/issuers/0/introspection/onOutage/maxDuration",
            json!("25h"),
            "onOutage.maxDuration: 25h is too long; at most 24h",
        ),
        (
            "/issuers/0/introspection/onOutage/maxDuration",
            json!("0s"),
            "onOutage.maxDuration: 0s is too short; at least 1s",
        ),
        ("/issuers/0/algorithms", json!([]), "issuer okta: algorithms: name at least one algorithm"),
        ("/issuers/0/algorithms", json!(["RS256", "RS256"]), "issuer okta: algorithms: 'RS256' is there twice"),
        ("/issuers/0/maxTokenLifetime", json!("59s"), "issuer okta: maxTokenLifetime: 59s is too short; at least 1m"),
        ("/issuers/0/maxTokenLifetime", json!("169h"), "issuer okta: maxTokenLifetime: 169h is too long; at most 168h"),
        ("/issuers/0/dpop", json!("Refuse"), "issuer okta: dpopNonce: a nonce is for DPoP proofs"),
        (
            "/issuers/0/endpoints/jwks",
            json!("http://keys.acme.com/keys"),
            "endpoints.jwks: 'http://keys.acme.com/keys': start with https://",
        ),
        ("/issuers/0/endpoints/token", json!("https://me:secret@acme.com/token"), "leave out the user and password"),
        (
            "/issuers/0/endpoints/token",
            json!("https://acme.com"),
            "write a URL such as https://acme.okta.com/oauth2/default/v1/keys",
        ),
        ("/issuers/0/endpoints/introspection", json!("https://acme.com/introspect#x"), "leave out the fragment"),
        ("/externalUrls", json!([]), "issuer okta: dpop needs externalUrls"),
        ("/externalUrls", json!(["https://a.example", "https://a.example"]), "'https://a.example' is there twice"),
        ("/externalUrls", json!(["api.acme.com"]), "externalUrls: 'api.acme.com': start with https://"),
        ("/externalUrls", json!(["https://api.acme.com/"]), "leave out the trailing slash"),
        ("/externalUrls", json!(["https://api.acme.com/shop?x"]), "leave out the query and the fragment"),
        ("/externalUrls", json!(["https://me@api.acme.com"]), "leave out the user and password"),
        ("/externalUrls", json!(["https://api.acme.com/a/../b"]), "write a URL such as https://api.acme.com"),
        ("/externalUrls", json!(["https://api.acme.com/a//b"]), "write a URL such as https://api.acme.com"),
        ("/trustedProxies", json!(["10.0.0.1"]), "trustedProxies: '10.0.0.1': write a range of addresses"),
        ("/trustedProxies", json!(["::/0"]), "trustedProxies: '::/0': name your proxies"),
        ("/trustedProxies", json!(["10.0.0.0/8", "10.0.0.0/8"]), "trustedProxies: '10.0.0.0/8' is there twice"),
        ("/routes/0/issuers", json!(["octa"]), "route read: there is no issuer named 'octa'"),
        ("/routes/0/issuers", json!(["okta", "okta"]), "route read: issuers: 'okta' is there twice"),
        ("/routes/1/issuers", json!(["okta"]), "route docs: issuers: only for access: Authenticated; a Public route"),
        ("/routes/1/when", json!("true"), "route docs: when: only for access: Authenticated; a Public route"),
    ] {
        let refused = parse(&[(pointer, value)]).expect_err(message);
        assert!(refused.message.contains(message), "{refused} in place of {message}");
        assert_eq!(refused.reason, reason::INVALID_SPEC);
    }
    for (issuers, message) in [
        (
            json!([issuer("okta", "https://a.example", "Local"), issuer("okta", "https://b.example", "Local")]),
            "two are named 'okta'",
        ),
        (
            json!([issuer("okta", "https://a.example", "Local"), issuer("other", "https://a.example", "Local")]),
            "two have the url https://a.example",
        ),
        (
            json!([
                issuer("okta", "https://a.example", "Introspection"),
                issuer("other", "https://b.example", "Introspection")
            ]),
            "only one may have validation: Introspection",
        ),
    ] {
        let refused = parse(&[("/issuers", issuers)]).expect_err(message);
        assert!(refused.message.contains(message), "{refused} in place of {message}");
    }
    for (routes, message) in [
        (json!([route("a", json!({}))]), "route a: match.path: set exactly one of exact and prefix"),
        (json!([route("a", json!({"exact": "/a", "prefix": "/a"}))]), "set exactly one of exact and prefix"),
        (json!([route("a", json!({"prefix": "/a/"}))]), "without its trailing slash"),
        (json!([route("a", json!({"exact": "/a"})), route("a", json!({"exact": "/b"}))]), "two are named 'a'"),
        (
            json!([route("a", json!({"exact": "/a"})), route("b", json!({"exact": "/a"}))]),
            "'a' and 'b' have the same path",
        ),
        (json!([route("a", json!({"prefix": "/token"}))]), "its path is tokenBroker.path"),
        (
            json!([{"name": "a", "match": {"path": {"exact": "/a"}}, "access": "Public", "scopes": {"allOf": ["items"]}}]),
            "route a: scopes: only for access: Authenticated; a Public route looks at no token",
        ),
        (
            json!([{"name": "a", "match": {"path": {"exact": "/a"}}, "scopes": {"allOf": ["two words"]}}]),
            "route a: scopes.allOf: 'two words' is not a scope",
        ),
    ] {
        let refused = parse(&[("/routes", routes)]).expect_err(message);
        assert!(refused.message.contains(message), "{refused} in place of {message}");
    }
    for (pointer, value, message) in [
        ("/tokenBroker/path", json!("/Token"), "tokenBroker.path: write the path in lower case"),
        ("/tokenBroker/path", json!("/"), "tokenBroker.path: leave out the trailing slash"),
        ("/tokenBroker/issuer", json!("octa"), "'octa' is not the name of an issuer"),
        ("/tokenBroker/defaultScopes", json!(["admin"]), "'admin' is not among allowedScopes"),
        ("/tokenBroker/allowedScopes", json!([]), "name at least one scope"),
        ("/upstream/port", json!(8481), "upstream.port: let the app listen on another port than 8481"),
        (
            "/upstream/tls",
            json!({"serverName": "Items"}),
            "upstream.tls.serverName: 'Items': write a host name in lower",
        ),
        ("/upstream/claimHeaders", json!([{"claim": "a.", "header": "X-A"}]), "'a.': write a claim such as email"),
        ("/upstream/claimHeaders", json!([{"claim": "a", "header": "Host"}]), "'Host': this header means something"),
        ("/upstream/claimHeaders", json!([{"claim": "a", "header": "X-Tollgate-A"}]), "are the sidecar's own"),
        ("/upstream/claimHeaders", json!([{"claim": "a", "header": "X_A"}]), "'X_A': write a header's name"),
        ("/upstream/timeouts", json!({"idle": "0s"}), "upstream.timeouts.idle: 0s is too short; at least 1s"),
        ("/tls/secretRef/name", json!("TLS"), "tls.secretRef.name: 'TLS' is not the name of a Secret"),
        ("/streams/maxDuration", Value::Null, "streams.maxDuration: it goes with atExpiry: Keep"),
        ("/cors/mode", json!("Refuse"), "cors.mode: the other settings are for mode: Handle"),
        ("/cors/origins", json!([]), "cors.origins: mode: Handle needs them"),
        ("/cors/origins", json!(["*"]), "cors.credentials: with the origin * browsers send no credentials"),
        ("/cors/origins", json!(["*", "https://a.example"]), "cors.origins: * is every origin"),
        ("/cors/origins", json!(["https://a.example/"]), "write an origin as browsers send it"),
        ("/cors/origins", json!(["https://a.example:443"]), "leave out the port"),
        ("/cors/expose", json!(["*"]), "cors.expose: '*': write a header's name"),
        ("/limits/maxBodySize", json!("10m"), "limits.maxBodySize: '10m': write a size such as 10Mi"),
        ("/sidecar/accessLog/oneIn", json!(0), "sidecar.accessLog.oneIn: choose 1 to 1000000"),
        ("/sidecar/tracing/endpoint", json!("collector:4318"), "write a URL without a trailing slash"),
        ("/sidecar/tracing/samplePercent", json!(100.5), "sidecar.tracing.samplePercent: choose 0 to 100"),
        ("/app/image", json!(""), "app.image: name the container image"),
        ("/app/replicas", json!(-1), "app.replicas: choose 0 to 1000"),
        ("/app/env", json!([{"name": "A"}, {"name": "A"}]), "app.env: 'A' is there twice"),
        ("/app/env", json!([{"name": "A=B"}]), "app.env: 'A=B' is not the name of a variable"),
        ("/app/resources/requests", json!({"cpu": "-1"}), "app.resources.requests: '-1' is not an amount of cpu"),
        ("/app/livenessProbe", json!({"httpGet": {"port": 8481}}), "app.livenessProbe: give the app's own port"),
    ] {
        let refused = parse(&[(pointer, value)]).expect_err(message);
        assert!(refused.message.contains(message), "{refused} in place of {message}");
    }
}

#[test]
fn names_that_no_service_could_have_are_refused() {
    for name in ["4items", "items.v1", "Items", "-items", "items-", ""] {
        let mut resource = resource(&[]);
        resource.metadata.name = Some(name.into());
        let refused = ValidatedApi::parse(&resource, ParseOptions::default()).expect_err(name);
        assert!(refused.message.starts_with("metadata.name: use at most 50"), "{refused}");
    }
}

#[test]
fn an_http_issuer_needs_the_operators_flag() {
    let http = resource(&[("/issuers/0/url", json!("http://okta.test/oauth2/default"))]);
    let refused = ValidatedApi::parse(&http, ParseOptions::default()).expect_err("no flag");
    assert_eq!(refused.reason, reason::INSECURE_ISSUER);
    let api = ValidatedApi::parse(&http, ParseOptions { allow_insecure_issuers: true }).expect("with the flag");
    assert!(api.sidecar_config().issuers[0].allow_http);
}

#[test]
fn the_flag_for_http_issuers_weakens_no_https_issuer() {
    let api = ValidatedApi::parse(&resource(&[]), ParseOptions { allow_insecure_issuers: true }).expect("sound");
    assert!(!api.sidecar_config().issuers[0].allow_http);
}

#[test]
fn a_rule_that_does_not_compile_is_refused_with_its_place() {
    let refused =
        parse(&[("/routes/0/when", json!("claims.sub != '' &&\n  'support' in groups"))]).expect_err("no variable");
    assert_eq!(refused.reason, reason::INVALID_RULE);
    assert!(refused.message.starts_with("route read: when: line 2, column 16: "), "{refused}");
    let long = parse(&[("/routes/0/when", json!("x".repeat(limits::WHEN_LENGTH + 1)))]).expect_err("too long");
    assert_eq!(long.reason, reason::INVALID_RULE);
}

#[test]
fn an_http_external_url_goes_only_with_an_http_issuer() {
    let with = |issuer: &str| {
        let changes = [("/issuers/0/url", json!(issuer)), ("/externalUrls", json!(["http://api.acme.test"]))];
        ValidatedApi::parse(&resource(&changes), ParseOptions { allow_insecure_issuers: true })
    };
    let refused = with("https://okta.test/oauth2/default").expect_err("the issuer is https");
    assert_eq!(refused.reason, reason::INSECURE_EXTERNAL_URL);
    with("http://okta.test/oauth2/default").expect("the issuer is http");
}

#[test]
fn an_org_server_cannot_vouch_for_tokens_by_local_checks_during_an_outage() {
    let org = [("/issuers/0/url", json!("https://acme.okta.com")), ("/issuers/0/validation", json!("Introspection"))];
    let refused = parse(&org).expect_err("AcceptLocallyValid on an org server");
    assert!(refused.message.contains("onOutage: the tokens of an Okta org authorization server"), "{refused}");
    let [url, validation] = org;
    parse(&[url, validation, ("/issuers/0/introspection/onOutage", json!({}))]).expect("Reject will do");
}

#[test]
fn where_the_issuer_is_never_asked_there_is_no_outage_to_pass() {
    let refused = parse(&[("/issuers/0/validation", json!("Local"))]).expect_err("AcceptLocallyValid with Local");
    assert!(refused.message.contains("introspection: with validation: Local no token waits"), "{refused}");
}

#[test]
fn a_client_that_nothing_would_use_is_not_mounted() {
    let local = ("/issuers/0/validation", json!("Local"));
    let api = parse(&[local, ("/issuers/0/introspection", json!({}))]).expect("sound");
    assert_eq!(api.issuers[0].client, None);
}

#[test]
fn methods_that_only_overlap_through_get_and_head_are_refused_and_others_taken() {
    let routes = |one: Value, other: Value| {
        json!([
            {"name": "a", "match": {"path": {"prefix": "/a"}, "methods": one}},
            {"name": "b", "match": {"path": {"prefix": "/a"}, "methods": other}},
        ])
    };
    for (one, other) in
        [(json!(["GET"]), json!(["HEAD"])), (json!(["HEAD"]), json!(["GET"])), (Value::Null, json!(["PUT"]))]
    {
        assert!(parse(&[("/routes", routes(one.clone(), other.clone()))]).is_err(), "{one} {other}");
    }
    assert!(parse(&[("/routes", routes(json!(["GET"]), json!(["POST", "PUT"])))]).is_ok());
}

#[test]
fn amounts_are_read_as_kubernetes_reads_them() {
    for (amount, sound) in [
        ("100m", true),
        ("1", true),
        ("0.5", true),
        (".5", true),
        ("64Mi", true),
        ("1e3", true),
        ("2E", true),
        ("", false),
        ("Mi", false),
        ("64 Mi", false),
        ("64MB", false),
        ("-1", false),
        ("1.2.3", false),
        ("1e", false),
    ] {
        assert_eq!(parse(&[("/app/resources/requests", json!({"memory": amount}))]).is_ok(), sound, "{amount}");
    }
}

#[test]
fn the_sidecar_gets_what_was_validated_and_where_the_files_are() {
    let config = serde_json::to_value(parse(&[]).expect("sound").sidecar_config()).expect("it serializes");
    let expected = json!({
        "namespace": "shop",
        "name": "items",
        "issuers": [{
            "name": "okta",
            "url": "https://acme.okta.com/oauth2/default",
            "audiences": ["api://default"],
            "validation": "LocalAndIntrospection",
            "client": {"credentialsDir": "/etc/tollgate/credentials/okta", "authMethod": "ClientSecretPost"},
            "introspection": {
                "cacheMillis": 90_000, "maxStaleMillis": 120_000,
                "onOutage": {"acceptLocallyValid": {"maxDurationMillis": 600_000}},
            },
            "clockSkewSeconds": 30,
            "caFile": "/etc/tollgate/ca/okta/ca.crt",
            "algorithms": ["ES256", "EdDSA"],
            "tokenProfile": "Rfc9068",
            "maxTokenLifetimeSeconds": 3600,
            "dpop": "Require",
            "dpopNonce": "PerPod",
            "endpoints": {"jwks": "https://keys.acme.com/keys?of=items"},
            "allowHttp": false,
        }],
        "defaultAccess": "Denied",
        "routes": [
            {"name": "read", "path": {"prefix": "/items"}, "methods": ["GET"], "access": "Authenticated",
             "scopes": {"allOf": ["items"], "anyOf": []}, "issuers": ["okta"], "when": "claims.sub != ''"},
            {"name": "docs", "path": {"exact": "/docs"}, "methods": [], "access": "Public", "scopes": {"allOf": [], "anyOf": []}},
        ],
        "tokenBroker": {
            "path": "/token", "issuer": "okta", "defaultScopes": ["items"], "allowedScopes": ["items", "items:write"],
            "swaggerForm": true,
        },
        "externalUrls": ["https://api.acme.com/shop"],
        "trustedProxies": ["10.0.0.0/8"],
        "tls": {
            "dir": "/etc/tollgate/tls",
            "clientCertificates": {"caFile": "/etc/tollgate/client-ca/ca.crt", "required": false},
        },
        "upstream": {
            "port": 8000,
            "address": "Pod",
            "protocol": "H2c",
            "tls": {"serverName": "items.internal", "caFile": "/etc/tollgate/upstream-ca/ca.crt"},
            "claimHeaders": [{"claim": ["address", "country"], "header": "x-country", "arrays": "Comma"}],
            "authorization": "Strip",
            "timeouts": {"connectMillis": 2000, "responseHeaderMillis": 90_000, "idleMillis": 3_600_000},
        },
        "paths": {"encodedSlash": "Keep", "doubleSlash": "Reject", "caseSensitive": true},
        "streams": {"atExpiry": {"keep": {"maxDurationMillis": 28_800_000}}, "webSocketToken": "Subprotocol"},
        "cors": {"handle": {
            "origins": ["https://app.acme.com"], "methods": ["GET", "POST"], "headers": ["x-page"], "expose": ["x-total"],
            "credentials": true, "maxAgeSeconds": 3600,
        }},
        "maxBodyBytes": 10_485_760,
        "accessLog": {"enabled": true, "oneIn": 100},
        "tracing": {"endpoint": "http://collector.observability:4318", "samplePerMillion": 1000},
        "logLevel": "info",
    });
    assert_eq!(config, expected);
}

#[test]
fn only_what_the_sidecar_enforces_changes_its_configuration() {
    let config = |changes: &[(&str, Value)]| -> SidecarConfig { parse(changes).expect("sound").sidecar_config() };
    let same =
        [("/app/replicas", json!(9)), ("/app/image", json!("other")), ("/issuers/0/client/secretRef/name", json!("x"))];
    assert_eq!(config(&[]), config(&same));
    assert_ne!(config(&[]), config(&[("/defaultAccess", json!("Authenticated"))]));
}
