//! What each reason means: its HTTP status and its title. A table and nothing else.
//!
//! 401 where a token could fix it, 403 where it could not, 400 for a broken request, 5xx where it is not the caller's
//! fault.

use http::StatusCode;

use crate::reason::Reason;

/// The status that belongs to a reason.
#[must_use]
pub fn status(reason: Reason) -> StatusCode {
    match reason {
        Reason::MissingToken
        | Reason::MalformedToken
        | Reason::UnsupportedAlgorithm
        | Reason::UnknownKey
        | Reason::BadSignature
        | Reason::Expired
        | Reason::NotYetValid
        | Reason::IssuerMismatch
        | Reason::AudienceMismatch
        | Reason::WrongTokenType
        | Reason::EncryptedToken
        | Reason::Inactive
        | Reason::SenderMismatch
        | Reason::DpopMissing
        | Reason::DpopInvalid
        | Reason::DpopReplayed
        | Reason::DpopNonceRequired
        | Reason::InvalidClient => StatusCode::UNAUTHORIZED,
        Reason::InsufficientScope | Reason::ClaimsDenied | Reason::RouteDenied => StatusCode::FORBIDDEN,
        Reason::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Reason::BadRequest | Reason::BadPath | Reason::InvalidScope | Reason::UnsupportedGrantType => {
            StatusCode::BAD_REQUEST
        }
        Reason::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Reason::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Reason::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Reason::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        Reason::CallerLimited => StatusCode::TOO_MANY_REQUESTS,
        Reason::IdpUnreachable | Reason::IdpRateLimited | Reason::IdpError | Reason::Overloaded => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Reason::UpstreamUnreachable | Reason::UpgradeRefused => StatusCode::BAD_GATEWAY,
        Reason::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// What a reason means, for a person, the same for every request.
pub(super) fn title(reason: Reason) -> &'static str {
    match reason {
        Reason::MissingToken => "An access token is needed",
        Reason::MalformedToken => "The access token is malformed",
        Reason::UnsupportedAlgorithm => "The access token is signed with an algorithm that is not accepted",
        Reason::UnknownKey => "The access token is signed with an unknown key",
        Reason::BadSignature => "The access token's signature is wrong",
        Reason::Expired => "The access token has expired",
        Reason::NotYetValid => "The access token is not valid yet",
        Reason::IssuerMismatch => "The access token is from another issuer",
        Reason::AudienceMismatch => "The access token is for another audience",
        Reason::WrongTokenType => "The token is no access token",
        Reason::EncryptedToken => "The access token is encrypted",
        Reason::Inactive => "The access token is not active",
        Reason::InsufficientScope => "The access token lacks a scope",
        Reason::ClaimsDenied => "The access token's claims do not allow this",
        Reason::RouteDenied => "This path is closed",
        Reason::MethodNotAllowed => "This path does not take this method",
        Reason::BadRequest => "The request is malformed",
        Reason::UpgradeRefused => "The API did not open the WebSocket rightly",
        Reason::BadPath => "The path is ambiguous",
        Reason::SenderMismatch => "The access token is bound to another sender",
        Reason::DpopMissing => "A proof of possession is needed",
        Reason::DpopInvalid => "The proof of possession does not hold",
        Reason::DpopReplayed => "The proof of possession was used before",
        Reason::DpopNonceRequired => "The proof of possession needs a nonce",
        Reason::UnsupportedMediaType => "The media type is not accepted",
        Reason::BodyTooLarge => "The body is too large",
        Reason::HeadersTooLarge => "The headers are too large",
        Reason::RequestTimeout => "The request took too long to arrive",
        Reason::CallerLimited => "Too many requests",
        Reason::InvalidClient => "The client credentials are missing or wrong",
        Reason::InvalidScope => "The scope is not available here",
        Reason::UnsupportedGrantType => "The grant is not available here",
        Reason::IdpUnreachable => "The authorization server cannot be reached",
        Reason::IdpRateLimited => "The authorization server limits requests",
        Reason::IdpError => "The authorization server failed",
        Reason::UpstreamUnreachable => "The API cannot be reached",
        Reason::UpstreamTimeout => "The API did not answer in time",
        Reason::Overloaded => "Too busy",
    }
}
