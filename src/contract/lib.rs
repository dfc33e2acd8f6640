//! What the operator writes and the sidecar reads: the configuration file, the hints, the report on `/config`, and the names,
//! ports and paths that both must agree on. It decides nothing and knows no other crate of this workspace.

pub mod config;
pub mod data_path;
pub mod header_names;
pub mod hints;
pub mod names;
pub mod report;

pub use config::{
    Access, Algorithm, BrokerConfig, ClientAuthMethod, ClientConfig, DefaultAccess, DpopMode, DpopNonce,
    EndpointsConfig, IntrospectionConfig, IssuerConfig, LogLevel, OnOutage, PathMatch, PolicyHash, RouteConfig,
    ScopesConfig, SidecarConfig, TokenProfile, ValidationMode,
};
pub use data_path::{
    AccessLogConfig, ArrayForm, AtExpiry, AuthorizationHeader, ClaimHeader, ClientCertificates, CorsConfig, OddSlash,
    PathsConfig, StreamsConfig, TlsConfig, TracingConfig, UpstreamAddress, UpstreamConfig, UpstreamProtocol,
    UpstreamTimeouts, UpstreamTls, WebSocketToken,
};
pub use hints::{Hints, IssuerHints, KeySource, SeededKeys};
pub use report::{IssuerReport, Problem, ProblemCode, SidecarReport};
