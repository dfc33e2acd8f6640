//! Tables of claims and answers, each with its verdict.

use serde_json::{Map, json};

use super::*;

const NOW: u64 = 1_800_000_000;

/// A SHA-256 thumbprint (RFC 7638 section 3.1).
const JKT: &str = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn good() -> Value {
    json!({
        "ver": 1, "jti": "AT.abc", "iss": "https://acme.example/oauth2/default", "aud": "api://default",
        "iat": NOW - 10, "exp": NOW + 3_590, "cid": "0oa1", "scp": ["items", "items:write"], "sub": "0oa1",
    })
}

fn audiences() -> Vec<String> {
    vec!["api://default".into(), "api://other".into()]
}

fn rules(audiences: &[String]) -> Rules<'_> {
    Rules {
        audiences,
        clock_skew: Duration::from_secs(60),
        max_lifetime: Duration::from_secs(86_400),
        profile: TokenProfile::Okta,
        own_client: Some("0oaOwn".into()),
        okta: true,
        kept: Box::leak(Box::default()),
    }
}

/// `good()` with members replaced, or removed where null.
fn altered(mut base: Value, changes: &Value) -> Claims {
    let members: &mut Map<_, _> = base.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    Claims::new(members.clone())
}

fn token(changes: &Value) -> Result<Facts, Reason> {
    let audiences = audiences();
    altered(good(), changes).judge_token(&rules(&audiences), now()).map_err(|rejection| rejection.reason)
}

#[test]
fn oktas_claims_become_facts() {
    let facts = token(&json!({})).unwrap();
    assert_eq!(
        facts,
        Facts {
            subject: Some("0oa1".into()),
            client_id: Some("0oa1".into()),
            scopes: Scopes::new(["items", "items:write"]),
            expires_at: NOW + 3_590,
            accepted_until: NOW + 3_650,
            bound_to: None,
            claims: None,
            written: WrittenClaims::default(),
        }
    );
}

#[test]
fn other_legal_forms_pass() {
    for changes in [
        json!({"aud": ["x", "api://other"]}),
        json!({"exp": NOW as f64 + 0.5}),
        json!({"exp": NOW - 59, "iat": NOW - 600}),
        json!({"nbf": NOW + 60, "iat": NOW + 60}),
        json!({"iat": null, "nbf": null, "jti": null, "sub": null, "cid": null, "scp": null}),
        json!({"jti": "a-uuid"}),
        json!({"jti": "oars-and-sails-of-another-issuer"}),
        json!({"iat": NOW - 3_600, "exp": NOW - 3_600 + 86_400}),
        json!({"custom": {"nested": [1]}}),
        json!({"events": ["a custom claim"]}),
    ] {
        assert!(token(&changes).is_ok(), "{changes}");
    }
}

#[test]
fn times_that_are_wrong_or_missing_are_refused() {
    for (changes, reason) in [
        (json!({"exp": null}), Reason::MalformedToken),
        (json!({"exp": "1900000000"}), Reason::MalformedToken),
        (json!({"exp": true}), Reason::MalformedToken),
        (json!({"exp": [NOW]}), Reason::MalformedToken),
        (json!({"exp": NOW - 60}), Reason::Expired),
        (json!({"exp": 0}), Reason::Expired),
        (json!({"exp": -1e300}), Reason::Expired),
        (json!({"exp": 1e30}), Reason::MalformedToken),
        (json!({"exp": 1e30, "iat": null}), Reason::MalformedToken),
        (json!({"exp": NOW + 86_400}), Reason::MalformedToken),
        (json!({"exp": NOW + 86_461, "iat": null}), Reason::MalformedToken),
        (json!({"nbf": NOW + 61}), Reason::NotYetValid),
        (json!({"nbf": "0"}), Reason::MalformedToken),
        (json!({"iat": NOW + 61}), Reason::NotYetValid),
        (json!({"iat": "0"}), Reason::MalformedToken),
        (json!({"iat": {}}), Reason::MalformedToken),
    ] {
        assert_eq!(token(&changes).err(), Some(reason), "{changes}");
    }
}

#[test]
fn audiences_are_compared_byte_for_byte() {
    for (aud, reason) in [
        (json!("api://default/"), Reason::AudienceMismatch),
        (json!("API://default"), Reason::AudienceMismatch),
        (json!("api://defaul"), Reason::AudienceMismatch),
        (json!(["api://nobody"]), Reason::AudienceMismatch),
        (json!([]), Reason::AudienceMismatch),
        (json!(""), Reason::AudienceMismatch),
        (Value::Null, Reason::AudienceMismatch),
        (json!(["api://default", 7]), Reason::MalformedToken),
        (json!({"api://default": true}), Reason::MalformedToken),
        (json!(7), Reason::MalformedToken),
    ] {
        assert_eq!(token(&json!({"aud": aud})).err(), Some(reason), "{aud}");
    }
}

#[test]
fn other_kinds_of_tokens_and_bound_ones_are_refused() {
    for (changes, reason) in [
        (json!({"nonce": "n"}), Reason::WrongTokenType),
        (json!({"at_hash": "h"}), Reason::WrongTokenType),
        (json!({"jti": "ID.abc"}), Reason::WrongTokenType),
        (json!({"jti": "oar579Mcp7OUsNTlo0g3"}), Reason::WrongTokenType),
        (json!({"aud": "0oaOwn"}), Reason::WrongTokenType),
        (json!({"aud": ["api://default", "0oaOwn"]}), Reason::WrongTokenType),
        (json!({"c_hash": "h"}), Reason::WrongTokenType),
        (json!({"s_hash": "h"}), Reason::WrongTokenType),
        (json!({"token_introspection": {"active": true}}), Reason::WrongTokenType),
        (json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}), Reason::WrongTokenType),
        (json!({"cnf": {"x5t#S256": "x"}}), Reason::MalformedToken),
        (json!({"cnf": {"x5t#S256": [JKT]}}), Reason::MalformedToken),
        (json!({"cnf": {"x5t#s256": JKT}}), Reason::SenderMismatch),
        (json!({"cnf": {"jkt": JKT, "x5t#S256": JKT}}), Reason::SenderMismatch),
        (json!({"cnf": {"jwk": {"kty": "RSA"}}}), Reason::SenderMismatch),
        (json!({"cnf": {"kid": "k"}}), Reason::SenderMismatch),
        (json!({"cnf": {}}), Reason::SenderMismatch),
        (json!({"cnf": "jkt"}), Reason::MalformedToken),
        (json!({"cnf": [JKT]}), Reason::MalformedToken),
        (json!({"cnf": {"jkt": "thumbprint"}}), Reason::MalformedToken),
        (json!({"cnf": {"jkt": 7}}), Reason::MalformedToken),
        (json!({"cnf": {"jkt": ""}}), Reason::MalformedToken),
        (json!({"cnf": {"jkt": format!("{JKT}=")}}), Reason::MalformedToken),
    ] {
        assert_eq!(token(&changes).err(), Some(reason), "{changes}");
    }
}

#[test]
fn a_claim_that_is_null_is_a_claim_of_a_wrong_type() {
    let audiences = audiences();
    for name in ["exp", "nbf", "iat", "aud", "sub", "jti", "cid", "scp", "cnf"] {
        let mut claims = altered(good(), &json!({}));
        Arc::make_mut(&mut claims.0).insert(name.into(), Value::Null);
        let reason = claims.judge_token(&rules(&audiences), now()).err().map(|rejection| rejection.reason);
        assert_eq!(reason, Some(Reason::MalformedToken), "{name}");
    }
}

#[test]
fn what_a_token_is_bound_to_is_kept_for_the_proof_of_possession() {
    let thumbprint = Thumbprint::parse(JKT).unwrap();
    for (member, binding) in [("jkt", Binding::Key(thumbprint)), ("x5t#S256", Binding::Certificate(thumbprint))] {
        let facts = token(&json!({"cnf": {member: JKT}})).unwrap();
        assert_eq!(facts.bound_to, Some(binding));
        let issuer = HeaderValue::from_static("https://acme.example");
        assert_eq!(facts.into_identity(&"okta".into(), &issuer).unwrap().bound_to, Some(binding));
    }
}

#[test]
fn a_lifetime_over_the_issuers_limit_is_refused() {
    let audiences = audiences();
    let hour = Rules { max_lifetime: Duration::from_secs(3_600), ..rules(&audiences) };
    let verdict =
        |changes: &Value| altered(good(), changes).judge_token(&hour, now()).err().map(|rejection| rejection.reason);
    assert_eq!(verdict(&json!({"iat": NOW - 10, "exp": NOW + 3_590})), None);
    assert_eq!(verdict(&json!({"iat": NOW - 10, "exp": NOW + 3_591})), Some(Reason::MalformedToken));
    assert_eq!(verdict(&json!({"iat": null, "exp": NOW + 3_660})), None);
    assert_eq!(verdict(&json!({"iat": null, "exp": NOW + 3_661})), Some(Reason::MalformedToken));
    assert_eq!(verdict(&json!({"iat": -1e18})), Some(Reason::MalformedToken));
}

#[test]
fn rfc_9068_wants_its_claims_and_oktas_profile_does_not() {
    let audiences = audiences();
    let strict = Rules { profile: TokenProfile::Rfc9068, okta: false, ..rules(&audiences) };
    let full = || altered(good(), &json!({"cid": null, "scp": null, "client_id": "0oa1", "scope": "items"}));
    assert!(full().judge_token(&strict, now()).is_ok());
    for name in ["exp", "aud", "sub", "client_id", "iat", "jti"] {
        let mut claims = full();
        Arc::make_mut(&mut claims.0).remove(name);
        let reason = claims.judge_token(&strict, now()).err().map(|rejection| rejection.reason);
        assert_eq!(reason, Some(Reason::MalformedToken), "{name}");
    }
    let mut cid = full();
    Arc::make_mut(&mut cid.0).insert("cid".into(), json!("0oa1"));
    Arc::make_mut(&mut cid.0).insert("client_id".into(), json!(["0oa1"]));
    assert!(cid.judge_token(&strict, now()).is_err(), "client_id is a string, whatever else there is");
}

#[test]
fn claims_of_a_wrong_type_are_refused() {
    for changes in [
        json!({"sub": 7}),
        json!({"sub": ["0oa1"]}),
        json!({"jti": 7}),
        json!({"cid": {}}),
        json!({"cid": null, "client_id": 7}),
        json!({"cid": null, "azp": 7}),
        json!({"scp": 7}),
        json!({"scp": ["items", 7]}),
        json!({"scp": {"items": true}}),
    ] {
        assert_eq!(token(&changes).err(), Some(Reason::MalformedToken), "{changes}");
    }
    assert_eq!(altered(good(), &json!({"iss": 7})).issuer().unwrap_err().reason, Reason::MalformedToken);
    assert_eq!(altered(good(), &json!({"iss": null})).issuer().unwrap_err().reason, Reason::IssuerMismatch);
}

#[test]
fn scopes_come_from_scp_before_scope_and_the_client_from_cid_first() {
    let facts = token(&json!({"scope": "admin", "client_id": "other", "azp": "another"})).unwrap();
    assert_eq!(facts.scopes, Scopes::new(["items", "items:write"]));
    assert_eq!(facts.client_id.as_deref(), Some("0oa1"));
    let facts = token(&json!({"scp": null, "scope": "a  b", "cid": null, "azp": "keycloak"})).unwrap();
    assert_eq!(facts.scopes, Scopes::new(["a", "b"]));
    assert_eq!(facts.client_id.as_deref(), Some("keycloak"));
    assert_eq!(token(&json!({"scp": "a b"})).unwrap().scopes, Scopes::new(["a", "b"]));
}

#[test]
fn a_claim_that_a_header_would_change_makes_the_token_malformed() {
    let issuer = HeaderValue::from_static("https://acme.example");
    let identity =
        |changes: &Value| token(changes).unwrap().into_identity(&"okta".into(), &issuer).map_err(|e| e.reason);
    let good = identity(&json!({})).unwrap();
    assert_eq!(good.headers.scopes.unwrap(), "items items:write");
    assert_eq!(good.headers.issuer, issuer);
    for text in ["a\r\nX-Evil: 1", "a\0b", "müller@acme.example", " a", "a ", "", "\u{7f}", "a\tb"] {
        for name in ["sub", "cid"] {
            assert_eq!(identity(&json!({name: text})).unwrap_err(), Reason::MalformedToken, "{name} {text:?}");
        }
    }
    let longest = "x".repeat(LONGEST_TOKEN);
    assert!(identity(&json!({"sub": longest, "scp": [longest]})).is_ok());
    for changes in [json!({"sub": format!("{longest}x")}), json!({"scp": [longest, "x"]})] {
        assert_eq!(identity(&changes).unwrap_err(), Reason::MalformedToken, "longer than a token may be");
    }
    assert_eq!(identity(&json!({"scp": ["a b"]})).unwrap_err(), Reason::MalformedToken);
    assert_eq!(identity(&json!({"scp": ["a\nb"]})).unwrap_err(), Reason::MalformedToken);
}

fn answer(changes: &Value) -> Option<Reason> {
    answer_to(None, changes).err()
}

/// The verdict on an answer about a token that names this key.
fn answer_to(bound_to: Option<Binding>, changes: &Value) -> Result<Facts, Reason> {
    let base = json!({
        "active": true, "aud": "api://default", "client_id": "0oa1", "exp": NOW + 3_590, "iat": NOW - 10,
        "iss": "https://acme.example/oauth2/default", "jti": "AT.abc", "scope": "items", "sub": "0oa1",
        "token_type": "Bearer",
    });
    let audiences = audiences();
    let claims = altered(base, changes);
    claims
        .judge_answer("https://acme.example/oauth2/default", bound_to, &rules(&audiences), now())
        .map_err(|rejection| rejection.reason)
}

#[test]
fn a_token_stays_bound_to_its_key_whatever_the_answer_omits() {
    let key = Thumbprint::parse(JKT).map(Binding::Key);
    for changes in [json!({}), json!({"token_type": "DPoP"}), json!({"cnf": {"jkt": JKT}})] {
        assert_eq!(answer_to(key, &changes).unwrap().bound_to, key, "{changes}");
    }
    assert_eq!(answer_to(None, &json!({"cnf": {"jkt": JKT}})).unwrap().bound_to, key);
    assert_eq!(answer_to(None, &json!({})).unwrap().bound_to, None);
    let other = json!({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}});
    assert_eq!(answer_to(key, &other).err(), Some(Reason::SenderMismatch));
    assert_eq!(answer(&json!({"token_type": "DPoP"})), Some(Reason::SenderMismatch), "nobody knows to which key");
    let certificate = Thumbprint::parse(JKT).map(Binding::Certificate);
    assert_eq!(answer_to(certificate, &json!({})).unwrap().bound_to, certificate);
    assert_eq!(answer_to(certificate, &json!({"cnf": {"jkt": JKT}})).err(), Some(Reason::SenderMismatch), "one kind");
}

#[test]
fn an_active_answer_is_still_checked() {
    for (changes, reason) in [
        (json!({}), None),
        (json!({"iss": null, "token_type": null}), None),
        (json!({"token_type": "bearer"}), None),
        (json!({"iss": "https://acme.example/oauth2/other"}), Some(Reason::IssuerMismatch)),
        (json!({"aud": "api://nobody"}), Some(Reason::AudienceMismatch)),
        (json!({"aud": null}), Some(Reason::AudienceMismatch)),
        (json!({"exp": NOW - 61}), Some(Reason::Expired)),
        (json!({"exp": null}), Some(Reason::MalformedToken)),
        (json!({"nbf": NOW + 61}), Some(Reason::NotYetValid)),
        (json!({"exp": NOW - 10 + 86_400}), None),
        (json!({"exp": NOW - 10 + 86_401}), Some(Reason::MalformedToken)),
        (json!({"exp": NOW + 86_461, "iat": null}), Some(Reason::MalformedToken)),
        (json!({"token_type": "DPoP"}), Some(Reason::SenderMismatch)),
        (json!({"token_type": "DPoP", "cnf": {"jkt": JKT}}), None),
        (json!({"cnf": {"jkt": JKT}}), None),
        (json!({"cnf": {"jkt": "x"}}), Some(Reason::MalformedToken)),
        (json!({"cnf": {"x5t#S256": JKT}}), None),
        (json!({"token_type": "DPoP", "cnf": {"x5t#S256": JKT}}), Some(Reason::SenderMismatch)),
        (json!({"token_type": "refresh_token"}), Some(Reason::WrongTokenType)),
        (json!({"jti": "ID.abc"}), Some(Reason::WrongTokenType)),
        (json!({"jti": "oar579Mcp7OUsNTlo0g3"}), Some(Reason::WrongTokenType)),
        (json!({"jti": null}), Some(Reason::WrongTokenType)),
        (json!({"nonce": "n"}), Some(Reason::WrongTokenType)),
        (json!({"aud": "0oaOwn"}), Some(Reason::WrongTokenType)),
        (json!({"scope": 7}), Some(Reason::MalformedToken)),
    ] {
        assert_eq!(answer(&changes), reason, "{changes}");
    }
}

#[test]
fn an_unverified_token_is_refused_only_for_what_is_certain() {
    let audiences = audiences();
    let certain = |changes: &Value| {
        altered(good(), changes).refuse_certainly_bad(&rules(&audiences), now()).err().map(|rejection| rejection.reason)
    };
    assert_eq!(certain(&json!({"exp": NOW - 61})), Some(Reason::Expired));
    assert_eq!(certain(&json!({"aud": "api://nobody"})), Some(Reason::AudienceMismatch));
    assert_eq!(certain(&json!({"cnf": {"kid": "k"}})), Some(Reason::SenderMismatch));
    assert_eq!(certain(&json!({"cnf": {"x5t#S256": JKT}})), None);
    assert_eq!(certain(&json!({"cnf": {"jkt": JKT}})), None);
    assert_eq!(certain(&json!({"exp": null, "aud": null, "jti": null})), None);
}
