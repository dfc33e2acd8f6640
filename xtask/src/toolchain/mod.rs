//! What a fresh machine lacks: Debian packages, and Kubernetes with its companions built once from Go modules.

pub mod apt;
mod go;

pub use go::{ALL, OAUTH2_PROXY, Tool, ensure, path};
