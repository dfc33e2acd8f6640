//! Rules of issuers, and of names.

use serde_json::{Value, json};

use super::case::{Case, case, example, set};

pub(super) fn cases() -> Vec<Case> {
    [name_cases(), issuer_cases(), url_cases(), duration_cases(), token_cases(), outage_cases(), endpoint_cases()]
        .concat()
}

fn name_cases() -> Vec<Case> {
    const NAME: &str = "metadata.name: use at most 50 characters of a-z, 0-9 and -, starting with a letter; \
        the Service and the pods are named after it";
    // A rule over the name stands at the root, where the API server has no word for the place.
    const ROOT: &str = "<nil>";
    const LABEL: &str = "use a-z, 0-9 and -, with a letter or digit at both ends";
    const OBJECT: &str = "write the object's name: a-z, 0-9, - and .";
    let name = |name: &str| set("/metadata/name", json!(name));
    let mut cases = vec![
        case("a name that starts with a digit", &[name("4items")], ROOT, NAME, &[name("items4")]),
        case("a name with a dot", &[name("items.v1")], ROOT, NAME, &[name("items-v1")]),
        case("a name of 51 characters", &[name(&"n".repeat(51))], ROOT, NAME, &[name(&"n".repeat(50))]),
        case(
            "a ConfigMap key with a slash",
            &[set("/spec/issuers/0/caBundle/configMapRef/key", json!("certs/ca.crt"))],
            "spec.issuers[0].caBundle.configMapRef.key",
            "write the key's name: letters, digits, -, _ and .",
            &[set("/spec/issuers/0/caBundle/configMapRef/key", json!("certs_ca.crt"))],
        ),
    ];
    for (pointer, field) in [
        ("/spec/issuers/0/client/secretRef/name", "spec.issuers[0].client.secretRef.name"),
        ("/spec/issuers/0/caBundle/configMapRef/name", "spec.issuers[0].caBundle.configMapRef.name"),
        ("/spec/app/imagePullSecrets/0/name", "spec.app.imagePullSecrets[0].name"),
    ] {
        for bad in ["Okta-Items", "okta items", "okta-", "okta..items"] {
            let change = |name: &str| [set(pointer, json!(name))];
            cases.push(case(&format!("{field} {bad}"), &change(bad), field, OBJECT, &change("okta-items.v2")));
        }
    }
    let issuer = |name: &str| {
        ["/spec/issuers/0/name", "/spec/tokenBroker/issuer", "/spec/routes/0/issuers/0"].map(|at| set(at, json!(name)))
    };
    let route = |name: &str| [set("/spec/routes/0/name", json!(name))];
    for bad in ["Okta", "my okta", "-okta", "okta-", "okta.com"] {
        cases.push(case(
            &format!("an issuer named {bad}"),
            &issuer(bad),
            "spec.issuers[0].name",
            LABEL,
            &issuer("my-okta"),
        ));
        cases.push(case(&format!("a route named {bad}"), &route(bad), "spec.routes[0].name", LABEL, &route("my-okta")));
    }
    cases
}

fn issuer_cases() -> Vec<Case> {
    const ORG: &str = "the tokens of an Okta org authorization server are opaque: use validation: \
        Introspection, or the url of a custom authorization server, such as https://acme.okta.com/oauth2/default";
    const CLIENT: &str = "introspection needs this API's own Okta client: set client.secretRef to a Secret \
        with clientId and clientSecret";
    const AUDIENCE_SPACE: &str = "leave out white space around an audience";
    let first = |member: &str, value: Value| set(&format!("/spec/issuers/0/{member}"), value);
    let second = |member: &str, value: Value| set(&format!("/spec/issuers/1/{member}"), value);
    let another = set(
        "/spec/issuers/1",
        json!({"name": "partner", "url": "https://partner.okta.com/oauth2/aus1", "audiences": ["api://partner"]}),
    );
    let client = json!({"secretRef": {"name": "okta-partner"}});
    let mut cases = vec![
        case(
            "no issuer",
            &[
                set("/spec/issuers", json!([])),
                set("/spec/tokenBroker", Value::Null),
                set("/spec/routes/0/issuers", Value::Null),
            ],
            "spec.issuers",
            "name at least one issuer, such as https://acme.okta.com/oauth2/default",
            &[set("/spec/issuers", example()["spec"]["issuers"].clone())],
        ),
        case(
            "two issuers of one url",
            &[another.clone(), second("url", json!("https://acme.okta.com/oauth2/default"))],
            "spec.issuers",
            "two issuers have the same url: write it once, with all its audiences",
            &[second("url", json!("https://acme.okta.com/oauth2/aus1"))],
        ),
        case(
            "two issuers that take opaque tokens",
            &[
                another,
                first("validation", json!("Introspection")),
                second("validation", json!("Introspection")),
                second("client", client),
            ],
            "spec.issuers",
            "only one issuer may have validation: Introspection, for an opaque token does not say who issued it; \
             use Local or LocalAndIntrospection for the others",
            &[second("validation", json!("LocalAndIntrospection"))],
        ),
        case(
            "an empty list of audiences",
            &[first("audiences", json!([]))],
            "spec.issuers[0].audiences",
            "name at least one audience, such as api://default, or tokens for other APIs would pass",
            &[first("audiences", json!(["api://default"]))],
        ),
    ];
    for mode in ["Introspection", "LocalAndIntrospection"] {
        cases.push(case(
            &format!("{mode} without client"),
            &[first("validation", json!(mode)), first("client", Value::Null)],
            "spec.issuers[0].client",
            CLIENT,
            &[first("client", json!({"secretRef": {"name": "okta-items"}}))],
        ));
    }
    for audience in [" api://default", "api://default ", "api://default\n"] {
        cases.push(case(
            &format!("the audience {audience:?}"),
            &[first("audiences", json!([audience]))],
            "spec.issuers[0].audiences",
            AUDIENCE_SPACE,
            &[first("audiences", json!([audience.trim()]))],
        ));
    }
    for host in [
        "acme.okta.com",
        "acme.oktapreview.com",
        "acme.okta-emea.com",
        "acme.okta-gov.com",
        "acme.okta.mil",
        "ACME.okta.com",
        "acme.okta.com:443",
    ] {
        for mode in ["Local", "LocalAndIntrospection"] {
            cases.push(case(
                &format!("{mode} on the org server {host}"),
                &[first("url", json!(format!("https://{host}"))), first("validation", json!(mode))],
                "spec.issuers[0].validation",
                ORG,
                &[first("validation", json!("Introspection"))],
            ));
        }
    }
    for url in [
        "https://acme.okta.com/oauth2/default",
        "https://login.acme.com",
        "https://notokta.com",
        "https://okta.com.example",
    ] {
        cases.push(case(
            &format!("Local is mended by {url}"),
            &[first("url", json!("https://acme.okta.com")), first("validation", json!("Local"))],
            "spec.issuers[0].validation",
            ORG,
            &[first("url", json!(url))],
        ));
    }
    cases
}

fn url_cases() -> Vec<Case> {
    const PLACEHOLDER: &str = "replace the placeholder by your Okta domain, such as acme.okta.com";
    const SCHEME: &str = "start with https://";
    const QUERY: &str = "leave out the query and the fragment";
    const SLASH: &str = "leave out the trailing slash; the iss of Okta's tokens has none";
    const USER: &str = "leave out the user and password";
    const ADMIN: &str = "leave out -admin; the admin console issues no tokens";
    const ENDPOINT: &str =
        "write the issuer, not one of its endpoints: leave out what follows from /.well-known/ or /v1/ on";
    const SHAPE: &str = "write a URL such as https://acme.okta.com/oauth2/default";
    let good = "https://acme.okta.com/oauth2/default";
    [
        ("https://${yourOktaDomain}/oauth2/default", PLACEHOLDER, good),
        ("https://{yourOktaDomain}/oauth2/default", PLACEHOLDER, good),
        ("https://<yourOktaDomain>/oauth2/default", PLACEHOLDER, good),
        ("acme.okta.com/oauth2/default", SCHEME, good),
        ("ftp://acme.okta.com/oauth2/default", SCHEME, good),
        ("HTTPS://acme.okta.com/oauth2/default", SCHEME, good),
        ("https://acme.okta.com/oauth2/default?x=1", QUERY, good),
        ("https://acme.okta.com/oauth2/default#x", QUERY, good),
        ("https://acme.okta.com/oauth2/default/", SLASH, good),
        ("https://login.acme.com/", SLASH, "https://login.acme.com"),
        ("https://me:secret@acme.okta.com/oauth2/default", USER, good),
        ("https://acme-admin.okta.com/oauth2/default", ADMIN, good),
        ("https://acme-admin.oktapreview.com/oauth2/default", ADMIN, "https://sso-admin.acme.com/oauth2/default"),
        ("https://acme.okta.com/oauth2/default/.well-known/openid-configuration", ENDPOINT, good),
        ("https://acme.okta.com/oauth2/default/v1/token", ENDPOINT, good),
        ("https://acme.okta.com/oauth2/default/v1/keys", ENDPOINT, good),
        ("https:///oauth2/default", SHAPE, good),
        ("https://acme .okta.com/oauth2/default", SHAPE, good),
        ("https://acme.okta.com/oauth2/my server", SHAPE, "https://acme.okta.com/oauth2/my-server"),
        (r"https://acme.okta.com\oauth2\default", SHAPE, good),
        ("https://acme.okta.com:port/oauth2/default", SHAPE, "https://acme.okta.com:8443/oauth2/default"),
        ("https://äcme.example/oauth2/default", SHAPE, "https://[2001:db8::1]:8443/oauth2/default"),
    ]
    .into_iter()
    .map(|(bad, message, mended)| {
        let url = |url: &str| [set("/spec/issuers/0/url", json!(url))];
        case(&format!("the issuer {bad}"), &url(bad), "spec.issuers[0].url", message, &url(mended))
    })
    .collect()
}

fn duration_cases() -> Vec<Case> {
    const DURATION: &str = "write a duration as whole numbers with the units h, m, s or ms, such as 60s or 1m30s";
    let outage = [("policy", "AcceptLocallyValid"), ("maxDuration", "10m")];
    let outage =
        outage.map(|(member, value)| set(&format!("/spec/issuers/0/introspection/onOutage/{member}"), json!(value)));
    let mut cases = Vec::new();
    for (member, bad, message, mended) in [
        ("clockSkew", "60", DURATION, "60s"),
        ("clockSkew", "5m1s", "choose at most 5m", "5m"),
        ("introspection.cache", "1.5m", DURATION, "1m30s"),
        ("introspection.cache", "2h", "choose at most 1h", "60m"),
        ("introspection.maxStale", "-1s", DURATION, "0s"),
        ("introspection.maxStale", "61m", "choose at most 1h", "1h"),
        ("introspection.onOutage.maxDuration", "ten minutes", DURATION, "10m"),
        ("introspection.onOutage.maxDuration", "24h1ms", "choose at most 24h", "24h"),
        ("introspection.onOutage.maxDuration", "0s", "choose at least 1s", "1s"),
        ("maxTokenLifetime", "1d", DURATION, "24h"),
        ("maxTokenLifetime", "169h", "choose at most 168h", "168h"),
        ("maxTokenLifetime", "59s", "choose at least 1m", "1m"),
    ] {
        let to = |value: &str| set(&format!("/spec/issuers/0/{}", member.replace('.', "/")), json!(value));
        let with_outage: Vec<_> = outage.iter().cloned().chain([to(bad)]).collect();
        let field = format!("spec.issuers[0].{member}");
        cases.push(case(&format!("{field} {bad}"), &with_outage, &field, message, &[to(mended)]));
    }
    cases
}

fn token_cases() -> Vec<Case> {
    const EXTERNAL: &str = "a DPoP proof names the URL that the caller used: say in externalUrls how callers reach this \
        API, such as https://api.acme.com";
    let first = |member: &str, value: Value| set(&format!("/spec/issuers/0/{member}"), value);
    let mut cases = vec![
        case(
            "no algorithm",
            &[first("algorithms", json!([]))],
            "spec.issuers[0].algorithms",
            "name at least one algorithm, such as RS256",
            &[first("algorithms", json!(["EdDSA"]))],
        ),
        case(
            "a nonce without DPoP",
            &[first("dpop", Value::Null)],
            "spec.issuers[0].dpopNonce",
            "a nonce is for DPoP proofs: set dpop to Accept or Require, or leave dpopNonce out",
            &[first("dpopNonce", json!("None"))],
        ),
    ];
    for mode in ["Accept", "Require"] {
        for urls in [Value::Null, json!([])] {
            cases.push(case(
                &format!("dpop {mode} with the external URLs {urls}"),
                &[first("dpop", json!(mode)), set("/spec/externalUrls", urls)],
                "spec.externalUrls",
                EXTERNAL,
                &[set("/spec/externalUrls", json!(["https://api.acme.com"]))],
            ));
        }
    }
    cases
}

fn outage_cases() -> Vec<Case> {
    const BOTH: &str = "maxDuration goes with policy: AcceptLocallyValid and only with it: say how long tokens may pass \
        unasked, such as 10m, or leave out both";
    const ORG: &str = "the tokens of an Okta org authorization server cannot be checked locally: use policy: Reject, or \
        the url of a custom authorization server, such as https://acme.okta.com/oauth2/default";
    let outage = |value: Value| set("/spec/issuers/0/introspection/onOutage", value);
    let accept = || outage(json!({"policy": "AcceptLocallyValid", "maxDuration": "10m"}));
    let url = |url: &str| set("/spec/issuers/0/url", json!(url));
    let validation = |mode: &str| set("/spec/issuers/0/validation", json!(mode));
    let introspection = validation("Introspection");
    vec![
        case(
            "AcceptLocallyValid where Okta is never asked",
            &[validation("Local"), accept()],
            "spec.issuers[0].introspection.onOutage.policy",
            "with validation: Local no token waits for Okta's word, so there is no outage to pass: leave onOutage out, or \
             use validation: LocalAndIntrospection",
            &[validation("LocalAndIntrospection")],
        ),
        case(
            "AcceptLocallyValid where Okta is never asked, mended by leaving it out",
            &[validation("Local"), accept()],
            "spec.issuers[0].introspection.onOutage.policy",
            "with validation: Local no token waits for Okta's word, so there is no outage to pass: leave onOutage out, or \
             use validation: LocalAndIntrospection",
            &[outage(Value::Null)],
        ),
        case(
            "AcceptLocallyValid without an end",
            &[outage(json!({"policy": "AcceptLocallyValid"}))],
            "spec.issuers[0].introspection.onOutage.maxDuration",
            BOTH,
            &[accept()],
        ),
        case(
            "an end of what does not begin",
            &[outage(json!({"policy": "Reject", "maxDuration": "10m"}))],
            "spec.issuers[0].introspection.onOutage.maxDuration",
            BOTH,
            &[outage(json!({"policy": "Reject"}))],
        ),
        case(
            "AcceptLocallyValid on an org server",
            &[url("https://acme.okta.com"), introspection.clone(), accept()],
            "spec.issuers[0].introspection.onOutage.policy",
            ORG,
            &[outage(json!({"policy": "Reject"}))],
        ),
        case(
            "AcceptLocallyValid on an org server, mended by a custom one",
            &[url("https://acme.oktapreview.com"), introspection, accept()],
            "spec.issuers[0].introspection.onOutage.policy",
            ORG,
            &[url("https://acme.oktapreview.com/oauth2/default")],
        ),
    ]
}

fn endpoint_cases() -> Vec<Case> {
    const SHAPE: &str = "write a URL such as https://acme.okta.com/oauth2/default/v1/keys";
    let mut cases = Vec::new();
    for member in ["jwks", "token", "introspection"] {
        let field = format!("spec.issuers[0].endpoints.{member}");
        for (bad, message) in [
            ("http://acme.okta.com/v1/keys", "start with https://"),
            ("/v1/keys", "start with https://"),
            ("https://acme.okta.com/v1/keys#x", "leave out the fragment"),
            ("https://me:secret@acme.okta.com/v1/keys", "leave out the user and password"),
            ("https://acme.okta.com", SHAPE),
            ("https:///v1/keys", SHAPE),
            ("https://{yourOktaDomain}/v1/keys", SHAPE),
            ("https://acme.okta.com/v1/my keys", SHAPE),
        ] {
            let to = |url: &str| [set(&format!("/spec/issuers/0/endpoints/{member}"), json!(url))];
            let mended = to("https://acme.okta.com:8443/v1/keys?client_id=items");
            cases.push(case(&format!("{field} {bad}"), &to(bad), &field, message, &mended));
        }
    }
    cases
}
