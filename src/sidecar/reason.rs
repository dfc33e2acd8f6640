//! The closed list of reasons why a request is refused. The same word stands in the answer, the access log and the
//! metric; nothing else in the product invents one.

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// No credentials were sent.
    MissingToken,
    /// Not three base64url parts of JSON, or a member of the wrong type (RFC 7515, RFC 7519).
    MalformedToken,
    /// An algorithm outside the issuer's list, `none` included.
    UnsupportedAlgorithm,
    /// No key of the issuer's current set has this `kid`.
    UnknownKey,
    /// The signature does not verify under the issuer's key.
    BadSignature,
    /// `exp` has passed.
    Expired,
    /// `nbf` or `iat` lies ahead.
    NotYetValid,
    /// `iss` is none of the configured issuers.
    IssuerMismatch,
    /// `aud` names none of the configured audiences.
    AudienceMismatch,
    /// An ID token, a DPoP proof or another JWT that is no access token.
    WrongTokenType,
    /// A JWE: five parts.
    EncryptedToken,
    /// The issuer says that the token is not active (RFC 7662).
    Inactive,
    /// The token lacks a scope of the route (RFC 6750 section 3.1).
    InsufficientScope,
    /// The route's rule on claims does not hold, or could not be evaluated.
    ClaimsDenied,
    /// The route is closed to everybody.
    RouteDenied,
    /// Routes name this path, none with this method.
    MethodNotAllowed,
    /// A malformed request or credentials sent twice.
    BadRequest,
    /// A path that could mean different things to us and to the app.
    BadPath,
    /// The app's answer to a WebSocket handshake is wrong, or a switch of protocols that nobody asked for.
    UpgradeRefused,
    /// A token bound to a key or certificate was sent without proof of it (RFC 9449, RFC 8705).
    SenderMismatch,
    /// A bound token came without a DPoP proof, or an unbound one where only bound ones are taken (RFC 9449).
    DpopMissing,
    /// The DPoP proof does not hold (RFC 9449 section 4.3).
    DpopInvalid,
    /// The DPoP proof was used before (RFC 9449 section 11.1).
    DpopReplayed,
    /// The DPoP proof must carry a nonce of ours (RFC 9449 section 9).
    DpopNonceRequired,
    /// The token request is not `application/x-www-form-urlencoded`.
    UnsupportedMediaType,
    /// The body is over the limit.
    BodyTooLarge,
    /// The header is over the limit.
    HeadersTooLarge,
    /// The client was too slow.
    RequestTimeout,
    /// The caller is over its own limit: the issuer's for its client, or ours for the DPoP proofs of one key.
    CallerLimited,
    /// The caller's client credentials are missing or wrong.
    InvalidClient,
    /// A scope that the broker does not hand out.
    InvalidScope,
    /// A grant that the broker does not offer.
    UnsupportedGrantType,
    /// The issuer cannot be reached.
    IdpUnreachable,
    /// The issuer limits us.
    IdpRateLimited,
    /// The issuer's answer is no valid one, or it refused our own client.
    IdpError,
    /// The app cannot be reached.
    UpstreamUnreachable,
    /// The app did not answer in time.
    UpstreamTimeout,
    /// We are at a limit of our own.
    Overloaded,
}

impl Reason {
    /// Every reason, for metrics and docs.
    pub const ALL: [Self; 38] = [
        Self::MissingToken,
        Self::MalformedToken,
        Self::UnsupportedAlgorithm,
        Self::UnknownKey,
        Self::BadSignature,
        Self::Expired,
        Self::NotYetValid,
        Self::IssuerMismatch,
        Self::AudienceMismatch,
        Self::WrongTokenType,
        Self::EncryptedToken,
        Self::Inactive,
        Self::InsufficientScope,
        Self::ClaimsDenied,
        Self::RouteDenied,
        Self::MethodNotAllowed,
        Self::BadRequest,
        Self::BadPath,
        Self::UpgradeRefused,
        Self::SenderMismatch,
        Self::DpopMissing,
        Self::DpopInvalid,
        Self::DpopReplayed,
        Self::DpopNonceRequired,
        Self::UnsupportedMediaType,
        Self::BodyTooLarge,
        Self::HeadersTooLarge,
        Self::RequestTimeout,
        Self::CallerLimited,
        Self::InvalidClient,
        Self::InvalidScope,
        Self::UnsupportedGrantType,
        Self::IdpUnreachable,
        Self::IdpRateLimited,
        Self::IdpError,
        Self::UpstreamUnreachable,
        Self::UpstreamTimeout,
        Self::Overloaded,
    ];

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingToken => "missing_token",
            Self::MalformedToken => "malformed_token",
            Self::UnsupportedAlgorithm => "unsupported_algorithm",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::IssuerMismatch => "issuer_mismatch",
            Self::AudienceMismatch => "audience_mismatch",
            Self::WrongTokenType => "wrong_token_type",
            Self::EncryptedToken => "encrypted_token",
            Self::Inactive => "inactive",
            Self::InsufficientScope => "insufficient_scope",
            Self::ClaimsDenied => "claims_denied",
            Self::RouteDenied => "route_denied",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BadRequest => "bad_request",
            Self::BadPath => "bad_path",
            Self::UpgradeRefused => "upgrade_refused",
            Self::SenderMismatch => "sender_mismatch",
            Self::DpopMissing => "dpop_missing",
            Self::DpopInvalid => "dpop_invalid",
            Self::DpopReplayed => "dpop_replayed",
            Self::DpopNonceRequired => "dpop_nonce_required",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::BodyTooLarge => "body_too_large",
            Self::HeadersTooLarge => "headers_too_large",
            Self::RequestTimeout => "request_timeout",
            Self::CallerLimited => "caller_limited",
            Self::InvalidClient => "invalid_client",
            Self::InvalidScope => "invalid_scope",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::IdpUnreachable => "idp_unreachable",
            Self::IdpRateLimited => "idp_rate_limited",
            Self::IdpError => "idp_error",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::Overloaded => "overloaded",
        }
    }
}
