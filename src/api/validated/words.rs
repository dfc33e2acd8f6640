//! The resource's words as the configuration's. It decides nothing.

use tollgate_contract::{
    Access, Algorithm, ArrayForm, AuthorizationHeader, ClientAuthMethod, DefaultAccess, DpopMode, DpopNonce, LogLevel,
    OddSlash, TokenProfile, UpstreamAddress, UpstreamProtocol, ValidationMode, WebSocketToken,
};

use crate::types;

impl From<types::ValidationMode> for ValidationMode {
    fn from(mode: types::ValidationMode) -> Self {
        match mode {
            types::ValidationMode::Local => Self::Local,
            types::ValidationMode::Introspection => Self::Introspection,
            types::ValidationMode::LocalAndIntrospection => Self::LocalAndIntrospection,
        }
    }
}

impl From<types::AuthMethod> for ClientAuthMethod {
    fn from(method: types::AuthMethod) -> Self {
        match method {
            types::AuthMethod::ClientSecretBasic => Self::ClientSecretBasic,
            types::AuthMethod::ClientSecretPost => Self::ClientSecretPost,
        }
    }
}

impl From<types::Access> for Access {
    fn from(access: types::Access) -> Self {
        match access {
            types::Access::Public => Self::Public,
            types::Access::Authenticated => Self::Authenticated,
            types::Access::Denied => Self::Denied,
        }
    }
}

impl From<types::DefaultAccess> for DefaultAccess {
    fn from(access: types::DefaultAccess) -> Self {
        match access {
            types::DefaultAccess::Authenticated => Self::Authenticated,
            types::DefaultAccess::Denied => Self::Denied,
        }
    }
}

impl From<types::LogLevel> for LogLevel {
    fn from(level: types::LogLevel) -> Self {
        match level {
            types::LogLevel::Error => Self::Error,
            types::LogLevel::Warn => Self::Warn,
            types::LogLevel::Info => Self::Info,
            types::LogLevel::Debug => Self::Debug,
        }
    }
}

impl From<types::Algorithm> for Algorithm {
    fn from(algorithm: types::Algorithm) -> Self {
        match algorithm {
            types::Algorithm::Rs256 => Self::Rs256,
            types::Algorithm::Rs384 => Self::Rs384,
            types::Algorithm::Rs512 => Self::Rs512,
            types::Algorithm::Ps256 => Self::Ps256,
            types::Algorithm::Ps384 => Self::Ps384,
            types::Algorithm::Ps512 => Self::Ps512,
            types::Algorithm::Es256 => Self::Es256,
            types::Algorithm::Es384 => Self::Es384,
            types::Algorithm::Es512 => Self::Es512,
            types::Algorithm::EdDsa => Self::EdDsa,
        }
    }
}

impl From<types::TokenProfile> for TokenProfile {
    fn from(profile: types::TokenProfile) -> Self {
        match profile {
            types::TokenProfile::Okta => Self::Okta,
            types::TokenProfile::Rfc9068 => Self::Rfc9068,
        }
    }
}

impl From<types::DpopMode> for DpopMode {
    fn from(mode: types::DpopMode) -> Self {
        match mode {
            types::DpopMode::Refuse => Self::Refuse,
            types::DpopMode::Accept => Self::Accept,
            types::DpopMode::Require => Self::Require,
        }
    }
}

impl From<types::DpopNonce> for DpopNonce {
    fn from(nonce: types::DpopNonce) -> Self {
        match nonce {
            types::DpopNonce::None => Self::None,
            types::DpopNonce::PerPod => Self::PerPod,
        }
    }
}

impl From<types::UpstreamAddress> for UpstreamAddress {
    fn from(address: types::UpstreamAddress) -> Self {
        match address {
            types::UpstreamAddress::Loopback => Self::Loopback,
            types::UpstreamAddress::Pod => Self::Pod,
        }
    }
}

impl From<types::UpstreamProtocol> for UpstreamProtocol {
    fn from(protocol: types::UpstreamProtocol) -> Self {
        match protocol {
            types::UpstreamProtocol::Http1 => Self::Http1,
            types::UpstreamProtocol::H2c => Self::H2c,
        }
    }
}

impl From<types::ArrayForm> for ArrayForm {
    fn from(form: types::ArrayForm) -> Self {
        match form {
            types::ArrayForm::Json => Self::Json,
            types::ArrayForm::Comma => Self::Comma,
        }
    }
}

impl From<types::AuthorizationHeader> for AuthorizationHeader {
    fn from(header: types::AuthorizationHeader) -> Self {
        match header {
            types::AuthorizationHeader::Forward => Self::Forward,
            types::AuthorizationHeader::Strip => Self::Strip,
        }
    }
}

impl From<types::OddSlash> for OddSlash {
    fn from(slash: types::OddSlash) -> Self {
        match slash {
            types::OddSlash::Reject => Self::Reject,
            types::OddSlash::Keep => Self::Keep,
        }
    }
}

impl From<types::WebSocketToken> for WebSocketToken {
    fn from(place: types::WebSocketToken) -> Self {
        match place {
            types::WebSocketToken::Header => Self::Header,
            types::WebSocketToken::Subprotocol => Self::Subprotocol,
        }
    }
}
