//! What `kubectl apply` refuses: for every rule of the schema a resource that breaks this rule alone, the message that
//! the user then reads, and the same resource mended, which the API server takes. A rule without an example fails the
//! test. What the schema refuses `ValidatedApi::parse` refuses as well, and what both take the sidecar does. The examples
//! stand in the modules below, by the part of the resource that they are about.

mod case;
mod data_path;
mod issuers;
mod reach;
mod routes;
mod workload;

use std::collections::BTreeSet;

use kube::api::{DynamicObject, ObjectMeta, PostParams};
use kube::core::{ApiResource, Request};
use kube::{Api, Client, CustomResourceExt};
use serde_json::{Value, json};
use tollgate_api::{OktaProtectedApi, ParseOptions, ValidatedApi};
use tollgate_sidecar::policy::Policy;

use crate::api_server;
use case::{Case, changed, example, set};

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
    let is_shown = |rule: &Rule| shown.iter().any(|(field, said)| *field == rule.field && rule.message.says(said));
    wrong.extend(
        rules().iter().filter(|rule| !is_shown(rule)).map(|rule| format!("a rule without an example: {rule:?}")),
    );
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
            "an algorithm twice",
            ("/spec/issuers/0/algorithms", json!(["RS256", "RS256"])),
            "spec.issuers[0].algorithms[1]",
            r#"Duplicate value: "RS256""#,
        ),
        (
            "an external URL twice",
            ("/spec/externalUrls", json!(["https://a.example", "https://a.example"])),
            "spec.externalUrls[1]",
            r#"Duplicate value: "https://a.example""#,
        ),
        (
            "a proxy twice",
            ("/spec/trustedProxies", json!(["10.0.0.0/8", "10.0.0.0/8"])),
            "spec.trustedProxies[1]",
            r#"Duplicate value: "10.0.0.0/8""#,
        ),
        (
            "a route's issuer twice",
            ("/spec/routes/0/issuers", json!(["okta", "okta"])),
            "spec.routes[0].issuers[1]",
            r#"Duplicate value: "okta""#,
        ),
        (
            "nine external URLs",
            ("/spec/externalUrls", many(9, &|number| json!(format!("https://{number}.example")))),
            "spec.externalUrls",
            "Too many: 9: must have at most 8 items",
        ),
        (
            "33 proxies",
            ("/spec/trustedProxies", many(33, &|number| json!(format!("10.{number}.0.0/16")))),
            "spec.trustedProxies",
            "Too many: 33: must have at most 32 items",
        ),
        (
            "a rule that is too long",
            ("/spec/routes/0/when", json!("x".repeat(2049))),
            "spec.routes[0].when",
            "Too long: may not be more than 2048 bytes",
        ),
        (
            "an algorithm that does not exist",
            ("/spec/issuers/0/algorithms", json!(["HS256"])),
            "spec.issuers[0].algorithms[0]",
            r#"Unsupported value: "HS256": supported values: "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA""#,
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
            "17 claims as headers",
            (
                "/spec/upstream/claimHeaders",
                many(17, &|number| json!({"claim": "sub", "header": format!("X-User-{number}")})),
            ),
            "spec.upstream.claimHeaders",
            "Too many: 17: must have at most 16 items",
        ),
        (
            "a header twice",
            (
                "/spec/upstream/claimHeaders",
                json!([{"claim": "sub", "header": "X-User"}, {"claim": "email", "header": "X-User"}]),
            ),
            "spec.upstream.claimHeaders[1]",
            r#"Duplicate value: {"header":"X-User"}"#,
        ),
        (
            "33 origins",
            (
                "/spec/cors",
                json!({
                    "mode": "Handle", "origins": many(33, &|number| json!(format!("https://{number}.example"))),
                }),
            ),
            "spec.cors.origins",
            "Too many: 33: must have at most 32 items",
        ),
        (
            "more than all traces",
            ("/spec/sidecar/tracing", json!({"endpoint": "http://collector:4318", "samplePercent": 100.5})),
            "spec.sidecar.tracing.samplePercent",
            "Invalid value: 100.5: spec.sidecar.tracing.samplePercent in body should be less than or equal to 100",
        ),
        (
            "one line of no requests",
            ("/spec/sidecar/accessLog", json!({"oneIn": 0})),
            "spec.sidecar.accessLog.oneIn",
            "Invalid value: 0: spec.sidecar.accessLog.oneIn in body should be greater than or equal to 1",
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
        ("/spec/issuers/0/introspection/maxStale", json!("60s")),
        ("/spec/issuers/0/introspection/onOutage", json!({"policy": "Reject"})),
        ("/spec/issuers/0/algorithms", json!(["RS256"])),
        ("/spec/issuers/0/tokenProfile", json!("Okta")),
        ("/spec/issuers/0/maxTokenLifetime", json!("24h")),
        ("/spec/issuers/0/dpop", json!("Refuse")),
        ("/spec/issuers/0/dpopNonce", json!("None")),
        ("/spec/defaultAccess", json!("Authenticated")),
        ("/spec/routes", json!([])),
        ("/spec/tokenBroker/path", json!("/token")),
        ("/spec/tokenBroker/swaggerForm", json!(false)),
        ("/spec/app/replicas", json!(1)),
        ("/spec/service/port", json!(80)),
        ("/spec/networkPolicy/enabled", json!(true)),
        ("/spec/sidecar/logLevel", json!("info")),
        ("/spec/sidecar/accessLog", json!({"enabled": true, "oneIn": 1})),
        ("/spec/upstream/address", json!("Loopback")),
        ("/spec/upstream/protocol", json!("Http1")),
        ("/spec/upstream/authorization", json!("Forward")),
        ("/spec/upstream/timeouts", json!({"connect": "1s", "responseHeader": "60s", "idle": "5m"})),
        ("/spec/paths", json!({"encodedSlash": "Reject", "doubleSlash": "Reject", "caseSensitive": false})),
        ("/spec/streams", json!({"atExpiry": "Close", "webSocketToken": "Header"})),
        ("/spec/cors", json!({"mode": "Refuse", "credentials": false})),
        ("/spec/limits", json!({})),
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
                "dpop": "Accept",
                "endpoints": {
                    "jwks": long("https://acme.okta.com/".into(), 512),
                    "token": long("https://acme.okta.com/".into(), 512),
                    "introspection": long("https://acme.okta.com/".into(), 512),
                },
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
                "issuers": issuers.iter().rev().map(|issuer| issuer["name"].clone()).collect::<Vec<_>>(),
                "when": format!("claims.sub != '{}'", "x".repeat(2048 - 16)),
            })
        })
        .collect();
    let largest = changed(
        &example(),
        &[
            set("/spec/issuers", json!(issuers)),
            set("/spec/routes", json!(routes)),
            set(
                "/spec/externalUrls",
                (0..8).map(|number| json!(long(format!("https://{number}.example/"), 512))).collect(),
            ),
            set("/spec/trustedProxies", (0..32).map(|number| json!(format!("2001:db8:{number}::/48"))).collect()),
            set(
                "/spec/upstream/claimHeaders",
                (0..16)
                    .map(|number| json!({"claim": "x".repeat(256), "header": long(format!("X-{number:02}"), 64)}))
                    .collect(),
            ),
            set(
                "/spec/cors",
                json!({
                    "mode": "Handle",
                    "origins": (0..32).map(|number| long(format!("https://{number:02}"), 267)).collect::<Vec<_>>(),
                    "headers": (0..32).map(|number| long(format!("X-{number:02}"), 64)).collect::<Vec<_>>(),
                    "expose": (0..32).map(|number| long(format!("X-{number:02}"), 64)).collect::<Vec<_>>(),
                    "credentials": true,
                }),
            ),
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

fn cases() -> Vec<Case> {
    [issuers::cases(), routes::cases(), reach::cases(), workload::cases(), data_path::cases()].concat()
}

/// A rule of the schema.
#[derive(Debug)]
struct Rule {
    /// Where it reports.
    field: String,
    message: Message,
}

/// What a rule says.
#[derive(Debug)]
enum Message {
    Fixed(String),
    /// An expression that computes it: these texts, and between them what the resource says.
    Computed(Vec<String>),
}

impl Message {
    fn says(&self, said: &str) -> bool {
        match self {
            Self::Fixed(message) => said == message,
            Self::Computed(texts) => texts.iter().all(|text| said.contains(text)),
        }
    }
}

fn rules() -> Vec<Rule> {
    let version = &OktaProtectedApi::crd().spec.versions[0];
    let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
    let schema = serde_json::to_value(schema.expect("it has a schema")).expect("a schema serializes");
    let mut found = Vec::new();
    collect_rules("", &schema, &mut found);
    found
}

fn collect_rules(path: &str, schema: &Value, found: &mut Vec<Rule>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let field = format!("{path}{}", rule["fieldPath"].as_str().unwrap_or_default());
        let field = if field.is_empty() { "<nil>" } else { field.trim_start_matches('.') }.to_owned();
        let message = match (rule["message"].as_str(), rule["messageExpression"].as_str()) {
            (Some(message), None) => Message::Fixed(message.to_owned()),
            // Every second part stands between quotes.
            (None, Some(computed)) => {
                Message::Computed(computed.split('"').skip(1).step_by(2).map(str::to_owned).collect())
            }
            other => panic!("{field}: {other:?}"),
        };
        found.push(Rule { field, message });
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
