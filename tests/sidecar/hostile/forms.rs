//! How tokens are sent, what they look like, and who signed them how. It decides nothing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tests::mint::{SigningKey, Token, epoch_seconds, other_key, sign_raw, signing_key};
use tollgate_contract::Algorithm;

use super::scene::{Row, Scene, Sent, keys};

pub(crate) fn rows(scene: &Scene) -> Vec<Row> {
    [
        sending(scene),
        parts(scene),
        json_texts(scene),
        headers(scene),
        algorithms(scene),
        signatures(scene),
        issuers(scene),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Statements 1 to 5.
fn sending(scene: &Scene) -> Vec<Row> {
    let token = scene.okta().signed();
    let (bearer, basic) = (format!("Bearer {token}"), "Basic YTpi".to_owned());
    let at = |statement, name, path, headers: &[&str], status, error, reason| Row {
        statement,
        name,
        sent: Sent::To(path, headers.iter().map(|header| (*header).to_owned()).collect()),
        status,
        error,
        reason,
    };
    let to = |statement, name, headers: &[&str], status, error, reason| {
        at(statement, name, "/items", headers, status, error, reason)
    };
    let malformed =
        |statement, name, header: &str| to(statement, name, &[header], 401, "invalid_token", "malformed_token");
    let missing =
        |statement, name, path, headers: &[&str]| at(statement, name, path, headers, 401, "", "missing_token");
    vec![
        to(1, "two headers", &[&bearer, &bearer], 400, "invalid_request", "bad_request"),
        to(1, "two kinds", &[&basic, &bearer], 400, "invalid_request", "bad_request"),
        to(1, "two kinds, ours first", &[&bearer, &basic], 400, "invalid_request", "bad_request"),
        malformed(1, "two in one header", &format!("{bearer}, {bearer}")),
        missing(2, "nothing", "/items", &[]),
        missing(2, "an empty header", "/items", &[""]),
        missing(2, "Basic", "/items", &[&basic]),
        missing(2, "the token alone", "/items", &[&token]),
        missing(2, "another scheme", "/items", &[&format!("BearerX {token}")]),
        missing(2, "a tab after the scheme", "/items", &[&format!("Bearer\t{token}")]),
        at(3, "a scope too few", "/admin", &[&bearer], 403, "insufficient_scope", "insufficient_scope"),
        missing(4, "in the query alone", "/items?access_token=evil", &[]),
        at(4, "in the query too", "/items?access_token=evil", &[&bearer], 400, "invalid_request", "bad_request"),
        at(4, "in the query, escaped", "/items?access%5Ftoken=evil", &[&bearer], 400, "invalid_request", "bad_request"),
        malformed(5, "no token", "Bearer"),
        malformed(5, "a space for a token", "Bearer  "),
        malformed(5, "nothing but padding", "Bearer ==="),
        malformed(5, "quoted", &format!("Bearer \"{token}\"")),
        malformed(5, "a space within", &format!("Bearer {} {}", &token[..20], &token[20..])),
        malformed(5, "a comma after", &format!("{bearer},")),
        malformed(5, "an umlaut", "Bearer t\u{f6}k"),
        malformed(5, "a percent sign", &format!("Bearer %65{}", &token[1..])),
        malformed(5, "16 KiB and one", &format!("Bearer {}", "t".repeat(16 * 1024 + 1))),
    ]
}

/// Statement 12: exactly three canonical base64url parts.
fn parts(scene: &Scene) -> Vec<Row> {
    let text = scene.okta().signed();
    let (input, signature) = text.rsplit_once('.').expect("three parts");
    let (header, payload) = input.split_once('.').expect("three parts");
    // 256 octets end in a character with four unused bits; a lenient reader sees the same signature.
    let trailing = {
        let last = char::from(signature.as_bytes()[341] + 1);
        format!("{input}.{}{last}", &signature[..341])
    };
    let malformed = |name, token: String| Row::token(12, name, token, "malformed_token");
    vec![
        malformed("one part", "opaque".into()),
        malformed("two parts", input.into()),
        malformed("an empty signature", format!("{input}.")),
        malformed("an empty header", format!(".{payload}.{signature}")),
        malformed("an empty payload", format!("{header}..{signature}")),
        malformed("nothing but dots", "..".into()),
        malformed("four parts", format!("{text}.{signature}")),
        malformed("six parts", format!("{text}.a.b.c")),
        malformed("a dot in front", format!(".{text}")),
        malformed("padding at the end", format!("{text}==")),
        malformed("padding in the header", format!("{header}=.{payload}.{signature}")),
        malformed("the standard alphabet", format!("{header}.{payload}.+/+/")),
        malformed("trailing bits that are not zero", trailing),
        malformed("an impossible length", format!("{text}AAA")),
        malformed("a token of 17 KiB", scene.okta().claim("x", json!("x".repeat(13_000))).signed()),
    ]
}

/// Statements 12 and 21: header and claims are JSON objects that every reader reads alike.
fn json_texts(scene: &Scene) -> Vec<Row> {
    let header = json!({"alg": "RS256", "kid": signing_key().kid}).to_string();
    let (url, exp) = (scene.world.issuer.url(), epoch_seconds() + 3600);
    let claims = |extra: &str| format!(r#"{{"iss":"{url}","aud":"api://default","exp":{exp}{extra}}}"#);
    let headed = |name, header: &[u8]| Row::token(12, name, sign_raw(header, claims("").as_bytes()), "malformed_token");
    let claimed = |statement, name, payload: &[u8]| {
        Row::token(statement, name, sign_raw(header.as_bytes(), payload), "malformed_token")
    };
    let no_utf8: Vec<u8> =
        claims(r#","sub":"?""#).into_bytes().into_iter().map(|byte| if byte == b'?' { 0xff } else { byte }).collect();
    let with = |statement, name, extra: &str| claimed(statement, name, claims(extra).as_bytes());
    vec![
        headed("a header that is no JSON", b"alg=RS256"),
        headed("a header that is a list", b"[]"),
        headed("a header that is a string", b"\"RS256\""),
        headed("a header that is null", b"null"),
        headed("a header member twice", br#"{"alg":"none","alg":"RS256"}"#),
        headed("a header member twice by escapes", br#"{"alg":"RS256","\u0061lg":"none"}"#),
        headed("a header that goes on", br#"{"alg":"RS256"}{"alg":"none"}"#),
        headed("a header that is no UTF-8", b"{\"alg\":\"RS256\",\"kid\":\"\xff\"}"),
        claimed(12, "claims that are a list", b"[]"),
        claimed(12, "claims that are a string", b"\"x\""),
        claimed(12, "claims that are a number", b"7"),
        claimed(21, "claims after a byte order mark", format!("\u{feff}{}", claims("")).as_bytes()),
        claimed(21, "claims cut off", &claims("").as_bytes()[..40]),
        claimed(21, "claims that are no UTF-8", &no_utf8),
        with(21, "a claim twice", r#","sub":"a","sub":"b""#),
        with(21, "exp twice", r#","exp":9999999999"#),
        with(21, "a claim twice by escapes", r#","sub":"a","\u0073ub":"b""#),
        with(21, "a nested claim twice", r#","x":{"a":1,"a":2}"#),
        with(21, "half of a surrogate pair", r#","sub":"\ud800""#),
        with(21, "a raw control character", ",\"sub\":\"\u{1}\""),
        with(21, "a comment", "/* evil */"),
        with(21, "a comma too many", ","),
        with(21, "endless nesting", &format!(r#","x":{}{}"#, "[".repeat(500), "]".repeat(500))),
        with(14, "a number beyond numbers", r#","nbf":1e999"#),
        with(14, "not a number", r#","nbf":NaN"#),
    ]
}

/// Statements 13, 19, 20: what a header may ask for and what it may not.
fn headers(scene: &Scene) -> Vec<Row> {
    let row = |statement, name, member, value: Value, reason| {
        Row::token(statement, name, scene.okta().header(member, value).signed(), reason)
    };
    let mine = || scene.okta().header("kid", json!(other_key().kid));
    let typ = |name, typ: &str| row(20, name, "typ", json!(typ), "wrong_token_type");
    vec![
        row(13, "crit with an unknown name", "crit", json!(["x"]), "malformed_token"),
        row(13, "crit empty", "crit", json!([]), "malformed_token"),
        row(13, "crit an object", "crit", json!({}), "malformed_token"),
        Row::token(
            13,
            "crit with exp",
            scene.okta().header("crit", json!(["exp"])).header("exp", json!(1)).signed(),
            "malformed_token",
        ),
        row(13, "b64 false", "b64", json!(false), "malformed_token"),
        row(13, "b64 true", "b64", json!(true), "malformed_token"),
        row(13, "zip", "zip", json!("DEF"), "malformed_token"),
        Row::token(
            13,
            "a forger's key brought along",
            scene.okta().header("jwk", other_key().jwk()).signed_by(other_key()),
            "bad_signature",
        ),
        Row::token(
            13,
            "a forger's key set named",
            scene.okta().header("jku", json!("https://evil.example/keys")).signed_by(other_key()),
            "bad_signature",
        ),
        Row::token(
            13,
            "a forger's certificate named and brought along",
            scene
                .okta()
                .header("x5u", json!("https://evil.example"))
                .header("x5c", json!(["AA"]))
                .signed_by(other_key()),
            "bad_signature",
        ),
        row(19, "kid a number", "kid", json!(1), "malformed_token"),
        row(19, "kid a list", "kid", json!([signing_key().kid]), "malformed_token"),
        row(19, "kid endless", "kid", json!("k".repeat(1000)), "malformed_token"),
        row(
            19,
            "kid a path, an order and a header",
            "kid",
            json!("../../dev/null' OR 1=1--\r\nX-Evil: 1"),
            "unknown_key",
        ),
        Row::token(19, "a forger's kid", mine().signed_by(other_key()), "unknown_key"),
        typ("typ dpop+jwt", "dpop+jwt"),
        typ("typ logout+jwt", "logout+jwt"),
        typ("typ secevent+jwt", "application/secevent+jwt"),
        typ("typ token-introspection+jwt", "token-introspection+jwt"),
        typ("typ of Okta's org server", "application/okta-internal-at+jwt"),
        typ("typ of an authorization request", "oauth-authz-req+jwt"),
        typ("typ of a client's assertion", "client-authentication+jwt"),
        typ("typ empty", ""),
        typ("typ of another media type", "text/at+jwt"),
        row(20, "typ a number", "typ", json!(1), "malformed_token"),
        row(20, "typ a list", "typ", json!(["at+jwt"]), "malformed_token"),
        Row::token(20, "a JWE", "eyJhbGciOiJkaXIifQ..aaaa.bbbb.cccc", "encrypted_token"),
        Row::token(20, "a JWE of five full parts", "eyJhbGciOiJSU0EtT0FFUCJ9.a.b.c.d", "encrypted_token"),
    ]
}

/// Statements 17 and 23: the issuer's list of algorithms, never the header's wish.
fn algorithms(scene: &Scene) -> Vec<Row> {
    let okta = || scene.okta();
    let (text, partner) = (okta().signed(), || scene.partner.token());
    let payload = text.split('.').nth(1).expect("a payload");
    let named =
        |statement, name, alg: Value, reason| Row::token(statement, name, okta().header("alg", alg).signed(), reason);
    let unsupported = |statement, name, alg: &str| named(statement, name, json!(alg), "unsupported_algorithm");
    let modulus = signing_key().jwk()["n"].as_str().expect("a modulus").to_owned();
    let hs256 = |secret: &[u8]| okta().header("alg", json!("HS256")).signed_hmac(secret);
    let announced = |name, algorithm: Algorithm| {
        let token = okta().header("alg", json!(algorithm.as_str())).signed_with(signing_key(), algorithm);
        Row::token(17, name, token, "unsupported_algorithm")
    };
    let unannounced =
        |name, algorithm| Row::token(17, name, okta().signed_with(signing_key(), algorithm), "bad_signature");
    vec![
        Row::token(
            23,
            "alg none without a signature",
            format!("{}.{payload}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#)),
            "malformed_token",
        ),
        unsupported(23, "alg none with a signature", "none"),
        unsupported(23, "alg None", "None"),
        unsupported(23, "alg nOnE", "nOnE"),
        unsupported(17, "alg in small letters", "rs256"),
        unsupported(17, "alg empty", ""),
        unsupported(17, "alg with a space", "RS256 "),
        unsupported(17, "alg for encryption", "RSA-OAEP"),
        named(17, "no alg", Value::Null, "malformed_token"),
        named(17, "alg a list", json!(["RS256"]), "malformed_token"),
        named(17, "alg a number", json!(256), "malformed_token"),
        Row::token(17, "an HMAC with the public key", hs256(modulus.as_bytes()), "unsupported_algorithm"),
        Row::token(17, "an HMAC with an empty secret", hs256(b""), "unsupported_algorithm"),
        Row::token(17, "RS256 announced, an HMAC made", okta().signed_hmac(modulus.as_bytes()), "bad_signature"),
        announced("alg RS384", Algorithm::Rs384),
        announced("alg RS512", Algorithm::Rs512),
        announced("alg PS256", Algorithm::Ps256),
        unannounced("RS256 announced, SHA-384 used", Algorithm::Rs384),
        unannounced("RS256 announced, SHA-512 used", Algorithm::Rs512),
        unannounced("RS256 announced, PSS used", Algorithm::Ps256),
        Row::token(
            17,
            "alg ES256",
            okta().header("alg", json!("ES256")).signed_by(&keys().es256),
            "unsupported_algorithm",
        ),
        Row::token(
            17,
            "alg EdDSA",
            okta().header("alg", json!("EdDSA")).signed_by(&keys().eddsa),
            "unsupported_algorithm",
        ),
        // One algorithm a key: the partner's list holds all three.
        Row::token(17, "RS256 where it is not listed", partner().signed(), "unsupported_algorithm"),
        Row::token(
            17,
            "RS256 by the key for PS256",
            partner().header("kid", json!(keys().ps256.kid)).signed_with(&keys().ps256, Algorithm::Rs256),
            "unsupported_algorithm",
        ),
        Row::token(
            17,
            "PS256 announced, PKCS1 used",
            partner()
                .header("alg", json!("PS256"))
                .header("kid", json!(keys().ps256.kid))
                .signed_with(&keys().ps256, Algorithm::Rs256),
            "bad_signature",
        ),
        Row::token(
            17,
            "EdDSA under the kid for ES256",
            partner().header("alg", json!("EdDSA")).header("kid", json!(keys().es256.kid)).signed_by(&keys().eddsa),
            "bad_signature",
        ),
        Row::token(
            17,
            "ES256 announced under the kid for PS256",
            partner().header("alg", json!("ES256")).header("kid", json!(keys().ps256.kid)).signed_by(&keys().es256),
            "bad_signature",
        ),
    ]
}

/// Statement 16, and what a signature is.
fn signatures(scene: &Scene) -> Vec<Row> {
    let text = scene.okta().signed();
    let (input, signature) = text.rsplit_once('.').expect("three parts");
    let (header, _) = input.split_once('.').expect("three parts");
    let octets = URL_SAFE_NO_PAD.decode(signature).expect("a signature");
    let rsa = |name, octets: &[u8]| {
        Row::token(16, name, format!("{input}.{}", URL_SAFE_NO_PAD.encode(octets)), "bad_signature")
    };
    let flipped = |at: usize| {
        let mut octets = octets.clone();
        octets[at] ^= 1;
        octets
    };
    let another = json!({"iss": scene.world.issuer.url(), "aud": "api://default", "exp": epoch_seconds() + 60});
    let partner = |name, key: &'static SigningKey, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let token = scene.partner.token().header("kid", json!(key.kid)).header("alg", json!(key.algorithm().as_str()));
        Row::token(16, name, token.with_signature(|input| change(key.sign(input))), "bad_signature")
    };
    let (es256, eddsa, ps256) = (&keys().es256, &keys().eddsa, &keys().ps256);
    vec![
        Row::token(16, "a forger's key under our kid", scene.okta().signed_by(other_key()), "bad_signature"),
        Row::token(
            16,
            "a forger's key without kid",
            scene.okta().header("kid", Value::Null).signed_by(other_key()),
            "bad_signature",
        ),
        Row::token(
            16,
            "another token's payload",
            format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(another.to_string())),
            "bad_signature",
        ),
        rsa("one bit of the signature", &flipped(7)),
        rsa("the last bit of the signature", &flipped(255)),
        rsa("half of the signature", &octets[..128]),
        rsa("a signature of one octet", &[1]),
        rsa("a signature of zeros", &[0; 256]),
        rsa("a zero before the signature", &[&[0], octets.as_slice()].concat()),
        rsa("a zero after the signature", &[octets.as_slice(), &[0]].concat()),
        rsa("a signature of 64 octets", &[7; 64]),
        partner("ES256 of zeros", es256, &|signature| vec![0; signature.len()]),
        partner("ES256 in DER", es256, &|signature| der(&signature)),
        partner("ES256 with its halves swapped", es256, &|signature| [&signature[32..], &signature[..32]].concat()),
        partner("ES256 cut short", es256, &|signature| signature[..63].to_vec()),
        partner("ES256 with a zero more on each half", es256, &|signature| {
            [&[0], &signature[..32], &[0], &signature[32..]].concat()
        }),
        partner("EdDSA of zeros", eddsa, &|signature| vec![0; signature.len()]),
        partner("EdDSA with the order added to S", eddsa, &|signature| plus_order(&signature)),
        partner("EdDSA cut short", eddsa, &|signature| signature[..63].to_vec()),
        partner("PS256 of zeros", ps256, &|signature| vec![0; signature.len()]),
    ]
}

/// Statement 18: keys of one issuer never verify tokens of another.
fn issuers(scene: &Scene) -> Vec<Row> {
    let keys = keys();
    let row = |name, token: String, reason| Row::token(18, name, token, reason);
    let no_kid = |token: Token| token.header("kid", Value::Null);
    let iss = |value: Value| scene.okta().claim("iss", value).signed();
    vec![
        row("the partner's key under Okta's name", scene.okta().minted_by(&keys.es256), "unsupported_algorithm"),
        row("the strict issuer's key under Okta's name", scene.okta().minted_by(&keys.strict), "unknown_key"),
        row("the same without kid", no_kid(scene.okta()).signed_by(&keys.strict), "bad_signature"),
        row(
            "Okta's key under the strict issuer's name",
            scene.rfc9068().header("kid", json!(signing_key().kid)).signed(),
            "unknown_key",
        ),
        row("that too without kid", no_kid(scene.rfc9068()).signed(), "bad_signature"),
        row(
            "Okta's kid under the partner's name",
            scene.partner.token().header("alg", json!("ES256")).signed_by(&keys.es256),
            "unknown_key",
        ),
        row("no iss", iss(Value::Null), "issuer_mismatch"),
        row("iss of a stranger", iss(json!("https://evil.example")), "issuer_mismatch"),
        row("iss with a slash more", iss(json!(format!("{}/", scene.world.issuer.url()))), "issuer_mismatch"),
        row("iss in capitals", iss(json!(scene.world.issuer.url().to_uppercase())), "issuer_mismatch"),
        row("iss with a query", iss(json!(format!("{}?", scene.world.issuer.url()))), "issuer_mismatch"),
        row("iss empty", iss(json!("")), "issuer_mismatch"),
        row("iss a list", iss(json!([scene.world.issuer.url()])), "malformed_token"),
        row("iss a number", iss(json!(1)), "malformed_token"),
    ]
}

/// `r || s` as `SEQUENCE { r INTEGER, s INTEGER }`.
fn der(fixed: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len() - 1);
        let sign = (number[start] >= 0x80).then_some(0);
        let octets: Vec<u8> = sign.into_iter().chain(number[start..].iter().copied()).collect();
        [&[2, u8::try_from(octets.len()).expect("short")], octets.as_slice()].concat()
    };
    let both = [integer(&fixed[..32]), integer(&fixed[32..])].concat();
    [&[0x30, u8::try_from(both.len()).expect("short")], both.as_slice()].concat()
}

/// An Ed25519 signature whose S is not reduced: RFC 8032 section 5.1.7 wants it refused.
fn plus_order(signature: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut sum = signature.to_vec();
    let mut carry = 0;
    for (octet, order) in sum[32..].iter_mut().zip(ORDER) {
        let total = u16::from(*octet) + u16::from(order) + carry;
        *octet = total.to_le_bytes()[0];
        carry = total >> 8;
    }
    sum
}
