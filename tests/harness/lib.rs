//! What the tests share.

pub mod apiserver;
pub mod app;
pub mod browser;
pub mod certificates;
pub mod collector;
pub mod compact;
pub mod endurance;
pub mod forward;
pub mod grpc;
pub mod http2;
pub mod issuer;
pub mod keys;
pub mod kubernetes;
pub mod load;
pub mod mint;
pub mod proof;
pub mod raw;
pub mod rendered;
pub mod swagger_ui;
pub mod upstream;
pub mod wait;
pub mod websocket;

/// Makes aws-lc-rs the process's crypto provider, as the binaries do; calling it again changes nothing.
pub fn install_crypto() {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
