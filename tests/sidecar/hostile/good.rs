//! Tokens that pass: forms that differ from Okta's and are legal all the same. It decides nothing.

use serde_json::{Value, json};
use tests::mint::{Token, epoch_seconds, signing_key};

use super::scene::{Scene, keys};

/// Tokens of the issuer that is like Okta.
pub(crate) fn of_okta(scene: &Scene) -> Vec<(&'static str, String)> {
    let now = epoch_seconds();
    let okta = || scene.okta();
    let headed = |name: &str, value: Value| okta().header(name, value).signed();
    let with = |name: &str, value: Value| okta().claim(name, value).signed();
    let without =
        |names: &[&str]| names.iter().fold(okta(), |token: Token, name| token.claim(name, Value::Null)).signed();
    vec![
        ("Okta's own form", okta().signed()),
        ("typ JWT", headed("typ", json!("JWT"))),
        ("typ jwt", headed("typ", json!("jwt"))),
        ("typ at+jwt", headed("typ", json!("at+jwt"))),
        ("typ application/at+jwt", headed("typ", json!("application/AT+JWT"))),
        ("no kid", headed("kid", Value::Null)),
        ("a strange jku", headed("jku", json!("https://evil.example/keys"))),
        (
            "a strange x5u and x5t",
            okta().header("x5u", json!("https://evil.example")).header("x5t", json!("AA")).signed(),
        ),
        ("a jwk that is ours", headed("jwk", signing_key().jwk())),
        ("an unknown header member", headed("x-anything", json!({"a": [1]}))),
        ("several audiences", with("aud", json!(["x", "api://default"]))),
        ("a list of one audience", with("aud", json!(["api://default"]))),
        ("a fraction of a second", with("exp", json!(now as f64 + 3000.5))),
        ("expired within the skew", with("exp", json!(now - 30))),
        ("issued ahead within the skew", with("iat", json!(now + 30))),
        ("not before, within the skew", with("nbf", json!(now + 30))),
        ("not before, long ago", with("nbf", json!(0))),
        ("a life of a whole day", okta().claim("iat", json!(now - 10)).claim("exp", json!(now - 10 + 86_400)).signed()),
        ("RFC 9068 names", okta().claim("scp", Value::Null).claim("scope", json!("items")).signed()),
        ("scp a string", with("scp", json!("items"))),
        ("a custom claim called scope", with("scope", json!(7))),
        ("a custom claim called events", with("events", json!(["a", "b"]))),
        ("no subject", without(&["sub"])),
        ("no jti", without(&["jti"])),
        ("no iat", without(&["iat"])),
        ("no client and no scopes", without(&["cid", "scp"])),
        ("the client in azp", okta().claim("cid", Value::Null).claim("azp", json!("0oaCaller")).signed()),
        ("nothing but exp, iss and aud", without(&["ver", "jti", "iat", "cid", "scp", "sub"])),
        ("many groups", with("groups", json!((0..300).map(|nth| format!("group-{nth}")).collect::<Vec<_>>()))),
        ("claims in another script", with("name", json!("Zoë 名前"))),
    ]
}

/// And those of other issuers.
pub(crate) fn of_others(scene: &Scene) -> Vec<(&'static str, String)> {
    let now = epoch_seconds();
    let partner = || scene.partner.token();
    vec![
        ("ES256", partner().minted_by(&keys().es256)),
        ("EdDSA", partner().minted_by(&keys().eddsa)),
        ("PS256", partner().minted_by(&keys().ps256)),
        (
            "ES256 without kid",
            partner().header("alg", json!("ES256")).header("kid", Value::Null).signed_by(&keys().es256),
        ),
        ("RFC 9068", scene.rfc9068().signed_by(&keys().strict)),
        (
            "RFC 9068 with its whole media type",
            scene.rfc9068().header("typ", json!("application/at+jwt")).signed_by(&keys().strict),
        ),
        ("RFC 9068 with a fraction", scene.rfc9068().claim("iat", json!(now as f64 + 0.5)).signed_by(&keys().strict)),
        ("active when asked", scene.asked.active(&scene.asked.token())),
    ]
}
