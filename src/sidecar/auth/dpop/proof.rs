//! Reads a DPoP proof (RFC 9449 section 4.2): its form, its key, its claims, each of the right type. Pure. Whether it
//! fits the request, the token and the time is decided by the caller.

use http::{HeaderMap, HeaderName};

use super::fault::Fault;
use crate::identity::Thumbprint;
use crate::jose::json::{self, Object};
use crate::jose::{Algorithm, Compact, CompactError, JwkError, PublicKey};

const DPOP: HeaderName = HeaderName::from_static("dpop");

/// With RSA keys of 8192 bits, the longest taken, a proof has some 4 KiB.
const LONGEST_PROOF: usize = 8 * 1024;
/// A UUID has 36 characters, a hash 43.
const LONGEST_JTI: usize = 256;

/// A well-formed proof. Nothing in it is trusted yet.
pub(super) struct Proof<'a> {
    signed: Compact<'a>,
    algorithm: Algorithm,
    key: PublicKey,
    /// `htm`
    pub(super) method: String,
    /// `htu`
    pub(super) url: String,
    /// `iat`, seconds since the epoch.
    pub(super) issued_at: f64,
    /// `jti`
    pub(super) id: String,
    /// `ath`
    pub(super) token_hash: String,
    /// `nonce`
    pub(super) nonce: Option<String>,
}

impl<'a> Proof<'a> {
    /// The proof in the one `DPoP` header of a request.
    pub(super) fn of(headers: &'a HeaderMap) -> Result<Self, Fault> {
        let mut values = headers.get_all(DPOP).iter();
        let value = values.next().ok_or(Fault::Missing)?;
        if values.next().is_some() {
            return Err(Fault::Repeated);
        }
        match value.to_str() {
            Ok(text) if text.len() <= LONGEST_PROOF => Self::read(text),
            _ => Err(Fault::Unreadable),
        }
    }

    fn read(text: &'a str) -> Result<Self, Fault> {
        let signed = Compact::parse(text).map_err(|_| Fault::Form)?;
        if signed.header().get("typ").and_then(|kind| kind.as_str()) != Some("dpop+jwt") {
            return Err(Fault::Type);
        }
        let algorithm = signed.algorithm(&Algorithm::ALL).map_err(|error| match error {
            CompactError::NoAlgorithm | CompactError::Algorithm => Fault::Algorithm,
            CompactError::Parts | CompactError::Header | CompactError::Extension => Fault::Form,
        })?;
        let jwk = signed.header().get("jwk").and_then(|jwk| jwk.as_object()).ok_or(Fault::NoKey)?;
        let key = PublicKey::from_jwk(jwk, &[algorithm]).map_err(|error| match error {
            JwkError::Private => Fault::PrivateKey,
            _ => Fault::UnfitKey,
        })?;
        let claims = json::object(signed.payload()).ok_or(Fault::Claims)?;
        let id = text_of(&claims, "jti").filter(|id| (1..=LONGEST_JTI).contains(&id.len()));
        Ok(Self {
            method: text_of(&claims, "htm").ok_or(Fault::Claims)?,
            url: text_of(&claims, "htu").ok_or(Fault::Claims)?,
            // JSON has no numbers that are not finite.
            issued_at: claims.get("iat").and_then(|iat| iat.as_f64()).ok_or(Fault::Claims)?,
            id: id.ok_or(Fault::Claims)?,
            token_hash: text_of(&claims, "ath").ok_or(Fault::Claims)?,
            nonce: claims
                .get("nonce")
                .map(|nonce| nonce.as_str().map(str::to_owned).ok_or(Fault::Claims))
                .transpose()?,
            signed,
            algorithm,
            key,
        })
    }

    /// The thumbprint of its key.
    pub(super) fn made_with(&self) -> Thumbprint {
        Thumbprint(self.key.thumbprint())
    }

    /// Whether its key made its signature.
    pub(super) fn is_signed(&self) -> bool {
        self.signed.is_signed_by(&self.key, self.algorithm)
    }
}

fn text_of(claims: &Object, name: &str) -> Option<String> {
    claims.get(name)?.as_str().map(str::to_owned)
}
