//! Okta's own verifiers for JavaScript and Python and the sidecar judge the same tokens: nothing forged passes here, no
//! good Okta token fails, and where a verifier differs it is listed with the reason.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use xtask::verifiers::Verifiers;

use crate::hostile::scene::{Scene, Sent};
use crate::hostile::{forms, good, meanings};

const BOTH: &[&str] = &["JavaScript", "Python"];

/// Tokens that a verifier accepts and the sidecar refuses, by verifier and reason. None is forged: each has a signature
/// of Okta's key over what it says, and says what no access token of Okta's does.
const LOOSE: [(&[&str], &str, &[&str]); 13] = [
    (
        BOTH,
        "other kinds of tokens are told by their audience alone",
        &[
            "typ dpop+jwt",
            "typ logout+jwt",
            "typ secevent+jwt",
            "typ token-introspection+jwt",
            "typ of Okta's org server",
            "typ of an authorization request",
            "typ of a client's assertion",
            "typ of another media type",
            "typ empty",
            "typ a number",
            "typ a list",
            "an ID token's nonce",
            "an ID token's at_hash",
            "an ID token's c_hash",
            "an ID token's jti",
            "an ID token for our own client too",
            "a refresh token's jti",
            "an introspection answer",
            "a logout token",
        ],
    ),
    (
        BOTH,
        "a bound token passes as a bearer token",
        &[
            "bound to a DPoP key",
            "bound to a certificate",
            "bound to both",
            "bound by other means",
            "bound to nothing",
            "cnf a string",
            "cnf a list",
            "a thumbprint that is none",
            "a thumbprint that is a number",
        ],
    ),
    (
        BOTH,
        "extensions in the header are not looked at",
        &["crit with an unknown name", "crit empty", "crit an object", "crit with exp", "b64 true", "zip"],
    ),
    (&["JavaScript"], "nor is this one", &["b64 false"]),
    (
        BOTH,
        "the last of two members counts, and JSON is read with latitude",
        &[
            "a claim twice",
            "exp twice",
            "a claim twice by escapes",
            "a nested claim twice",
            "half of a surrogate pair",
            "a number beyond numbers",
            "endless nesting",
        ],
    ),
    (&["JavaScript"], "octets that are no UTF-8 are replaced", &["claims that are no UTF-8"]),
    (&["Python"], "NaN is a number", &["not a number"]),
    (BOTH, "padding is skipped", &["padding at the end"]),
    (&["JavaScript"], "base64url is read with latitude", &["trailing bits that are not zero"]),
    (
        BOTH,
        "claims that are not looked at may be anything",
        &[
            "sub a number",
            "sub a list",
            "sub with a line break",
            "sub with a null byte",
            "sub with a space around",
            "sub empty",
            "sub that no header can hold",
            "cid a list",
            "cid with a line break",
            "jti a number",
            "scp a number",
            "scp an object",
            "scp with a number in it",
            "scp with a space in it",
            "scp with a line break in it",
            "iat ahead",
            "iat a string",
            "iat an object",
            "nbf a string",
            "nbf in ages",
            "a token of 17 KiB",
        ],
    ),
    (
        BOTH,
        "no lifetime is too long, and text is a number where it looks like one",
        &[
            "exp a string",
            "exp in ages",
            "exp the largest integer",
            "a life of 25 hours",
            "a life of a year, iat left out",
            "a life of a year, begun long ago",
        ],
    ),
    (&["JavaScript"], "exp need not be there, nor be a number", &["no exp", "exp a list"]),
    (&["JavaScript"], "one audience that fits is enough", &["aud with a number in it"]),
];

/// Tokens that a verifier refuses and the sidecar accepts: Okta mints none without kid.
const STRICT: [(&[&str], &str, &[&str]); 1] = [(BOTH, "kid is required", &["no kid"])];

/// What the verifiers say of these depends on the moment: JavaScript's has no leeway, Python's two minutes for `exp` and
/// no end for `nbf`.
const BY_THE_CLOCK: [&str; 5] =
    ["exp past", "exp past by a fraction", "expired within the skew", "nbf ahead", "not before, within the skew"];

/// Reasons of the sidecar's that mean a forgery: no verifier may accept one.
const FORGED: [&str; 4] = ["bad_signature", "unknown_key", "unsupported_algorithm", "issuer_mismatch"];

/// One token, and whether it has to pass.
struct Judged {
    name: &'static str,
    token: String,
    passes: bool,
    forged: bool,
}

#[tokio::test]
async fn oktas_verifiers_differ_from_the_sidecar_only_as_listed() {
    let verifiers = tokio::task::spawn_blocking(Verifiers::ensure).await.expect("no panic").expect("the verifiers");
    let scene = Scene::start().await;
    let tokens = tokens(&scene);
    for Judged { name, token, passes, .. } in &tokens {
        assert_eq!(scene.world.get(token).await.status == 200, *passes, "{name}");
    }
    let (issuer, ca_file) = (scene.world.issuer.url(), scene.world.issuer.ca_file());
    let lines: String = tokens.iter().flat_map(|judged| [judged.token.as_str(), "\n"]).collect();
    let asking = tokio::task::spawn_blocking(move || ask(&verifiers, &issuer, &ca_file, &lines));
    for (verifier, accepts) in asking.await.expect("no panic") {
        assert_eq!(accepts.len(), tokens.len(), "{verifier}: one verdict for each token");
        for (judged, accepted) in tokens.iter().zip(&accepts) {
            assert!(!(judged.forged && *accepted), "{verifier} accepts a forgery: {}", judged.name);
        }
        for (table, passes) in [(LOOSE.as_slice(), false), (STRICT.as_slice(), true)] {
            let differing: BTreeSet<&str> = tokens
                .iter()
                .zip(&accepts)
                .filter(|(judged, accepted)| judged.passes == passes && **accepted != passes)
                .map(|(judged, _)| judged.name)
                .filter(|name| !BY_THE_CLOCK.contains(name))
                .collect();
            let of_this_one = table.iter().filter(|(who, ..)| who.contains(&verifier));
            let listed: BTreeSet<&str> = of_this_one.flat_map(|(_, _, names)| names.iter().copied()).collect();
            let unlisted: Vec<_> = differing.difference(&listed).collect();
            let agreeing: Vec<_> = listed.difference(&differing).collect();
            assert!(
                unlisted.is_empty() && agreeing.is_empty(),
                "{verifier}: {unlisted:?} unlisted, {agreeing:?} alike"
            );
        }
    }
}

/// Every hostile token, and the good ones of the issuer that the verifiers are set to.
fn tokens(scene: &Scene) -> Vec<Judged> {
    let hostile = [forms::rows(scene), meanings::rows(scene)].into_iter().flatten();
    let refused = hostile.filter_map(|row| match row.sent {
        Sent::Token(token) => {
            Some(Judged { name: row.name, token, passes: false, forged: FORGED.contains(&row.reason) })
        }
        Sent::To(..) => None,
    });
    let accepted =
        good::of_okta(scene).into_iter().map(|(name, token)| Judged { name, token, passes: true, forged: false });
    let tokens: Vec<Judged> = refused.chain(accepted).collect();
    let names: BTreeSet<&str> = tokens.iter().map(|judged| judged.name).collect();
    assert_eq!(names.len(), tokens.len(), "each has a name of its own");
    tokens
}

/// Whether each verifier accepts each line.
fn ask(verifiers: &Verifiers, issuer: &str, ca_file: &Path, lines: &str) -> Vec<(&'static str, Vec<bool>)> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tokens");
    fs::write(&file, lines).expect("a file");
    let judge = |(name, mut command): (&'static str, Command)| {
        let input = File::open(&file).expect("the tokens");
        let output = command.stdin(input).stderr(Stdio::inherit()).output().expect("the verifier starts");
        assert!(output.status.success(), "{name}: {}", output.status);
        let accepts = |line: &str| {
            assert!(line == "accepted" || line.starts_with("refused "), "{name} says {line}");
            line == "accepted"
        };
        (name, String::from_utf8_lossy(&output.stdout).lines().map(accepts).collect())
    };
    verifiers.commands(issuer, "api://default", ca_file).into_iter().map(judge).collect()
}
