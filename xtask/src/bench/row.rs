//! What is measured under full load, in the order of a round. The rows that are compared stand next to each other, so that
//! the machine is in the same mood for both.

use tollgate_contract::Algorithm;

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Row {
    Direct,
    Nginx,
    BareHyper,
    CachedToken,
    CachedTokenLogged,
    IntrospectedCached,
    EnvoyCached,
    EnvoyPlain,
    EnvoyDefault,
    EveryTokenNew(Algorithm),
    IntrospectedNew,
    Oauth2Proxy,
}

impl Row {
    pub(super) const ALL: [Self; 14] = [
        Self::Direct,
        Self::Nginx,
        Self::BareHyper,
        Self::CachedToken,
        Self::CachedTokenLogged,
        Self::IntrospectedCached,
        Self::EnvoyCached,
        Self::EnvoyPlain,
        Self::EnvoyDefault,
        Self::EveryTokenNew(Algorithm::Rs256),
        Self::EveryTokenNew(Algorithm::Es256),
        Self::EveryTokenNew(Algorithm::EdDsa),
        Self::IntrospectedNew,
        Self::Oauth2Proxy,
    ];

    pub(super) fn title(self) -> String {
        match self {
            Self::Direct => "upstream itself".to_owned(),
            Self::Nginx => "nginx, plain forwarding".to_owned(),
            Self::BareHyper => "bare hyper proxy, plain forwarding".to_owned(),
            Self::CachedToken => "sidecar, one token".to_owned(),
            Self::CachedTokenLogged => "sidecar, one token, access log on".to_owned(),
            Self::IntrospectedCached => "sidecar, one opaque token, introspected".to_owned(),
            Self::EnvoyCached => "Envoy, jwt_authn with its token cache, one token".to_owned(),
            Self::EnvoyPlain => "Envoy, plain forwarding".to_owned(),
            Self::EnvoyDefault => "Envoy, jwt_authn, each signature checked".to_owned(),
            Self::EveryTokenNew(algorithm) => format!("sidecar, every token new ({})", algorithm.as_str()),
            Self::IntrospectedNew => "sidecar, every opaque token new, issuer answers in 20 ms".to_owned(),
            Self::Oauth2Proxy => "oauth2-proxy, bearer tokens, one token".to_owned(),
        }
    }

    /// What `--only` is compared with.
    pub(super) fn key(self) -> String {
        match self {
            Self::Direct => "direct".to_owned(),
            Self::Nginx => "nginx".to_owned(),
            Self::BareHyper => "bare-hyper".to_owned(),
            Self::CachedToken => "sidecar-cached".to_owned(),
            Self::CachedTokenLogged => "sidecar-logged".to_owned(),
            Self::IntrospectedCached => "sidecar-introspect-cached".to_owned(),
            Self::EnvoyCached => "envoy-cached".to_owned(),
            Self::EnvoyPlain => "envoy-plain".to_owned(),
            Self::EnvoyDefault => "envoy-default".to_owned(),
            Self::EveryTokenNew(algorithm) => format!("sidecar-new-{}", algorithm.as_str().to_ascii_lowercase()),
            Self::IntrospectedNew => "sidecar-introspect-new".to_owned(),
            Self::Oauth2Proxy => "oauth2-proxy".to_owned(),
        }
    }
}
