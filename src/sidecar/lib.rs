//! The auth sidecar. One request reads top-down: `server` takes it, `path` and `route` find the rule, `auth` judges
//! the token, `route` the scopes, `proxy` forwards it to the app; `broker` answers token requests; any failure becomes
//! a [`rejection::Rejection`] that `rescue` alone turns into an answer. `route`, `path`, `jose` and `auth::claims` are
//! pure; `auth` and `broker` share only `idp`, which alone talks to the issuer.
//!
//! [`Sidecar::start`] is the whole of it: policy first, then the issuers, then the ports.

pub mod access_log;
mod admin;
mod alarm;
pub mod auth;
pub mod broker;
pub mod claim_headers;
mod cors;
pub mod external;
#[cfg(fuzzing)]
pub mod fuzzing;
mod grpc;
mod header_names;
pub mod identity;
pub mod idp;
mod intake;
mod jose;
mod limits;
pub mod metrics;
pub mod path;
mod places;
pub mod policy;
mod protected_resource;
mod proxy;
pub mod reason;
pub mod rejection;
pub mod rescue;
pub mod route;
mod server;
mod start;
#[cfg(test)]
pub mod testkit;
mod trace;

pub use limits::Limits;
pub use proxy::UpstreamError;
pub use start::{AccessLogTo, DrainTimes, Options, Sidecar, StartError};
