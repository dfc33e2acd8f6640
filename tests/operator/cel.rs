//! What `kubectl apply` refuses: for every rule of the schema a resource that breaks this rule alone, the message that
//! the user then reads, and the same resource mended, which the API server takes. A rule without an example fails the
//! test. What the schema refuses `ValidatedApi::parse` refuses as well, and what both take the sidecar does.

use std::collections::BTreeSet;

use kube::api::{DynamicObject, ObjectMeta, PostParams};
use kube::core::{ApiResource, Request};
use kube::{Api, Client, CustomResourceExt};
use serde_json::{Value, json};
use tollgate_api::{OktaProtectedApi, ParseOptions, ValidatedApi};
use tollgate_sidecar::policy::Policy;

use crate::api_server;

#[tokio::test]
async fn every_rule_refuses_its_bad_example_and_takes_the_mended_one() {
    let api = resources(&api_server::client().await);
    create(&api, &example()).await.expect("the example that all others change is taken");

    let mut wrong = Vec::new();
    let mut shown = BTreeSet::new();
    for case in cases() {
        wrong.extend(check(&api, &case).await.err().map(|problem| format!("{}: {problem}", case.broken)));
        shown.insert((location(&case.field), case.message.to_owned()));
    }
    let without_example = rules().into_iter().filter(|rule| !shown.contains(rule));
    wrong.extend(without_example.map(|(field, message)| format!("a rule without an example: {field}: {message}")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The broken resource is refused for its one reason, by the schema and by `parse`; the mended one is taken by both, and
/// by the sidecar.
async fn check(api: &Api<DynamicObject>, case: &Case) -> Result<(), String> {
    let bad = changed(&example(), &case.bad);
    let causes = refusal(api, &bad).await?;
    match causes.as_slice() {
        [(field, message)] if *field == case.field && message.ends_with(&format!(": {}", case.message)) => {}
        other => return Err(format!("{other:?} in place of {}: {}", case.field, case.message)),
    }
    if parses(&bad).is_ok() {
        return Err("parse takes what the schema refuses".into());
    }
    let mended = changed(&bad, &case.mended);
    create(api, &mended).await.map_err(|error| format!("the mended one is refused: {error}"))?;
    let api = parses(&mended).map_err(|reason| format!("parse refuses the mended one: {reason}"))?;
    let policy = api.sidecar_config().to_file().map_err(|error| error.to_string())?;
    Policy::from_file(policy.as_bytes()).map_err(|error| format!("the sidecar refuses the mended one: {error}"))?;
    Ok(())
}

#[tokio::test]
async fn bounds_and_required_fields_are_the_api_servers_own_to_refuse() {
    let api = resources(&api_server::client().await);
    let many = |count: usize, item: &dyn Fn(usize) -> Value| Value::Array((0..count).map(item).collect());
    let route =
        |number: usize| json!({"name": format!("r{number}"), "match": {"path": {"prefix": format!("/{number}")}}});
    let issuer = |number: usize| {
        let url = format!("https://{number}.example");
        json!({"name": format!("i{number}"), "url": url, "audiences": ["a"]})
    };
    let scope = |number: usize| json!(format!("scope{number}"));
    let twice = json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]);

    for (broken, change, field, message) in [
        ("no issuers at all", ("/spec/issuers", Value::Null), "spec.issuers", "Required value"),
        (
            "no audiences at all",
            ("/spec/issuers/0/audiences", Value::Null),
            "spec.issuers[0].audiences",
            "Required value",
        ),
        ("no upstream", ("/spec/upstream", Value::Null), "spec.upstream", "Required value"),
        ("no app", ("/spec/app", Value::Null), "spec.app", "Required value"),
        ("no image", ("/spec/app/image", Value::Null), "spec.app.image", "Required value"),
        ("nine issuers", ("/spec/issuers", many(9, &issuer)), "spec.issuers", "Too many: 9: must have at most 8 items"),
        ("65 routes", ("/spec/routes", many(65, &route)), "spec.routes", "Too many: 65: must have at most 64 items"),
        (
            "33 scopes",
            ("/spec/routes/0/scopes/allOf", many(33, &scope)),
            "spec.routes[0].scopes.allOf",
            "Too many: 33: must have at most 32 items",
        ),
        (
            "two routes of one name",
            ("/spec/routes/1/name", json!("items-read")),
            "spec.routes[1]",
            r#"Duplicate value: {"name":"items-read"}"#,
        ),
        ("a variable twice", ("/spec/app/env", twice), "spec.app.env[1]", r#"Duplicate value: {"name":"A"}"#),
        (
            "an audience twice",
            ("/spec/issuers/0/audiences", json!(["a", "a"])),
            "spec.issuers[0].audiences[1]",
            r#"Duplicate value: "a""#,
        ),
        (
            "a validation that does not exist",
            ("/spec/issuers/0/validation", json!("Remote")),
            "spec.issuers[0].validation",
            r#"Unsupported value: "Remote": supported values: "Local", "Introspection", "LocalAndIntrospection""#,
        ),
        (
            "a method that no route can name",
            ("/spec/routes/0/match/methods", json!(["CONNECT"])),
            "spec.routes[0].match.methods[0]",
            r#"Unsupported value: "CONNECT": supported values: "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS""#,
        ),
        (
            "fewer pods than none",
            ("/spec/app/replicas", json!(-1)),
            "spec.app.replicas",
            "Invalid value: -1: spec.app.replicas in body should be greater than or equal to 0",
        ),
        (
            "too many pods",
            ("/spec/app/replicas", json!(1001)),
            "spec.app.replicas",
            "Invalid value: 1001: spec.app.replicas in body should be less than or equal to 1000",
        ),
        (
            "a port that is none",
            ("/spec/upstream/port", json!(65536)),
            "spec.upstream.port",
            "Invalid value: 65536: spec.upstream.port in body should be less than or equal to 65535",
        ),
        (
            "port 0",
            ("/spec/service", json!({"port": 0})),
            "spec.service.port",
            "Invalid value: 0: spec.service.port in body should be greater than or equal to 1",
        ),
    ] {
        let bad = changed(&example(), &[(change.0.to_owned(), change.1)]);
        let causes = refusal(&api, &bad).await.unwrap_or_else(|problem| panic!("{broken}: {problem}"));
        assert!(causes.contains(&(field.to_owned(), message.to_owned())), "{broken}: {causes:#?}");
        assert!(parses(&bad).is_err(), "{broken}: parse takes what the schema refuses");
    }
}

#[tokio::test]
async fn defaults_stand_in_the_stored_resource() {
    let api = resources(&api_server::client().await);
    let least = json!({
        "apiVersion": "tollgate.dev/v1alpha1", "kind": "OktaProtectedApi", "metadata": {"name": "least"},
        "spec": {
            "issuers": [{"name": "okta", "url": "https://acme.okta.com/oauth2/default", "audiences": ["a"]}],
            "tokenBroker": {"issuer": "okta", "allowedScopes": ["items"]},
            "upstream": {"port": 8000},
            "app": {"image": "ghcr.io/acme/items:1.4"},
        }
    });
    let stored = create(&api, &least).await.expect("the least resource is taken");
    for (pointer, default) in [
        ("/spec/issuers/0/validation", json!("Local")),
        ("/spec/issuers/0/clockSkew", json!("60s")),
        ("/spec/issuers/0/introspection/cache", json!("60s")),
        ("/spec/defaultAccess", json!("Authenticated")),
        ("/spec/routes", json!([])),
        ("/spec/tokenBroker/path", json!("/token")),
        ("/spec/tokenBroker/swaggerForm", json!(false)),
        ("/spec/app/replicas", json!(1)),
        ("/spec/service/port", json!(80)),
        ("/spec/networkPolicy/enabled", json!(true)),
        ("/spec/sidecar/logLevel", json!("info")),
    ] {
        assert_eq!(stored.data.pointer(pointer), Some(&default), "{pointer}");
    }
}

/// The API server ends a rule that costs too much on a resource, however sound that is.
#[tokio::test]
async fn the_largest_resource_that_the_bounds_allow_is_within_the_rules_budget() {
    let api = resources(&api_server::client().await);
    let long = |start: String, length: usize| format!("{start}{}", "x".repeat(length - start.len()));
    let scopes: Vec<_> = (0..32).map(|number| long(format!("{number:02}"), 128)).collect();
    let issuers: Vec<_> = (0..8)
        .map(|number| {
            json!({
                "name": long(format!("i{number}"), 32),
                "url": long(format!("https://acme.okta.com/oauth2/{number}"), 512),
                "audiences": (0..8).map(|audience| long(format!("api://{audience}"), 512)).collect::<Vec<_>>(),
                "validation": "LocalAndIntrospection",
                "client": {"secretRef": {"name": long(format!("s{number}"), 253)}},
            })
        })
        .collect();
    // Paths that differ in their last letter alone, and as many as can be with every method for itself.
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let routes: Vec<_> = (0..64)
        .map(|number| {
            let last = char::from(b'a' + u8::try_from(number / methods.len()).expect("at most ten"));
            json!({
                "name": long(format!("r{number}"), 63),
                "match": {"path": {"prefix": format!("{}{last}", long("/".into(), 511))}, "methods": [methods[number % 6]]},
                "scopes": {"allOf": scopes, "anyOf": scopes},
            })
        })
        .collect();
    let largest = changed(
        &example(),
        &[
            set("/spec/issuers", json!(issuers)),
            set("/spec/routes", json!(routes)),
            set("/spec/tokenBroker/issuer", issuers[7]["name"].clone()),
            set("/spec/tokenBroker/path", json!(long("/t".into(), 512))),
            set("/spec/tokenBroker/allowedScopes", json!(scopes)),
            set("/spec/tokenBroker/defaultScopes", json!(scopes)),
        ],
    );
    create(&api, &largest).await.expect("the largest resource is taken");
    parses(&largest).expect("and parsed");
}

/// `has()` of a rule must not take a null for a value.
#[tokio::test]
async fn a_null_is_no_value() {
    let api = resources(&api_server::client().await);
    let mut bad = changed(&example(), &[set("/spec/issuers/0/validation", json!("Introspection"))]);
    bad["spec"]["issuers"][0]["client"] = Value::Null;
    let causes = refusal(&api, &bad).await.expect("introspection with a null client is refused");
    assert_eq!(causes[0].0, "spec.issuers[0].client");
}

#[tokio::test]
async fn a_field_that_does_not_exist_is_refused_by_name() {
    let client = api_server::client().await;
    let api = resources(&client);
    let mistyped = changed(&example(), &[set("/spec/routes/0/scope", json!({"allOf": ["items"]}))]);
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let mut request =
        Request::new(api.resource_url()).create(&params, mistyped.to_string().into_bytes()).expect("a request");
    // What kubectl asks for.
    *request.uri_mut() = format!("{}&fieldValidation=Strict", request.uri()).parse().expect("a URI");
    let error = client.request::<Value>(request).await.expect_err("`scope` is no field");
    assert!(error.to_string().contains(r#"unknown field "spec.routes[0].scope""#), "{error}");
}

#[test]
fn the_definition_has_a_status_and_five_columns_and_no_scale() {
    let version = &OktaProtectedApi::crd().spec.versions[0];
    assert!(version.subresources.as_ref().is_some_and(|sub| sub.status.is_some() && sub.scale.is_none()));
    let columns: Vec<_> =
        version.additional_printer_columns.iter().flatten().map(|column| column.name.as_str()).collect();
    assert_eq!(columns, ["Ready", "Reason", "Protected", "Validation", "Age"]);
}

/// A resource that breaks one rule.
struct Case {
    /// What is wrong with it, in words.
    broken: String,
    /// Changes to [`example`].
    bad: Vec<Change>,
    /// The field that the API server names.
    field: String,
    /// What it says.
    message: &'static str,
    /// Further changes, after which all is well.
    mended: Vec<Change>,
}

/// A JSON pointer and the value to stand there; null removes it.
type Change = (String, Value);

fn set(pointer: &str, value: Value) -> Change {
    (pointer.to_owned(), value)
}

fn case(broken: &str, bad: &[Change], field: &str, message: &'static str, mended: &[Change]) -> Case {
    Case { broken: broken.to_owned(), bad: bad.to_vec(), field: field.to_owned(), message, mended: mended.to_vec() }
}

/// A sound resource with something in every part that has rules.
fn example() -> Value {
    json!({
        "apiVersion": "tollgate.dev/v1alpha1",
        "kind": "OktaProtectedApi",
        "metadata": {"name": "items"},
        "spec": {
            "issuers": [{
                "name": "okta",
                "url": "https://acme.okta.com/oauth2/default",
                "audiences": ["api://default"],
                "validation": "LocalAndIntrospection",
                "client": {"secretRef": {"name": "okta-items"}},
                "caBundle": {"configMapRef": {"name": "corp-ca", "key": "ca.crt"}},
            }],
            "routes": [
                {
                    "name": "items-read",
                    "match": {"path": {"prefix": "/items"}, "methods": ["GET"]},
                    "scopes": {"allOf": ["items"]},
                },
                {
                    "name": "items-write",
                    "match": {"path": {"prefix": "/items"}, "methods": ["POST"]},
                    "scopes": {"anyOf": ["items:write"]},
                },
                {"name": "openapi", "match": {"path": {"exact": "/openapi.json"}}, "access": "Public"},
            ],
            "tokenBroker": {
                "path": "/token",
                "issuer": "okta",
                "defaultScopes": ["items"],
                "allowedScopes": ["items", "items:write"],
            },
            "upstream": {"port": 8000},
            "app": {
                "image": "ghcr.io/acme/items:1.4",
                "imagePullSecrets": [{"name": "registry"}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}},
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8000}},
                "livenessProbe": {"tcpSocket": {"port": 8000}},
                "startupProbe": {"grpc": {"port": 8000}},
            },
            "sidecar": {"resources": {"requests": {"cpu": 1}, "limits": {"memory": "1e8"}}},
        }
    })
}

fn cases() -> Vec<Case> {
    let mut cases = name_cases();
    cases.extend(issuer_cases());
    cases.extend(url_cases());
    cases.extend(route_cases());
    cases.extend(path_cases());
    cases.extend(scope_cases());
    cases.extend(broker_cases());
    cases.extend(workload_cases());
    cases.extend(resource_cases());
    cases.extend(probe_cases());
    cases
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
    let issuer = |name: &str| [set("/spec/issuers/0/name", json!(name)), set("/spec/tokenBroker/issuer", json!(name))];
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
            &[set("/spec/issuers", json!([])), set("/spec/tokenBroker", Value::Null)],
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
        case(
            "a clock skew without unit",
            &[first("clockSkew", json!("60"))],
            "spec.issuers[0].clockSkew",
            "write a duration as whole numbers with the units h, m, s or ms, such as 60s or 1m30s",
            &[first("clockSkew", json!("60s"))],
        ),
        case(
            "a clock skew over five minutes",
            &[first("clockSkew", json!("5m1s"))],
            "spec.issuers[0].clockSkew",
            "choose at most 5m",
            &[first("clockSkew", json!("5m"))],
        ),
        case(
            "a cache time with a fraction",
            &[first("introspection", json!({"cache": "1.5m"}))],
            "spec.issuers[0].introspection.cache",
            "write a duration as whole numbers with the units h, m, s or ms, such as 60s or 1m30s",
            &[first("introspection", json!({"cache": "1m30s"}))],
        ),
        case(
            "a cache time over an hour",
            &[first("introspection", json!({"cache": "2h"}))],
            "spec.issuers[0].introspection.cache",
            "choose at most 1h",
            &[first("introspection", json!({"cache": "60m"}))],
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

fn route_cases() -> Vec<Case> {
    const OVERLAP: &str = "two routes have the same path and a method in common: give each its own methods \
        (none means all, GET includes HEAD)";
    const EXACTLY_ONE: &str = "set exactly one of exact and prefix";
    const SCOPES: &str =
        "scopes need access: Authenticated, for a Public or Denied route looks at no token; leave out one of the two";
    let first = |member: &str, value: Value| set(&format!("/spec/routes/0/{member}"), value);
    let second = |member: &str, value: Value| set(&format!("/spec/routes/1/{member}"), value);
    let mut cases = vec![
        case(
            "neither exact nor prefix",
            &[first("match/path", json!({}))],
            "spec.routes[0].match.path",
            EXACTLY_ONE,
            &[first("match/path", json!({"exact": "/items"}))],
        ),
        case(
            "both exact and prefix",
            &[first("match/path/exact", json!("/items"))],
            "spec.routes[0].match.path",
            EXACTLY_ONE,
            &[first("match/path/prefix", Value::Null)],
        ),
        case(
            "scopes that name none",
            &[first("scopes", json!({}))],
            "spec.routes[0].scopes",
            "name scopes in allOf or anyOf, or leave scopes out",
            &[first("scopes", Value::Null)],
        ),
        case(
            "scopes of empty lists",
            &[first("scopes", json!({"allOf": [], "anyOf": []}))],
            "spec.routes[0].scopes",
            "name scopes in allOf or anyOf, or leave scopes out",
            &[first("scopes/anyOf", json!(["items"]))],
        ),
        case(
            "a prefix with a trailing slash",
            &[first("match/path/prefix", json!("/items/"))],
            "spec.routes[0].match.path.prefix",
            "leave out the trailing slash; a prefix covers the path with it too",
            &[first("match/path/prefix", json!("/"))],
        ),
        case(
            "two routes of one exact path",
            &[
                first("match", json!({"path": {"exact": "/items"}})),
                second("match", json!({"path": {"exact": "/items"}})),
            ],
            "spec.routes",
            OVERLAP,
            &[second("match", json!({"path": {"prefix": "/items"}}))],
        ),
        case(
            "two routes of one path, exact with and without a slash at the end",
            &[
                first("match", json!({"path": {"exact": "/items/"}})),
                second("match", json!({"path": {"exact": "/items/"}})),
            ],
            "spec.routes",
            OVERLAP,
            &[second("match", json!({"path": {"exact": "/items"}}))],
        ),
    ];
    for access in ["Public", "Denied"] {
        cases.push(case(
            &format!("a {access} route with scopes"),
            &[first("access", json!(access))],
            "spec.routes[0].scopes",
            SCOPES,
            &[first("access", json!("Authenticated"))],
        ));
    }
    let methods = |one: Value, other: Value| [first("match/methods", one), second("match/methods", other)];
    for (one, other, mended) in [
        (json!(["GET"]), json!(["POST", "GET"]), json!(["POST"])),
        (json!(["GET"]), json!(["HEAD"]), json!(["OPTIONS"])),
        (json!(["HEAD", "PUT"]), json!(["GET"]), json!(["DELETE"])),
        (json!([]), json!(["GET"]), Value::Null),
        (json!(["GET"]), json!([]), json!(["PATCH"])),
        (Value::Null, Value::Null, Value::Null),
    ] {
        let mut repair = vec![second("match/methods", mended.clone())];
        if mended.is_null() {
            repair.push(second("match/path/prefix", json!("/others")));
        }
        let broken = format!("{one} and {other} on one path");
        cases.push(case(&broken, &methods(one, other), "spec.routes", OVERLAP, &repair));
    }
    cases
}

/// The fields that hold a path, with what makes the example have one there.
fn path_cases() -> Vec<Case> {
    const START: &str = "start the path with /";
    const DOTS: &str = "leave out . and .. segments";
    const SLASHES: &str = "write one slash in place of //";
    const WILDCARD: &str =
        "there are no wildcards; use prefix, which covers everything below a path (/items covers /items/42)";
    const CHARACTERS: &str = r"leave out %, ;, \, ?, #, spaces and whatever else is not plain in a path";
    let bad = [
        ("items", START),
        ("/a/../b", DOTS),
        ("/..", DOTS),
        ("/./a", DOTS),
        ("/a/.", DOTS),
        ("/a//b", SLASHES),
        ("/items/*", WILDCARD),
        ("/items/{id}", WILDCARD),
        ("/a%2fb", CHARACTERS),
        ("/a;v=1", CHARACTERS),
        (r"/a\b", CHARACTERS),
        ("/a?b", CHARACTERS),
        ("/a#b", CHARACTERS),
        ("/a b", CHARACTERS),
        ("/a\tb", CHARACTERS),
        ("/a\n", CHARACTERS),
        ("/ä", CHARACTERS),
    ];
    [
        ("/spec/routes/0/match/path/prefix", "spec.routes[0].match.path.prefix"),
        ("/spec/routes/2/match/path/exact", "spec.routes[2].match.path.exact"),
        ("/spec/tokenBroker/path", "spec.tokenBroker.path"),
    ]
    .into_iter()
    .flat_map(|(pointer, field)| {
        bad.into_iter().map(move |(path, message)| {
            let to = |path: &str| [set(pointer, json!(path))];
            case(&format!("{field} {path:?}"), &to(path), field, message, &to("/.well-known/a~b/(c)@d:e,f='g'"))
        })
    })
    .collect()
}

fn scope_cases() -> Vec<Case> {
    const SCOPE: &str = "write each scope as an item of its own, without spaces, quotes and backslashes (RFC 6749)";
    [
        ("/spec/routes/0/scopes/allOf", "spec.routes[0].scopes.allOf"),
        ("/spec/routes/1/scopes/anyOf", "spec.routes[1].scopes.anyOf"),
        ("/spec/tokenBroker/allowedScopes", "spec.tokenBroker.allowedScopes"),
    ]
    .into_iter()
    .flat_map(|(pointer, field)| {
        ["items items:write", "\"items\"", r"ACME\items", "ìtems", "items\n"].into_iter().map(move |bad| {
            // A default scope must be an allowed one.
            let without_defaults = set("/spec/tokenBroker/defaultScopes", Value::Null);
            let scope = |scope: &str| [set(pointer, json!([scope])), without_defaults.clone()];
            case(&format!("{field} {bad:?}"), &scope(bad), field, SCOPE, &scope("https://acme.com/items.read!"))
        })
    })
    .collect()
}

fn broker_cases() -> Vec<Case> {
    const TAKEN: &str = "the broker answers on this path, so no route may have it: remove the route or move the broker";
    let broker = |member: &str, value: Value| set(&format!("/spec/tokenBroker/{member}"), value);
    vec![
        case(
            "a broker issuer that does not exist",
            &[broker("issuer", json!("octa"))],
            "spec.tokenBroker.issuer",
            "there is no issuer named 'octa': write the name of one of the issuers",
            &[broker("issuer", json!("okta"))],
        ),
        case(
            "a default scope that is not allowed",
            &[broker("defaultScopes", json!(["items", "items:delete"]))],
            "spec.tokenBroker.defaultScopes",
            "a default scope is not allowed: name every one of defaultScopes in allowedScopes too",
            &[broker("allowedScopes", json!(["items", "items:delete"]))],
        ),
        case(
            "a broker without a scope",
            &[broker("allowedScopes", json!([])), broker("defaultScopes", Value::Null)],
            "spec.tokenBroker.allowedScopes",
            "name at least one scope that callers may ask for",
            &[broker("allowedScopes", json!(["items"]))],
        ),
        case(
            "a broker path with a trailing slash",
            &[broker("path", json!("/token/"))],
            "spec.tokenBroker.path",
            "leave out the trailing slash; name a path such as /token",
            &[broker("path", json!("/oauth/token"))],
        ),
        case(
            "a broker path with a capital letter",
            &[broker("path", json!("/oauth/Token"))],
            "spec.tokenBroker.path",
            "write the path in lower case, such as /token",
            &[broker("path", json!("/oauth/token"))],
        ),
        case(
            "a broker on a route's exact path",
            &[broker("path", json!("/openapi.json"))],
            "spec.tokenBroker.path",
            TAKEN,
            &[broker("path", json!("/token"))],
        ),
        case(
            "a broker on a route's prefix",
            &[broker("path", json!("/items"))],
            "spec.tokenBroker.path",
            TAKEN,
            &[broker("path", json!("/items/token"))],
        ),
    ]
}

fn workload_cases() -> Vec<Case> {
    const PORT: &str = "let the app listen on another port; 8480 to 8482 are the sidecar's";
    const IMAGE: &str = "name the container image, such as ghcr.io/acme/items:1.4";
    let port = |port: u16| [set("/spec/upstream/port", json!(port))];
    let image = |image: &str| [set("/spec/app/image", json!(image))];
    let mut cases: Vec<_> = [8480, 8481, 8482]
        .into_iter()
        .map(|taken| case(&format!("upstream port {taken}"), &port(taken), "spec.upstream.port", PORT, &port(8483)))
        .collect();
    for bad in ["", " ", "ghcr.io/acme/items: 1.4", "ghcr.io/acme/items:1.4\n"] {
        cases.push(case(&format!("the image {bad:?}"), &image(bad), "spec.app.image", IMAGE, &image("items")));
    }
    cases
}

fn resource_cases() -> Vec<Case> {
    const AMOUNT: &str = "write amounts such as 100m of cpu or 64Mi of memory";
    [
        ("/spec/app/resources/requests", "spec.app.resources.requests"),
        ("/spec/app/resources/limits", "spec.app.resources.limits"),
        ("/spec/sidecar/resources/requests", "spec.sidecar.resources.requests"),
        ("/spec/sidecar/resources/limits", "spec.sidecar.resources.limits"),
    ]
    .into_iter()
    .flat_map(|(pointer, field)| {
        ["64 Mi", "64MB", "", "-64Mi", "lots"].into_iter().map(move |bad| {
            let memory = |amount: &str| [set(pointer, json!({"memory": amount}))];
            case(&format!("{field} of {bad:?}"), &memory(bad), field, AMOUNT, &memory("64Mi"))
        })
    })
    .collect()
}

fn probe_cases() -> Vec<Case> {
    const HANDLER: &str = "set exactly one of exec, grpc, httpGet and tcpSocket";
    const PORT: &str = "give the app's own port by its number; 8480 to 8482 are the sidecar's";
    ["readinessProbe", "livenessProbe", "startupProbe"]
        .into_iter()
        .flat_map(|probe| {
            let good = json!({"exec": {"command": ["true"]}});
            let field = format!("spec.app.{probe}");
            [
                (json!({"periodSeconds": 5}), HANDLER),
                (json!({"httpGet": {"port": 8000}, "tcpSocket": {"port": 8000}}), HANDLER),
                (json!({"httpGet": {"path": "/readyz", "port": 8481}}), PORT),
                (json!({"httpGet": {"path": "/healthz", "port": "http"}}), PORT),
                (json!({"tcpSocket": {"port": 8480}}), PORT),
                (json!({"grpc": {"port": 8482}}), PORT),
            ]
            .map(|(bad, message)| {
                let to = |value: &Value| [set(&format!("/spec/app/{probe}"), value.clone())];
                case(&format!("{field} {bad}"), &to(&bad), &field, message, &to(&good))
            })
        })
        .collect()
}

fn changed(resource: &Value, changes: &[Change]) -> Value {
    let mut changed = resource.clone();
    for (pointer, value) in changes {
        let (parent, member) = pointer.rsplit_once('/').expect("a pointer starts with a slash");
        let parent = changed.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}: its parent is in the example"));
        match parent {
            Value::Object(members) if value.is_null() => drop(members.remove(member)),
            Value::Object(members) => drop(members.insert(member.to_owned(), value.clone())),
            Value::Array(items) => {
                let index: usize = member.parse().expect("an index is a number");
                items.resize(items.len().max(index + 1), Value::Null);
                items[index] = value.clone();
            }
            other => panic!("{pointer}: {other} has no members"),
        }
    }
    changed
}

/// What the operator would say of the resource, had an older schema let it in.
fn parses(resource: &Value) -> Result<ValidatedApi, String> {
    let mut resource: OktaProtectedApi = serde_json::from_value(resource.clone()).map_err(|error| error.to_string())?;
    resource.metadata = ObjectMeta {
        namespace: Some("default".into()),
        uid: Some("2f0c".into()),
        generation: Some(1),
        ..resource.metadata
    };
    ValidatedApi::parse(&resource, ParseOptions::default()).map_err(|refusal| refusal.to_string())
}

fn resources(client: &Client) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<OktaProtectedApi>(&());
    Api::namespaced_with(client.clone(), "default", &resource)
}

/// Creates without keeping anything.
async fn create(api: &Api<DynamicObject>, resource: &Value) -> kube::Result<DynamicObject> {
    let object = serde_json::from_value(resource.clone()).expect("a resource is an object with metadata");
    api.create(&PostParams { dry_run: true, ..PostParams::default() }, &object).await
}

/// Field and message of each thing that the API server finds wrong.
async fn refusal(api: &Api<DynamicObject>, resource: &Value) -> Result<Vec<(String, String)>, String> {
    match create(api, resource).await {
        Ok(_) => Err("the API server takes it".into()),
        Err(kube::Error::Api(status)) => {
            let causes = status.details.into_iter().flat_map(|details| details.causes);
            Ok(causes.map(|cause| (cause.field, cause.message)).collect())
        }
        Err(other) => Err(other.to_string()),
    }
}

/// Where each rule of the schema reports, and its message; a message with a value in it as the example's.
fn rules() -> BTreeSet<(String, String)> {
    let version = &OktaProtectedApi::crd().spec.versions[0];
    let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
    let schema = serde_json::to_value(schema.expect("it has a schema")).expect("a schema serializes");
    let mut found = BTreeSet::new();
    collect_rules("", &schema, &mut found);
    found
}

fn collect_rules(path: &str, schema: &Value, found: &mut BTreeSet<(String, String)>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let field = format!("{path}{}", rule["fieldPath"].as_str().unwrap_or_default());
        let message = rule["message"].as_str().map_or_else(
            || "there is no issuer named 'octa': write the name of one of the issuers".to_owned(),
            str::to_owned,
        );
        let field = if field.is_empty() { "<nil>" } else { field.trim_start_matches('.') };
        found.insert((field.to_owned(), message));
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        collect_rules(&format!("{path}.{name}"), property, found);
    }
    if schema["items"].is_object() {
        collect_rules(path, &schema["items"], found);
    }
}

/// `spec.routes[0].name` as `spec.routes.name`.
fn location(field: &str) -> String {
    field.split('.').map(|part| part.split('[').next().unwrap_or_default()).collect::<Vec<_>>().join(".")
}
