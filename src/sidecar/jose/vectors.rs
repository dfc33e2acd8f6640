//! Public test vectors: the examples of the RFCs, which must verify, and every case of Wycheproof's JWS and JWK files,
//! each of which must end as its file says or stand in a table of exceptions with the reason.
//!
//! Wycheproof is read from `wycheproof/` in the folder that `TOLLGATE_CORPORA` names, by default `../shared/corpora`
//! beside the repository. Where there is none, the tests say so and pass.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;
use crate::idp::KeySet;

/// A case whose outcome here is not its file's, and why.
type Exceptions<'a> = &'a [(&'a [u64], &'a str)];

#[test]
fn the_examples_of_the_rfcs_verify() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("vectors.json")).unwrap();
    assert_eq!(vectors.len(), 5);
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap();
        let compact = Compact::parse(text("jws")).unwrap();
        let algorithm = compact.algorithm(&Algorithm::ALL).unwrap();
        assert_eq!(algorithm.as_str(), text("alg"), "{}", text("source"));
        assert_eq!(compact.payload(), text("payload").as_bytes(), "{}", text("source"));
        let key = PublicKey::from_jwk(vector["jwk"].as_object().unwrap(), &Algorithm::ALL).unwrap();
        assert!(compact.is_signed_by(&key, algorithm), "{}", text("source"));
    }
}

#[test]
fn every_wycheproof_signature_ends_as_its_file_says() {
    let exceptions: Exceptions<'_> = &[
        (&[1, 348, 352, 357, 358, 359, 376, 377], "valid, by HMAC: there is no symmetric algorithm"),
        (&[372, 373], "valid, by HMAC, with a character outside base64url that some readers skip: refused for both"),
        (&[259, 264, 268, 272, 320, 325], "valid, and empty: no token has an empty part"),
        (&[346, 350], "valid, by PS384 under a key whose alg is PS256: a key serves one algorithm"),
        (&[347, 351], "valid, by ES512 under a key whose alg is ES521: there is no such algorithm"),
    ];
    check("json_web_signature_test.json", 401, exceptions, |group, jws| {
        let jwk = group.get("public").unwrap_or(&group["private"]);
        let key = PublicKey::from_jwk(jwk.as_object().unwrap(), &Algorithm::ALL).ok()?;
        let compact = Compact::parse(jws).ok()?;
        let algorithm = compact.algorithm(&Algorithm::ALL).ok()?;
        compact.is_signed_by(&key, algorithm).then_some(())
    });
}

#[test]
fn every_wycheproof_key_set_ends_as_its_file_says() {
    let exceptions: Exceptions<'_> = &[
        (&[2, 13, 14, 15], "valid, by HMAC: there is no symmetric algorithm"),
        (
            &[7],
            "invalid, for a modulus with the ROCA weakness: what an issuer publishes is not searched for weak primes",
        ),
    ];
    check("json_web_key_test.json", 26, exceptions, |group, jws| {
        let keys = group.get("public").unwrap_or(&group["private"]);
        let keys = KeySet::parse(keys.to_string().as_bytes(), &Algorithm::ALL).ok()?;
        let compact = Compact::parse(jws).ok()?;
        let algorithm = compact.algorithm(&Algorithm::ALL).ok()?;
        let kid = compact.header().get("kid").and_then(Value::as_str);
        keys.candidates(kid).any(|key| compact.is_signed_by(key.public(), algorithm)).then_some(())
    });
}

/// Runs every case. An outcome that differs and is not excepted fails, and so does an exception that does not differ.
fn check(file: &str, count: usize, exceptions: Exceptions<'_>, accepts: impl Fn(&Value, &str) -> Option<()>) {
    let path = corpora().join("wycheproof").join(file);
    let Ok(text) = fs::read_to_string(&path) else {
        eprintln!("{} is not there: no case of it was run", path.display());
        return;
    };
    let document: Value = serde_json::from_str(&text).unwrap();
    let mut differing = BTreeMap::new();
    let mut cases = 0;
    for group in document["testGroups"].as_array().unwrap() {
        for case in group["tests"].as_array().unwrap() {
            cases += 1;
            let expected = case["result"] == "valid";
            if accepts(group, case["jws"].as_str().unwrap()).is_some() != expected {
                let what = format!("{} {}, the file says {}", group["comment"], case["comment"], case["result"]);
                differing.insert(case["tcId"].as_u64().unwrap(), what);
            }
        }
    }
    for id in exceptions.iter().flat_map(|(ids, _)| *ids) {
        assert!(differing.remove(id).is_some(), "{file}: {id} is excepted and does not differ");
    }
    assert!(differing.is_empty(), "{file}: {differing:#?}");
    assert_eq!(cases, count, "{file}");
}

fn corpora() -> PathBuf {
    match std::env::var_os("TOLLGATE_CORPORA") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora"),
    }
}
