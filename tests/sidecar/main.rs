//! The sidecar in process, over real sockets: callers that send whatever bytes they like, an app that records what
//! arrives, an issuer with faults on demand.

mod admin;
mod auth;
mod body_limit;
mod broker;
mod cors;
mod dpop;
mod drain;
mod endurance;
mod explained;
mod failures;
mod forwarding;
mod framing;
mod h2spec;
mod headers;
mod hints;
mod hostile;
mod http2;
mod introspection;
mod keys;
mod log;
mod modes;
mod okta_verifiers;
mod outage;
mod routes;
mod rules;
mod scene;
mod secrecy;
mod sender;
mod streaming;
mod tls;
mod traces;
mod upstream;
mod wire;
mod world;
