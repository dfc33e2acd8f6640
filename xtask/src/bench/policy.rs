//! What the sidecar under measurement enforces: the route and scope of the items API, with the tokens of one row. It
//! runs nothing.

use std::path::Path;

use tollgate_contract::{
    Access, AccessLogConfig, Algorithm, ClientAuthMethod, ClientConfig, CorsConfig, DefaultAccess, IssuerConfig,
    LogLevel, PathMatch, PathsConfig, RouteConfig, ScopesConfig, SidecarConfig, StreamsConfig, UpstreamConfig,
    ValidationMode,
};

pub(super) const AUDIENCE: &str = "api://bench";

/// The issuer's name.
pub(super) const ISSUER: &str = "bench";

/// How tokens are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// By their signature.
    Local(Algorithm),
    /// By asking.
    Introspection,
}

/// The configuration for an app on `upstream_port` and tokens of `issuer`; `credentials` has a client's files.
pub(super) fn config(issuer: String, upstream_port: u16, judgement: Judgement, credentials: &Path) -> SidecarConfig {
    let defaults = IssuerConfig::new(ISSUER, issuer, vec![AUDIENCE.to_owned()]);
    let issuer = match judgement {
        Judgement::Local(algorithm) => IssuerConfig { algorithms: vec![algorithm], allow_http: true, ..defaults },
        Judgement::Introspection => IssuerConfig {
            validation: ValidationMode::Introspection,
            client: Some(ClientConfig {
                credentials_dir: credentials.display().to_string(),
                auth_method: ClientAuthMethod::ClientSecretBasic,
            }),
            allow_http: true,
            ..defaults
        },
    };
    SidecarConfig {
        namespace: "bench".to_owned(),
        name: "items".to_owned(),
        issuers: vec![issuer],
        default_access: DefaultAccess::Authenticated,
        routes: vec![RouteConfig {
            name: "items-read".to_owned(),
            path: PathMatch::Prefix("/items".to_owned()),
            methods: vec!["GET".to_owned()],
            access: Access::Authenticated,
            scopes: ScopesConfig { all_of: vec!["items".to_owned()], any_of: Vec::new() },
            issuers: Vec::new(),
            when: None,
        }],
        token_broker: None,
        external_urls: Vec::new(),
        trusted_proxies: Vec::new(),
        upstream: UpstreamConfig::new(upstream_port),
        paths: PathsConfig::default(),
        streams: StreamsConfig::default(),
        cors: CorsConfig::default(),
        tls: None,
        max_body_bytes: None,
        access_log: AccessLogConfig::default(),
        tracing: None,
        log_level: LogLevel::Warn,
    }
}
