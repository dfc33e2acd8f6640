//! Several issuers in one policy: who judges which token, each by its own settings.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tests::issuer::{Endpoint, FakeIssuer, Fault, Wire, mount_credentials};
use tests::mint::{epoch_seconds, other_key, signing_key};
use tests::wait::{eventually, throughout};
use tollgate_contract::{Problem, ProblemCode, ValidationMode};
use tollgate_sidecar::Limits;

use crate::world::{PATIENCE, World};

#[tokio::test]
async fn opaque_tokens_go_to_the_one_issuer_that_judges_alone() {
    let opaque = FakeIssuer::start().await;
    let (url, ca) = (opaque.url(), opaque.ca_file().display().to_string());
    opaque.client("0oaApi", &["api-secret"]);
    let world = World::start(FakeIssuer::start().await, ValidationMode::Local, |config| {
        let mut second = config.issuers[0].clone();
        second.name = "opaque".into();
        second.url = url;
        second.ca_file = Some(ca);
        second.validation = ValidationMode::Introspection;
        config.issuers.push(second);
    })
    .await;
    world.await_ready().await;
    opaque.answer("opaque-token", opaque.token().answer());
    let answer = world.get("opaque-token").await;
    assert_eq!((answer.status, &answer.body["issuer"]), (200, &json!(opaque.url())));
    assert_eq!(world.get("another-token").await.verdict(), (401, "inactive"));
    assert_eq!(world.get(&world.issuer.token().signed()).await.status, 200, "the other issuer's JWTs stay local");
    assert_eq!((world.issuer.hits(Endpoint::Introspect), opaque.hits(Endpoint::Introspect)), (0, 2));
    // A token that says it is of the local issuer is judged locally, whatever the other would say of it.
    let forged = world.issuer.token().signed_by(other_key());
    opaque.answer(&forged, opaque.token().answer());
    assert_eq!(world.get(&forged).await.verdict(), (401, "bad_signature"));
}

#[tokio::test]
async fn each_issuer_has_its_own_client_audiences_and_skew() {
    let second = FakeIssuer::start().await;
    second.client("0oaOther", &["other-secret"]);
    let folder = tempfile::tempdir().expect("a folder");
    mount_credentials(folder.path(), "0oaOther", "other-secret", None);
    let world = World::start(FakeIssuer::start().await, ValidationMode::LocalAndIntrospection, |config| {
        config.issuers[0].clock_skew_seconds = 0;
        let mut other = config.issuers[0].clone();
        other.name = "partner".into();
        other.url = second.url();
        other.ca_file = Some(second.ca_file().display().to_string());
        other.audiences = vec!["api://partner".into()];
        other.clock_skew_seconds = 120;
        other.client.as_mut().expect("a client").credentials_dir = folder.path().display().to_string();
        config.issuers.push(other);
    })
    .await;
    world.await_ready().await;
    let (ours, theirs) = (world.issuer.token(), second.token().claim("aud", json!("api://partner")));
    let ahead = json!(epoch_seconds() + 60);
    for (name, answer, expected) in [
        ("ours", world.get(&world.issuer.active(&ours)).await, (200, "-")),
        ("theirs", world.get(&second.active(&theirs)).await, (200, "-")),
        (
            "ours for their audience",
            world.get(&world.issuer.active(&ours.clone().claim("aud", json!("api://partner")))).await,
            (401, "audience_mismatch"),
        ),
        (
            "theirs for our audience",
            world.get(&second.active(&theirs.clone().claim("aud", json!("api://default")))).await,
            (401, "audience_mismatch"),
        ),
        (
            "ours beyond our skew",
            world.get(&world.issuer.active(&ours.clone().claim("nbf", ahead.clone()))).await,
            (401, "not_yet_valid"),
        ),
        ("theirs within their skew", world.get(&second.active(&theirs.clone().claim("nbf", ahead))).await, (200, "-")),
        ("ours, active at theirs alone", world.get(&activated_elsewhere(&world, &second)).await, (401, "inactive")),
    ] {
        assert_eq!(answer.verdict(), expected, "{name}");
    }
    let by = |issuer: &FakeIssuer, client: &str| {
        let basic = Some(format!("Basic {}", STANDARD.encode(client)));
        issuer.seen(Endpoint::Introspect).iter().all(|seen| seen.authorization == basic)
    };
    assert!(by(&world.issuer, "0oaApi:api-secret"));
    assert!(by(&second, "0oaOther:other-secret"), "each client is shown to its own issuer alone");
}

fn activated_elsewhere(world: &World, elsewhere: &FakeIssuer) -> String {
    let token = world.issuer.token();
    let text = token.signed();
    elsewhere.answer(&text, token.answer());
    text
}

const METADATA: [Endpoint; 3] = [Endpoint::Metadata, Endpoint::LegacyMetadata, Endpoint::OpenIdMetadata];

/// Long enough for some attempts at an issuer that is away.
const MOMENT: Duration = Duration::from_millis(300);

/// Hints with keys of this issuer.
fn keys_of(name: &str, issuer: &FakeIssuer, age: u64) -> Value {
    let jwks = json!({"keys": [signing_key().jwk()]}).to_string();
    let keys = json!({"fetchedAt": epoch_seconds() - age, "jwks": jwks, "source": {"issuer": issuer.url()}});
    json!({"name": name, "keys": keys})
}

/// A sidecar that waits so long for `partner`, with these hints.
async fn with_partner(
    okta: FakeIssuer,
    partner: &FakeIssuer,
    patience: Duration,
    hints: &[Value],
) -> (World, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hints.json");
    std::fs::write(&path, json!({"issuers": hints}).to_string()).expect("a file");
    let limits = Limits { first_keys: patience, ..Limits::default() };
    let options = |options: &mut tollgate_sidecar::Options| (options.hints, options.limits) = (path, limits);
    let world = World::start_as(options, okta, ValidationMode::Local, |config| {
        let mut second = config.issuers[0].clone();
        second.name = "partner".into();
        second.url = partner.url();
        second.ca_file = Some(partner.ca_file().display().to_string());
        config.issuers.push(second);
    })
    .await;
    (world, folder)
}

#[tokio::test]
async fn a_partner_that_is_away_costs_its_own_callers_503_and_nobody_else_anything() {
    let (okta, partner) = (FakeIssuer::start().await, FakeIssuer::away().await);
    let hints = [keys_of("okta", &okta, 60)];
    let (world, _folder) = with_partner(okta, &partner, MOMENT, &hints).await;
    world.await_ready().await;
    let of_partner = |code| Problem { code, issuer: "partner".to_owned() };
    world.await_problems(&[of_partner(ProblemCode::IssuerUnreachable), of_partner(ProblemCode::IssuerNotLoaded)]).await;
    assert_eq!(world.get(&world.issuer.token().signed()).await.status, 200);
    assert_eq!(world.get(&world.issuer.token().signed_by(other_key())).await.verdict(), (401, "bad_signature"));
    // More than the fetches that strangers may cause, good and forged.
    for number in 0..12 {
        let token = partner.token();
        let token = if number % 2 == 0 { token.signed() } else { token.signed_by(other_key()) };
        let answer = world.get(&token).await;
        assert_eq!(answer.verdict(), (503, "idp_unreachable"), "token {number}");
        assert!(!answer.header("retry-after").is_empty());
    }
    partner.mend();
    eventually("the partner's tokens are judged", PATIENCE, || async {
        match world.get(&partner.token().signed()).await.verdict() {
            (200, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(world.get(&partner.token().signed_by(other_key())).await.verdict(), (401, "bad_signature"));
    world.await_problems(&[]).await;
}

#[tokio::test]
async fn a_pod_that_is_ready_without_a_partner_stays_ready_whatever_the_partner_says_then() {
    let (okta, partner) = (FakeIssuer::start().await, FakeIssuer::away().await);
    let hints = [keys_of("okta", &okta, 60)];
    let (world, _folder) = with_partner(okta, &partner, MOMENT, &hints).await;
    world.await_ready().await;
    for endpoint in METADATA {
        partner.fault(endpoint, Fault::Answer(404, "{}".into()));
    }
    partner.wire(Wire::Good);
    throughout("it stays ready", 4 * MOMENT, || async {
        if world.is_ready().await { Ok(()) } else { Err("it is not") }
    })
    .await;
    assert_eq!(world.get(&partner.token().signed()).await.status, 503);
}

async fn assert_waits(what: &str, world: &World) {
    throughout(what, 5 * MOMENT, || async { if world.is_ready().await { Err("it is ready") } else { Ok(()) } }).await;
}

#[tokio::test]
async fn a_partner_is_waited_for_unless_it_is_away_for_long_and_unknown_to_an_operator_that_knows_others() {
    let hints = |okta: &FakeIssuer| [keys_of("okta", okta, 60)];
    let early = async {
        let (okta, partner) = (FakeIssuer::start().await, FakeIssuer::away().await);
        let hints = hints(&okta);
        assert_waits("patience", &with_partner(okta, &partner, 100 * MOMENT, &hints).await.0).await;
    };
    let untold = async {
        let partner = FakeIssuer::away().await;
        assert_waits("no hints", &with_partner(FakeIssuer::start().await, &partner, MOMENT, &[]).await.0).await;
    };
    let told = async {
        let (okta, partner) = (FakeIssuer::start().await, FakeIssuer::away().await);
        // Too old to be used, yet it was reached from elsewhere.
        let hints = [keys_of("okta", &okta, 60), keys_of("partner", &partner, 25 * 3_600)];
        assert_waits("the partner's own hints", &with_partner(okta, &partner, MOMENT, &hints).await.0).await;
    };
    let wrong = async {
        let (okta, partner) = (FakeIssuer::start().await, FakeIssuer::start().await);
        for endpoint in METADATA {
            partner.fault(endpoint, Fault::Answer(404, "{}".into()));
        }
        let hints = hints(&okta);
        assert_waits("an answer that is no issuer's", &with_partner(okta, &partner, MOMENT, &hints).await.0).await;
    };
    let both = async {
        let (okta, partner) = (FakeIssuer::away().await, FakeIssuer::away().await);
        let hints = [keys_of("okta", &okta, 25 * 3_600)];
        assert_waits("both are away", &with_partner(okta, &partner, MOMENT, &hints).await.0).await;
    };
    tokio::join!(early, untold, told, wrong, both);
}

#[tokio::test]
async fn an_only_issuer_is_always_waited_for() {
    let issuer = Arc::new(FakeIssuer::away().await);
    let limits = Limits { first_keys: Duration::ZERO, ..Limits::default() };
    let world = World::start_within(limits, Arc::clone(&issuer), ValidationMode::Local, |_| {}).await;
    assert_waits("an only issuer", &world).await;
    issuer.mend();
    world.await_ready().await;
}
