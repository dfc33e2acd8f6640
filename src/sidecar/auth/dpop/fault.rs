//! What can be wrong with how a bound token is presented, and what each fault means to the caller. It decides nothing
//! else, and says nothing that the caller sent.

use crate::reason::Reason;
use crate::rejection::Rejection;

/// Why a proof, or a token that needs one, is refused. In the order of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// `DPoP` where no issuer's bound tokens are taken.
    NotOffered,
    /// A bound token as `Bearer` (RFC 9449 section 7.2).
    SentAsBearer,
    /// A token that is not bound, as `DPoP`.
    NotBound,
    /// A bound token of an issuer whose bound tokens are not taken.
    NotTaken,
    /// An unbound token of an issuer whose bound tokens alone are taken.
    BoundOnly,
    /// No `DPoP` header.
    Missing,
    /// Several.
    Repeated,
    /// Over the limit, or not ASCII.
    Unreadable,
    /// Not a JWS in compact form, or an extension in its header.
    Form,
    /// `typ` is not `dpop+jwt`.
    Type,
    /// `alg` is missing, `none`, symmetric or unknown.
    Algorithm,
    /// `jwk` is missing or no object.
    NoKey,
    /// `jwk` holds a private key.
    PrivateKey,
    /// `jwk` is malformed, weak, or of another kind than `alg`.
    UnfitKey,
    /// A claim is missing or of a wrong type.
    Claims,
    /// `htm` is another method.
    Method,
    /// `htu` is another URL.
    Url,
    /// `iat` is too far from now.
    Time,
    /// `ath` is another token's hash.
    TokenHash,
    /// The token is bound to another key.
    OtherKey,
    /// The signature is not `jwk`'s.
    Signature,
    /// There is no nonce, or none of those handed out lately.
    Nonce,
    /// It was used before.
    Replayed,
    /// Its key has as many in use as one key may.
    KeyFull,
    /// It cannot be remembered, so it cannot be taken.
    NoRoom,
}

impl Fault {
    /// The refusal, without a nonce or a time to come back.
    pub(super) fn rejection(self) -> Rejection {
        let (reason, detail) = match self {
            Self::NotOffered => (
                Reason::SenderMismatch,
                "DPoP is not offered here; send a token that is not bound to a key, as Bearer.",
            ),
            Self::SentAsBearer => {
                (Reason::SenderMismatch, "The token is bound to a key; send it as DPoP with a proof.")
            }
            Self::NotBound => (Reason::SenderMismatch, "The token is not bound to a key; it cannot be sent as DPoP."),
            Self::NotTaken => {
                (Reason::SenderMismatch, "The token is bound to a key, and such tokens are not taken here.")
            }
            Self::BoundOnly => {
                (Reason::DpopMissing, "Only tokens that are bound to a key are taken, with a DPoP proof.")
            }
            Self::Missing => (Reason::DpopMissing, "The token was sent without a DPoP proof."),
            Self::Repeated => (Reason::DpopInvalid, "More than one DPoP header was sent."),
            Self::Unreadable => (Reason::DpopInvalid, "The DPoP proof is too long or holds characters no proof has."),
            Self::Form => (Reason::DpopInvalid, "The DPoP proof is not a signed JWT without extensions."),
            Self::Type => (Reason::DpopInvalid, "The DPoP proof's type (typ) is not dpop+jwt."),
            Self::Algorithm => (Reason::DpopInvalid, "The DPoP proof's algorithm (alg) is not accepted."),
            Self::NoKey => (Reason::DpopInvalid, "The DPoP proof names no key (jwk)."),
            Self::PrivateKey => (Reason::DpopInvalid, "The DPoP proof's key (jwk) is a private one."),
            Self::UnfitKey => (Reason::DpopInvalid, "The DPoP proof's key (jwk) is no sound key for its algorithm."),
            Self::Claims => {
                (Reason::DpopInvalid, "The DPoP proof lacks htm, htu, iat, jti or ath, or one of them is not sound.")
            }
            Self::Method => (Reason::DpopInvalid, "The DPoP proof is for another method (htm)."),
            Self::Url => (Reason::DpopInvalid, "The DPoP proof is for another URL (htu)."),
            Self::Time => (Reason::DpopInvalid, "The DPoP proof was not made just now (iat)."),
            Self::TokenHash => (Reason::DpopInvalid, "The DPoP proof is for another token (ath)."),
            Self::OtherKey => (Reason::SenderMismatch, "The token is bound to another key than the DPoP proof's."),
            Self::Signature => (Reason::DpopInvalid, "The DPoP proof's signature does not verify under its key."),
            Self::Nonce => (Reason::DpopNonceRequired, "The DPoP proof must carry the nonce of this answer."),
            Self::Replayed => (Reason::DpopReplayed, "The DPoP proof was used before; make one for each request."),
            Self::KeyFull => {
                (Reason::CallerLimited, "Too many DPoP proofs of this key are in use; this one was not taken.")
            }
            Self::NoRoom => (Reason::Overloaded, "Too many DPoP proofs are in use; this one was not taken."),
        };
        Rejection::new(reason, detail)
    }
}
