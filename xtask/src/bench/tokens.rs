//! Access tokens in Okta's shape, signed with keys made for the run, the key set that verifies them, and opaque tokens
//! with what an authorization server says of them.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, bail};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use serde_json::{Value, json};
use tollgate_contract::{Algorithm, Hints, IssuerHints, KeySource, SeededKeys};

use super::DISTINCT_TOKENS_PER_SECOND;
use super::policy::{AUDIENCE, ISSUER};
use super::servers::Stage;

/// Signing keys, one for each algorithm that is measured.
pub(super) struct Mint {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

/// Files with one token a line.
pub(super) struct Files {
    /// One RS256 token.
    pub(super) one: PathBuf,
    /// Distinct tokens by algorithm.
    distinct: Vec<(Algorithm, PathBuf)>,
    /// One opaque token.
    pub(super) one_opaque: PathBuf,
    /// Distinct opaque tokens.
    pub(super) distinct_opaque: PathBuf,
    /// The introspection answer for each of them.
    pub(super) answer: PathBuf,
}

impl Files {
    pub(super) fn distinct(&self, algorithm: Algorithm) -> anyhow::Result<&PathBuf> {
        let held = self.distinct.iter().find(|(held, _)| *held == algorithm);
        held.map(|(_, file)| file).context("no tokens of this algorithm")
    }
}

impl Mint {
    pub(super) fn new() -> anyhow::Result<Self> {
        let no_key = |_| anyhow!("cannot make a signing key");
        Ok(Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).map_err(no_key)?,
            p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(no_key)?,
            ed25519: Ed25519KeyPair::generate().map_err(no_key)?,
        })
    }

    /// Publishes the key set and writes the tokens. `wanted` are the algorithms of which many are needed.
    pub(super) fn write(&self, stage: &Stage, seconds: u64, wanted: &[Algorithm]) -> anyhow::Result<Files> {
        stage.publish_keys(&self.jwks())?;
        let issuer = stage.issuer();
        let count = DISTINCT_TOKENS_PER_SECOND * seconds;
        let mut files = Files {
            one: stage.path("one.txt"),
            distinct: Vec::new(),
            one_opaque: stage.path("one-opaque.txt"),
            distinct_opaque: stage.path("distinct-opaque.txt"),
            answer: stage.path("answer.json"),
        };
        fs::write(&files.one, self.token(Algorithm::Rs256, &issuer, 0)?)?;
        for algorithm in wanted {
            let file = stage.path(&format!("distinct-{}.txt", algorithm.as_str()));
            fs::write(&file, self.many(*algorithm, &issuer, count)?).context("writing the distinct tokens")?;
            files.distinct.push((*algorithm, file));
        }
        fs::write(&files.one_opaque, opaque(0))?;
        let opaque: Vec<String> = (1..=count).map(opaque).collect();
        fs::write(&files.distinct_opaque, opaque.join("\n")).context("writing the opaque tokens")?;
        fs::write(&files.answer, answer(&issuer)?.to_string())?;
        Ok(files)
    }

    fn many(&self, algorithm: Algorithm, issuer: &str, count: u64) -> anyhow::Result<String> {
        let part = |from: u64, to: u64| -> anyhow::Result<String> {
            let mut text = String::new();
            for serial in from..to {
                writeln!(text, "{}", self.token(algorithm, issuer, serial)?)?;
            }
            Ok(text)
        };
        let half = count / 2;
        thread::scope(|scope| {
            let first = scope.spawn(|| part(1, half));
            let second = part(half, count)?;
            let first = first.join().map_err(|_| anyhow!("a signing thread panicked"))??;
            Ok(first + &second)
        })
    }

    /// A hint that brings the keys.
    pub(super) fn write_hints(&self, stage: &Stage) -> anyhow::Result<PathBuf> {
        let fetched_at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let source = KeySource { issuer: stage.issuer(), jwks: None, ca_bundle: None };
        let keys = Some(SeededKeys { fetched_at, jwks: self.jwks(), source });
        let hints = Hints { issuers: vec![IssuerHints { name: ISSUER.to_owned(), sharers: None, keys }] };
        let file = stage.path("hints.json");
        fs::write(&file, serde_json::to_string(&hints)?).context("writing the hints")?;
        Ok(file)
    }

    pub(super) fn token(&self, algorithm: Algorithm, issuer: &str, serial: u64) -> anyhow::Result<String> {
        let header = json!({"kid": algorithm.as_str(), "alg": algorithm.as_str()});
        let mut claims = facts(issuer, &format!("{serial:043}"))?;
        claims["ver"] = json!(1);
        claims["cid"] = claims["sub"].clone();
        claims["scp"] = json!(["items"]);
        let mut token = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
        let signature = self.sign(algorithm, token.as_bytes())?;
        write!(token, ".{}", B64.encode(signature))?;
        Ok(token)
    }

    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> anyhow::Result<Vec<u8>> {
        let random = SystemRandom::new();
        let cannot = |_| anyhow!("cannot sign");
        match algorithm {
            Algorithm::Rs256 => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                self.rsa.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(cannot)?;
                Ok(signature)
            }
            Algorithm::Es256 => Ok(self.p256.sign(&random, message).map_err(cannot)?.as_ref().to_vec()),
            Algorithm::EdDsa => Ok(self.ed25519.sign(message).as_ref().to_vec()),
            other => bail!("{} is not measured", other.as_str()),
        }
    }

    pub(super) fn jwks(&self) -> String {
        let text = |bytes: &[u8]| B64.encode(bytes);
        let rsa = self.rsa.public_key();
        // An uncompressed point (SEC 1 section 2.3.3): 4, then 32 bytes each of x and y.
        let point = self.p256.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        json!({"keys": [
            {
                "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "RS256",
                "n": text(rsa.modulus().big_endian_without_leading_zero()),
                "e": text(rsa.exponent().big_endian_without_leading_zero()),
            },
            {"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "ES256", "x": text(x), "y": text(y)},
            {
                "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "EdDSA",
                "x": text(self.ed25519.public_key().as_ref()),
            },
        ]})
        .to_string()
    }
}

/// As long as the opaque tokens of common servers.
fn opaque(serial: u64) -> String {
    format!("opaque-{serial:036}")
}

/// An introspection answer with Okta's members.
fn answer(issuer: &str) -> anyhow::Result<Value> {
    let mut answer = facts(issuer, "introspected")?;
    answer["active"] = json!(true);
    answer["token_type"] = json!("Bearer");
    answer["scope"] = json!("items");
    answer["client_id"] = answer["sub"].clone();
    Ok(answer)
}

/// What a token and an answer about it share.
fn facts(issuer: &str, id: &str) -> anyhow::Result<Value> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    Ok(json!({
        "jti": format!("AT.{id}"), "iss": issuer, "aud": AUDIENCE, "iat": now, "exp": now + 3600,
        "sub": "0oaBenchClient000001",
    }))
}
