//! Tokens through the whole sidecar: good ones reach the app with their identity, and a verdict is remembered. What is
//! refused and why is `hostile`'s table, who is asked is `modes`'.

use serde_json::json;
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
