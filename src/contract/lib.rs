//! What the operator writes and the sidecar reads: the configuration file, the report on `/config`, and the names,
//! ports and paths that both must agree on. It decides nothing and knows no other crate of this workspace.

pub mod config;
pub mod names;
pub mod report;

pub use config::{
    Access, BrokerConfig, ClientAuthMethod, ClientConfig, DefaultAccess, IntrospectionConfig, IssuerConfig, LogLevel,
    PathMatch, PolicyHash, RouteConfig, ScopesConfig, SidecarConfig, UpstreamConfig, ValidationMode,
};
pub use report::{IssuerReport, Problem, ProblemCode, SidecarReport};
