//! Tokens through the whole sidecar: good ones reach the app with their identity, a verdict is remembered, and each
//! combination of token, mode and state of the issuer ends as the user guide's table says. What is refused and why is
//! `hostile`'s table.

use serde_json::json;
use tests::issuer::{Endpoint, FakeIssuer, Fault, Wire};
use tests::mint::{Token, other_key};
use tollgate_contract::ValidationMode;

use crate::world::World;

#[tokio::test]
async fn a_good_token_reaches_the_app_with_its_identity() {
    let world = World::ready(ValidationMode::Local).await;
    let answer = world.get(&world.issuer.token().claim("scp", json!(["items", "a"])).signed()).await;
    assert_eq!(answer.status, 200);
    let identity = json!({
        "subject": "0oaCaller", "client-id": "0oaCaller", "scopes": "a items", "issuer": world.issuer.url(),
    });
    assert_eq!(answer.body, identity);
}

#[tokio::test]
async fn a_verdict_is_remembered_by_the_whole_token() {
    let world = World::ready(ValidationMode::Local).await;
    let token = world.issuer.token().signed();
    for _ in 0..3 {
        assert_eq!(world.get(&token).await.status, 200);
    }
    assert_eq!(world.metric("tollgate_decision_cache_hits_total").await, 2);
    assert_eq!(world.metric("tollgate_decision_cache_misses_total").await, 1);
    // Two characters fewer are still base64url, of a shorter signature.
    assert_eq!(world.get(&token[..token.len() - 2]).await.verdict(), (401, "bad_signature"));
}

/// Makes a token of one kind.
type Make = fn(&FakeIssuer) -> String;

/// The table of the user guide: token x mode x state of the issuer.
#[tokio::test]
async fn every_token_in_every_mode_and_state_of_the_issuer_ends_as_the_table_says() {
    use ValidationMode::{Introspection, Local, LocalAndIntrospection};
    const OK: (u16, &str) = (200, "-");
    const LIMITED: (u16, &str) = (503, "idp_rate_limited");
    const DOWN: (u16, &str) = (503, "idp_unreachable");
    const BAD_SIGNATURE: (u16, &str) = (401, "bad_signature");
    const UNKNOWN_KEY: (u16, &str) = (401, "unknown_key");
    const ENCRYPTED: (u16, &str) = (401, "encrypted_token");
    const MALFORMED: (u16, &str) = (401, "malformed_token");
    const INACTIVE: (u16, &str) = (401, "inactive");
    let kinds: [(&str, Make); 6] = [
        ("sound JWT", |issuer| issuer.active(&issuer.token())),
        ("bad signature", |issuer| issuer.token().signed_by(other_key())),
        ("unknown kid", |issuer| issuer.token().header("kid", json!("unknown")).signed_by(other_key())),
        ("JWE", |issuer| activated(issuer, "eyJ.a.b.c")),
        ("opaque", |issuer| activated(issuer, "opaque")),
        ("revoked", |issuer| {
            let token = issuer.active(&issuer.token());
            issuer.revoke(&token);
            token
        }),
    ];
    // By kind: Okta up, limited, down.
    let table = [
        (Local, [[OK; 3], [BAD_SIGNATURE; 3], [UNKNOWN_KEY, LIMITED, DOWN], [ENCRYPTED; 3], [MALFORMED; 3], [OK; 3]]),
        (
            Introspection,
            [
                [OK, LIMITED, DOWN],
                [BAD_SIGNATURE; 3],
                [INACTIVE, LIMITED, DOWN],
                [OK, LIMITED, DOWN],
                [OK, LIMITED, DOWN],
                [INACTIVE, LIMITED, DOWN],
            ],
        ),
        (
            LocalAndIntrospection,
            [
                [OK, LIMITED, DOWN],
                [BAD_SIGNATURE; 3],
                [UNKNOWN_KEY, LIMITED, DOWN],
                [ENCRYPTED; 3],
                [MALFORMED; 3],
                [INACTIVE, LIMITED, DOWN],
            ],
        ),
    ];
    for (mode, rows) in table {
        let world = World::ready(mode).await;
        for (state, name) in ["up", "limited", "down"].into_iter().enumerate() {
            match name {
                "limited" => {
                    world.issuer.fault(Endpoint::Introspect, Fault::Limited(30));
                    world.issuer.fault(Endpoint::Keys, Fault::Limited(30));
                }
                "down" => world.issuer.wire(Wire::Down),
                _ => {}
            }
            for ((kind, make), expected) in kinds.iter().zip(rows) {
                let answer = world.get(&make(&world.issuer)).await;
                assert_eq!(answer.verdict(), expected[state], "{mode:?}, {kind}, Okta {name}");
                let retry = answer.header("retry-after");
                assert_eq!(retry.is_empty(), answer.status != 503, "{mode:?}, {kind}, Okta {name}: {retry}");
            }
        }
    }
}

/// A token that only its issuer can read, and calls active.
fn activated(issuer: &FakeIssuer, prefix: &str) -> String {
    let token: Token = issuer.token();
    let answer = token.answer();
    let text = format!("{prefix}.{}", answer["jti"].as_str().expect("a jti").replace("AT.", ""));
    let text = if prefix == "opaque" { text.replace('.', "-") } else { text };
    issuer.answer(&text, answer);
    text
}
