//! Access tokens in Okta's shape, signed with a key made for the run, and the key set that verifies them.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use serde_json::json;

use super::servers::{AUDIENCE, Stage};
use super::{DISTINCT_TOKENS_PER_SECOND, Effort};

const KEY_ID: &str = "bench-key";

/// A signing key.
pub(super) struct Mint {
    key: KeyPair,
}

/// Files with one token a line.
pub(super) struct Files {
    pub(super) one: PathBuf,
    pub(super) distinct: PathBuf,
}

impl Mint {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self { key: KeyPair::generate(KeySize::Rsa2048).map_err(|_| anyhow!("cannot make an RSA key"))? })
    }

    /// Publishes the key set and writes the tokens.
    pub(super) fn write(&self, stage: &Stage, effort: Effort) -> anyhow::Result<Files> {
        stage.publish_keys(&self.jwks())?;
        let files = Files { one: stage.path("one.txt"), distinct: stage.path("distinct.txt") };
        fs::write(&files.one, self.token(&stage.issuer(), 0)?)?;
        let count = DISTINCT_TOKENS_PER_SECOND * effort.seconds;
        fs::write(&files.distinct, self.many(&stage.issuer(), count)?).context("writing the distinct tokens")?;
        Ok(files)
    }

    fn many(&self, issuer: &str, count: u64) -> anyhow::Result<String> {
        let part = |from: u64, to: u64| -> anyhow::Result<String> {
            let mut text = String::new();
            for serial in from..to {
                writeln!(text, "{}", self.token(issuer, serial)?)?;
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

    fn token(&self, issuer: &str, serial: u64) -> anyhow::Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let claims = json!({
            "ver": 1, "jti": format!("AT.{serial:043}"), "iss": issuer, "aud": AUDIENCE, "iat": now, "exp": now + 3600,
            "cid": "0oaBenchClient000001", "scp": ["items"], "sub": "0oaBenchClient000001",
        });
        let header = json!({"kid": KEY_ID, "alg": "RS256"});
        let mut token = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), token.as_bytes(), &mut signature)
            .map_err(|_| anyhow!("cannot sign"))?;
        write!(token, ".{}", B64.encode(signature))?;
        Ok(token)
    }

    fn jwks(&self) -> String {
        let public = self.key.public_key();
        let text = |bytes: &[u8]| B64.encode(bytes);
        json!({"keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID,
            "n": text(public.modulus().big_endian_without_leading_zero()),
            "e": text(public.exponent().big_endian_without_leading_zero()),
        }]})
        .to_string()
    }
}
