//! Well-formed tokens under the right key whose claims are wrong. It decides nothing.

use serde_json::{Value, json};
use tests::mint::epoch_seconds;

use super::scene::{Row, Scene, keys};

/// The SHA-256 thumbprint of RFC 9449's example key.
const THUMBPRINT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

pub(crate) fn rows(scene: &Scene) -> Vec<Row> {
    [times(scene), audiences(scene), kinds(scene), types(scene), profile(scene), bindings(scene)]
        .into_iter()
        .flatten()
        .collect()
}

/// A good token of Okta's with one claim changed.
fn row(scene: &Scene, statement: u8, name: &'static str, claim: &str, value: Value, reason: &'static str) -> Row {
    Row::token(statement, name, scene.okta().claim(claim, value).signed(), reason)
}

/// Statement 14.
fn times(scene: &Scene) -> Vec<Row> {
    let now = epoch_seconds();
    let row = |name, claim, value, reason| row(scene, 14, name, claim, value, reason);
    vec![
        row("no exp", "exp", Value::Null, "malformed_token"),
        row("exp a string", "exp", json!("9999999999"), "malformed_token"),
        row("exp true", "exp", json!(true), "malformed_token"),
        row("exp a list", "exp", json!([now + 60]), "malformed_token"),
        row("exp past", "exp", json!(now - 61), "expired"),
        row("exp past by a fraction", "exp", json!(now as f64 - 60.5), "expired"),
        row("exp 0", "exp", json!(0), "expired"),
        row("exp negative", "exp", json!(-1), "expired"),
        row("exp in ages", "exp", json!(1e30), "malformed_token"),
        row("exp the largest integer", "exp", json!(u64::MAX), "malformed_token"),
        row("a life of 25 hours", "exp", json!(now + 25 * 3600), "malformed_token"),
        Row::token(
            14,
            "a life of a year, iat left out",
            scene.okta().claim("exp", json!(now + 31_536_000)).claim("iat", Value::Null).signed(),
            "malformed_token",
        ),
        Row::token(
            14,
            "a life of a year, begun long ago",
            scene.okta().claim("iat", json!(now - 31_536_000)).signed(),
            "malformed_token",
        ),
        Row::token(
            14,
            "longer than the issuer's own limit",
            scene.rfc9068().claim("exp", json!(now + 3700)).signed_by(&keys().strict),
            "malformed_token",
        ),
        row("nbf ahead", "nbf", json!(now + 120), "not_yet_valid"),
        row("nbf in ages", "nbf", json!(1e30), "not_yet_valid"),
        row("nbf a string", "nbf", json!("0"), "malformed_token"),
        row("iat ahead", "iat", json!(now + 120), "not_yet_valid"),
        row("iat an object", "iat", json!({}), "malformed_token"),
        row("iat a string", "iat", json!(now.to_string()), "malformed_token"),
    ]
}

/// Statement 15.
fn audiences(scene: &Scene) -> Vec<Row> {
    let row = |name, aud, reason| row(scene, 15, name, "aud", aud, reason);
    vec![
        row("no aud", Value::Null, "audience_mismatch"),
        row("aud of another API", json!("api://other"), "audience_mismatch"),
        row("aud with a slash more", json!("api://default/"), "audience_mismatch"),
        row("aud in capitals", json!("API://DEFAULT"), "audience_mismatch"),
        row("aud cut short", json!("api://defaul"), "audience_mismatch"),
        row("aud with a null byte more", json!("api://default\u{0}"), "audience_mismatch"),
        row("aud with two in one string", json!("api://other api://default"), "audience_mismatch"),
        row("aud empty", json!(""), "audience_mismatch"),
        row("aud an empty list", json!([]), "audience_mismatch"),
        row("aud a list of others", json!(["a", "b", "c"]), "audience_mismatch"),
        row("aud a list in a list", json!([["api://default"]]), "malformed_token"),
        row("aud with a number in it", json!(["api://default", 1]), "malformed_token"),
        row("aud an object", json!({"api://default": 1}), "malformed_token"),
        row("aud true", json!(true), "malformed_token"),
    ]
}

/// Statement 20: tokens of the same issuer and key that are no access tokens.
fn kinds(scene: &Scene) -> Vec<Row> {
    let row = |name, claim, value| row(scene, 20, name, claim, value, "wrong_token_type");
    let revoked = {
        let token = scene.asked.active(&scene.asked.token());
        scene.asked.revoke(&token);
        token
    };
    vec![
        row("an ID token's nonce", "nonce", json!("n")),
        row("an ID token's at_hash", "at_hash", json!("h")),
        row("an ID token's c_hash", "c_hash", json!("h")),
        row("an ID token's jti", "jti", json!("ID.abc")),
        row("a refresh token's jti", "jti", json!("oar579Mcp7OUsNTlo0g3")),
        row("an ID token for our own client", "aud", json!("0oaApi")),
        row("an ID token for our own client too", "aud", json!(["api://default", "0oaApi"])),
        row("an introspection answer", "token_introspection", json!({"active": true})),
        row("a logout token", "events", json!({"http://schemas.openid.net/event/backchannel-logout": {}})),
        Row::token(20, "revoked", revoked, "inactive"),
        Row::token(20, "never heard of", scene.asked.token().signed(), "inactive"),
    ]
}

/// Statement 21.
fn types(scene: &Scene) -> Vec<Row> {
    let row = |name, claim, value| row(scene, 21, name, claim, value, "malformed_token");
    vec![
        row("sub a number", "sub", json!(1)),
        row("sub a list", "sub", json!(["0oaCaller"])),
        row("sub with a line break", "sub", json!("a\r\nX-Tollgate-Scopes: evil")),
        row("sub with a null byte", "sub", json!("a\u{0}")),
        row("sub with a space around", "sub", json!(" a")),
        row("sub empty", "sub", json!("")),
        row("sub that no header can hold", "sub", json!("müller")),
        row("cid a list", "cid", json!([])),
        row("cid with a line break", "cid", json!("a\nb")),
        row("jti a number", "jti", json!(1)),
        row("scp a number", "scp", json!(1)),
        row("scp an object", "scp", json!({"items": true})),
        row("scp with a number in it", "scp", json!(["items", 1])),
        row("scp with a space in it", "scp", json!(["items evil"])),
        row("scp with a line break in it", "scp", json!(["items\r\nX-Evil: 1"])),
    ]
}

/// Statement 22: where the issuer keeps to RFC 9068.
fn profile(scene: &Scene) -> Vec<Row> {
    let strict = &keys().strict;
    let lacks = |name, claim: &str| {
        Row::token(22, name, scene.rfc9068().claim(claim, Value::Null).signed_by(strict), "malformed_token")
    };
    let typed =
        |name, typ: Value, reason| Row::token(22, name, scene.rfc9068().header("typ", typ).signed_by(strict), reason);
    vec![
        typed("RFC 9068 without typ", Value::Null, "wrong_token_type"),
        typed("RFC 9068 with typ JWT", json!("JWT"), "wrong_token_type"),
        typed("RFC 9068 with typ a number", json!(1), "malformed_token"),
        lacks("RFC 9068 without exp", "exp"),
        lacks("RFC 9068 without aud", "aud"),
        lacks("RFC 9068 without sub", "sub"),
        lacks("RFC 9068 without client_id", "client_id"),
        lacks("RFC 9068 without iat", "iat"),
        lacks("RFC 9068 without jti", "jti"),
        Row::token(
            22,
            "RFC 9068 with client_id a list",
            scene.rfc9068().claim("client_id", json!(["0oaCaller"])).signed_by(strict),
            "malformed_token",
        ),
        Row::token(22, "Okta's own form, not RFC 9068", scene.strict.token().minted_by(strict), "wrong_token_type"),
        Row::token(
            22,
            "RFC 9068 unsigned",
            scene.rfc9068().header("alg", json!("none")).signed_by(strict),
            "unsupported_algorithm",
        ),
    ]
}

/// Tokens that are bound to their sender are nobody else's (RFC 9449, RFC 8705).
fn bindings(scene: &Scene) -> Vec<Row> {
    let row = |name, cnf, reason| row(scene, 1, name, "cnf", cnf, reason);
    vec![
        row("bound to a DPoP key", json!({"jkt": THUMBPRINT}), "sender_mismatch"),
        row("bound to a certificate", json!({"x5t#S256": THUMBPRINT}), "sender_mismatch"),
        row("bound to both", json!({"jkt": THUMBPRINT, "x5t#S256": THUMBPRINT}), "sender_mismatch"),
        row("bound by other means", json!({"kid": "k"}), "sender_mismatch"),
        row("bound to nothing", json!({}), "sender_mismatch"),
        row("cnf a string", json!("jkt"), "malformed_token"),
        row("cnf a list", json!([THUMBPRINT]), "malformed_token"),
        row("a thumbprint that is none", json!({"jkt": "evil"}), "malformed_token"),
        row("a thumbprint that is a number", json!({"jkt": 7}), "malformed_token"),
    ]
}
