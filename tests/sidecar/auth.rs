//! Tokens through the whole sidecar: good ones reach the app with their identity, hostile ones never do, and each
//! combination of token, mode and state of the issuer ends as the user guide's table says.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tests::issuer::{Endpoint, FakeIssuer, Fault, Wire};
use tests::mint::{Token, epoch_seconds, other_key, sign_raw, signing_key};
use tollgate_contract::{Algorithm, ValidationMode};

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
async fn forms_of_good_tokens_that_differ_from_oktas_pass() {
    let world = World::ready(ValidationMode::Local).await;
    let (good, now) = (world.issuer.token(), epoch_seconds());
    let key = signing_key().jwk();
    for (name, token) in [
        ("typ JWT", good.clone().header("typ", json!("JWT")).signed()),
        ("typ at+jwt", good.clone().header("typ", json!("at+jwt")).signed()),
        ("typ application/at+jwt", good.clone().header("typ", json!("application/AT+JWT")).signed()),
        ("no kid", good.clone().header("kid", Value::Null).signed()),
        ("a strange jku", good.clone().header("jku", json!("https://evil.example/keys")).signed()),
        ("a jwk that is ours", good.clone().header("jwk", key).signed()),
        ("several audiences", good.clone().claim("aud", json!(["x", "api://default"])).signed()),
        ("a fraction of a second", good.clone().claim("exp", json!(now as f64 + 10.5)).signed()),
        ("expired within the skew", good.clone().claim("exp", json!(now - 30)).signed()),
        ("issued ahead within the skew", good.clone().claim("iat", json!(now + 30)).signed()),
        ("not before, within the skew", good.clone().claim("nbf", json!(now + 30)).signed()),
        ("RFC 9068 names", good.clone().claim("scp", Value::Null).claim("scope", json!("items")).signed()),
        ("no subject", good.clone().claim("sub", Value::Null).signed()),
        ("no jti", good.clone().claim("jti", Value::Null).signed()),
    ] {
        assert_eq!(world.get(&token).await.verdict(), (200, "-"), "{name}");
    }
}

/// Every row: a token, the status, the reason.
fn hostile_tokens(issuer: &FakeIssuer) -> Vec<(&'static str, String, u16, &'static str)> {
    let good = issuer.token();
    let now = epoch_seconds();
    let text = good.signed();
    let (input, signature) = text.rsplit_once('.').expect("three parts");
    let (header, payload) = input.split_once('.').expect("three parts");
    let with = |name: &str, value: Value| good.clone().claim(name, value).signed();
    let headed = |name: &str, value: Value| good.clone().header(name, value).signed();
    let modulus = signing_key().jwk()["n"].as_str().map(|n| n.as_bytes().to_vec()).unwrap_or_default();
    let plain_header = json!({"alg": "RS256", "kid": signing_key().kid}).to_string();
    let claims_text = |extra: &str| {
        let (url, exp) = (issuer.url(), now + 3600);
        sign_raw(
            plain_header.as_bytes(),
            format!(r#"{{"iss":"{url}","aud":"api://default","exp":{exp}{extra}}}"#).as_bytes(),
        )
    };
    let flipped = {
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).expect("a signature");
        bytes[7] ^= 1;
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(bytes))
    };
    // 256 octets end in a character with four unused bits; a lenient reader sees the same signature.
    let trailing = {
        let last = char::from(signature.as_bytes()[341] + 1);
        format!("{input}.{}{last}", &signature[..341])
    };
    let other_payload =
        URL_SAFE_NO_PAD.encode(json!({"iss": issuer.url(), "aud": "api://default", "exp": now + 60}).to_string());
    vec![
        // the form (RFC 7515)
        ("one part", "opaque".into(), 401, "malformed_token"),
        ("two parts", input.into(), 401, "malformed_token"),
        ("an empty signature", format!("{input}."), 401, "malformed_token"),
        ("an empty header", format!(".{payload}.{signature}"), 401, "malformed_token"),
        ("an empty payload", format!("{header}..{signature}"), 401, "malformed_token"),
        ("four parts", format!("{text}.{signature}"), 401, "malformed_token"),
        ("five parts", format!("{header}.a.b.c.d"), 401, "encrypted_token"),
        ("padding", format!("{text}=="), 401, "malformed_token"),
        ("the standard alphabet", format!("{header}.{payload}.+/+/"), 401, "malformed_token"),
        ("trailing bits that are not zero", trailing, 401, "malformed_token"),
        ("a header that is no JSON", format!("AAAA.{payload}.{signature}"), 401, "malformed_token"),
        ("a header that is a list", sign_raw(b"[]", b"{}"), 401, "malformed_token"),
        ("claims that are a list", sign_raw(plain_header.as_bytes(), b"[]"), 401, "malformed_token"),
        ("claims that are a string", sign_raw(plain_header.as_bytes(), b"\"x\""), 401, "malformed_token"),
        (
            "claims after a byte order mark",
            sign_raw(plain_header.as_bytes(), "\u{feff}{}".as_bytes()),
            401,
            "malformed_token",
        ),
        ("a header member twice", sign_raw(br#"{"alg":"none","alg":"RS256"}"#, b"{}"), 401, "malformed_token"),
        ("a claim twice", claims_text(r#","sub":"a","sub":"b""#), 401, "malformed_token"),
        ("a claim twice by escapes", claims_text(r#","sub":"a","\u0073ub":"b""#), 401, "malformed_token"),
        ("a nested claim twice", claims_text(r#","x":{"a":1,"a":2}"#), 401, "malformed_token"),
        ("half of a surrogate pair", claims_text(r#","sub":"\ud800""#), 401, "malformed_token"),
        (
            "endless nesting",
            claims_text(&format!(r#","x":{}{}"#, "[".repeat(500), "]".repeat(500))),
            401,
            "malformed_token",
        ),
        ("a token of 17 KiB", with("x", json!("x".repeat(13_000))), 401, "malformed_token"),
        // the header (RFC 8725)
        ("alg none", format!("{}.{payload}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#)), 401, "malformed_token"),
        ("alg none with a signature", headed("alg", json!("none")), 401, "unsupported_algorithm"),
        ("alg nOnE", headed("alg", json!("nOnE")), 401, "unsupported_algorithm"),
        (
            "an HMAC with the public key",
            good.clone().header("alg", json!("HS256")).signed_hmac(&modulus),
            401,
            "unsupported_algorithm",
        ),
        ("RS256 announced, an HMAC made", good.signed_hmac(&modulus), 401, "bad_signature"),
        (
            "alg RS512",
            good.clone().header("alg", json!("RS512")).signed_with(signing_key(), Algorithm::Rs512),
            401,
            "unsupported_algorithm",
        ),
        ("RS256 announced, SHA-512 used", good.signed_with(signing_key(), Algorithm::Rs512), 401, "bad_signature"),
        (
            "alg PS256",
            good.clone().header("alg", json!("PS256")).signed_with(signing_key(), Algorithm::Ps256),
            401,
            "unsupported_algorithm",
        ),
        ("RS256 announced, PSS used", good.signed_with(signing_key(), Algorithm::Ps256), 401, "bad_signature"),
        ("alg ES256", headed("alg", json!("ES256")), 401, "unsupported_algorithm"),
        ("no alg", headed("alg", Value::Null), 401, "malformed_token"),
        ("alg a list", headed("alg", json!(["RS256"])), 401, "malformed_token"),
        ("crit with an unknown name", headed("crit", json!(["x"])), 401, "malformed_token"),
        (
            "crit with exp",
            good.clone().header("crit", json!(["exp"])).header("exp", json!(1)).signed(),
            401,
            "malformed_token",
        ),
        ("b64 false", headed("b64", json!(false)), 401, "malformed_token"),
        ("zip", headed("zip", json!("DEF")), 401, "malformed_token"),
        ("typ dpop+jwt", headed("typ", json!("dpop+jwt")), 401, "wrong_token_type"),
        ("typ logout+jwt", headed("typ", json!("logout+jwt")), 401, "wrong_token_type"),
        ("typ secevent+jwt", headed("typ", json!("application/secevent+jwt")), 401, "wrong_token_type"),
        ("typ token-introspection+jwt", headed("typ", json!("token-introspection+jwt")), 401, "wrong_token_type"),
        ("typ okta-internal-at+jwt", headed("typ", json!("application/okta-internal-at+jwt")), 401, "wrong_token_type"),
        ("typ a number", headed("typ", json!(1)), 401, "malformed_token"),
        ("kid a number", headed("kid", json!(1)), 401, "malformed_token"),
        ("kid endless", headed("kid", json!("k".repeat(1000))), 401, "malformed_token"),
        ("kid a path", headed("kid", json!("../../dev/null")), 401, "unknown_key"),
        // the signature
        ("a forger's key under our kid", good.signed_by(other_key()), 401, "bad_signature"),
        (
            "a forger's key brought along",
            good.clone().header("jwk", other_key().jwk()).signed_by(other_key()),
            401,
            "bad_signature",
        ),
        (
            "a forger's key without kid",
            good.clone().header("kid", Value::Null).signed_by(other_key()),
            401,
            "bad_signature",
        ),
        (
            "a forger's kid",
            good.clone().header("kid", json!(other_key().kid)).signed_by(other_key()),
            401,
            "unknown_key",
        ),
        ("one bit of the signature", flipped, 401, "bad_signature"),
        ("half of the signature", format!("{input}.{}", &signature[..172]), 401, "bad_signature"),
        ("another token's payload", format!("{header}.{other_payload}.{signature}"), 401, "bad_signature"),
        // the claims (RFC 7519)
        ("no exp", with("exp", Value::Null), 401, "malformed_token"),
        ("exp a string", with("exp", json!("9999999999")), 401, "malformed_token"),
        ("exp true", with("exp", json!(true)), 401, "malformed_token"),
        ("exp past", with("exp", json!(now - 61)), 401, "expired"),
        ("exp 0", with("exp", json!(0)), 401, "expired"),
        ("exp in ages", with("exp", json!(1e30)), 401, "malformed_token"),
        ("a life of 25 hours", with("exp", json!(now + 25 * 3600)), 401, "malformed_token"),
        (
            "a life of a year, iat left out",
            good.clone().claim("exp", json!(now + 31_536_000)).claim("iat", Value::Null).signed(),
            401,
            "malformed_token",
        ),
        (
            "exp beyond numbers",
            sign_raw(plain_header.as_bytes(), format!(r#"{{"iss":"{}","exp":1e999}}"#, issuer.url()).as_bytes()),
            401,
            "malformed_token",
        ),
        ("nbf ahead", with("nbf", json!(now + 120)), 401, "not_yet_valid"),
        ("nbf a string", with("nbf", json!("0")), 401, "malformed_token"),
        ("iat ahead", with("iat", json!(now + 120)), 401, "not_yet_valid"),
        ("iat an object", with("iat", json!({})), 401, "malformed_token"),
        ("no iss", with("iss", Value::Null), 401, "issuer_mismatch"),
        ("iss with a slash more", with("iss", json!(format!("{}/", issuer.url()))), 401, "issuer_mismatch"),
        ("iss of a stranger", with("iss", json!("https://evil.example")), 401, "issuer_mismatch"),
        ("iss a list", with("iss", json!([issuer.url()])), 401, "malformed_token"),
        ("no aud", with("aud", Value::Null), 401, "audience_mismatch"),
        ("aud of another API", with("aud", json!("api://other")), 401, "audience_mismatch"),
        ("aud with a slash more", with("aud", json!("api://default/")), 401, "audience_mismatch"),
        ("aud in capitals", with("aud", json!("API://DEFAULT")), 401, "audience_mismatch"),
        ("aud an empty list", with("aud", json!([])), 401, "audience_mismatch"),
        ("aud an object", with("aud", json!({"api://default": 1})), 401, "malformed_token"),
        ("aud with a number in it", with("aud", json!(["api://default", 1])), 401, "malformed_token"),
        ("sub a number", with("sub", json!(1)), 401, "malformed_token"),
        ("sub with a line break", with("sub", json!("a\r\nX-Tollgate-Scopes: admin")), 401, "malformed_token"),
        ("sub with a null byte", with("sub", json!("a\u{0}")), 401, "malformed_token"),
        ("cid a list", with("cid", json!([])), 401, "malformed_token"),
        ("jti a number", with("jti", json!(1)), 401, "malformed_token"),
        ("scp a number", with("scp", json!(1)), 401, "malformed_token"),
        ("scp with a space in it", with("scp", json!(["items admin"])), 401, "malformed_token"),
        // other kinds of tokens
        ("an ID token's nonce", with("nonce", json!("n")), 401, "wrong_token_type"),
        ("an ID token's at_hash", with("at_hash", json!("h")), 401, "wrong_token_type"),
        ("an ID token's jti", with("jti", json!("ID.abc")), 401, "wrong_token_type"),
        ("an ID token for our own client", with("aud", json!("0oaApi")), 401, "wrong_token_type"),
        (
            "bound to a DPoP key",
            with("cnf", json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"})),
            401,
            "sender_mismatch",
        ),
        (
            "bound to a certificate",
            with("cnf", json!({"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"})),
            401,
            "sender_mismatch",
        ),
        ("cnf a string", with("cnf", json!("jkt")), 401, "malformed_token"),
    ]
}

#[tokio::test]
async fn hostile_tokens_are_refused_with_their_reason_and_never_reach_the_app() {
    let world = World::ready(ValidationMode::Local).await;
    let rows = hostile_tokens(&world.issuer);
    assert!(rows.len() >= 60);
    for (name, token, status, reason) in rows {
        let answer = world.get(&token).await;
        assert_eq!(answer.verdict(), (status, reason), "{name}");
        assert!(
            answer.header("www-authenticate").starts_with("Bearer realm=\"items\", error=\"invalid_token\""),
            "{name}"
        );
        assert_eq!(answer.header("content-type"), "application/problem+json", "{name}");
    }
    assert_eq!(world.app_hits(), 0);
    assert_eq!(world.get(&world.issuer.token().signed()).await.status, 200, "good ones still pass");
}

#[tokio::test]
async fn credentials_that_are_no_single_bearer_token_are_refused() {
    let world = World::ready(ValidationMode::Local).await;
    let token = world.issuer.token().signed();
    let (bearer, dpop) = (format!("Bearer {token}"), format!("DPoP {token}"));
    let rows: [(&str, &[&str], u16, &str); 9] = [
        ("none", &[], 401, "missing_token"),
        ("Basic", &["Basic YTpi"], 401, "missing_token"),
        ("the token alone", &[&token], 401, "missing_token"),
        ("no token", &["Bearer"], 401, "malformed_token"),
        ("two in one header", &[&format!("{bearer}, {bearer}")], 401, "malformed_token"),
        ("quoted", &[&format!("Bearer \"{token}\"")], 401, "malformed_token"),
        ("two headers", &[&bearer, &bearer], 400, "bad_request"),
        ("two kinds", &["Basic YTpi", &bearer], 400, "bad_request"),
        ("DPoP", &[&dpop], 401, "sender_mismatch"),
    ];
    for (name, headers, status, reason) in rows {
        assert_eq!(world.get_with(headers).await.verdict(), (status, reason), "{name}");
    }
    let challenge = world.get_with(&[]).await.header("www-authenticate").to_owned();
    assert_eq!(challenge, "Bearer realm=\"items\"", "no error code where nothing was sent");
    assert_eq!(world.app_hits(), 0);
    assert_eq!(world.get_with(&[&format!("bEARER   {token}")]).await.status, 200);
}

#[tokio::test]
async fn keys_of_one_issuer_never_verify_tokens_of_another() {
    let (first, second) = (FakeIssuer::start().await, FakeIssuer::start().await);
    second.publish(&[other_key().jwk()]);
    let mut more = None;
    let world = World::start(first, ValidationMode::Local, |config| {
        let mut issuer = config.issuers[0].clone();
        issuer.name = "partner".into();
        issuer.url = second.url();
        issuer.ca_file = Some(second.ca_file().display().to_string());
        config.issuers.push(issuer);
        more = Some(second);
    })
    .await;
    world.await_ready().await;
    let second = more.expect("the second issuer");
    let theirs = second.token().header("kid", json!(other_key().kid));
    assert_eq!(world.get(&theirs.signed_by(other_key())).await.verdict(), (200, "-"));
    assert_eq!(world.get(&world.issuer.token().signed()).await.verdict(), (200, "-"));
    // The same keys, each under the other issuer's name.
    assert_eq!(world.get(&second.token().signed()).await.verdict(), (401, "unknown_key"));
    assert_eq!(world.get(&second.token().header("kid", Value::Null).signed()).await.verdict(), (401, "bad_signature"));
    let crossed = world.issuer.token().header("kid", Value::Null).signed_by(other_key());
    assert_eq!(world.get(&crossed).await.verdict(), (401, "bad_signature"));
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
