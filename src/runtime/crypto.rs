//! The one crypto provider of the process: aws-lc-rs. It decides nothing else.

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// Makes aws-lc-rs the provider for every TLS connection of this process. Safe to call more than once.
pub fn install_provider() {
    if CryptoProvider::get_default().is_none() {
        // A lost race means that another thread has just installed the same provider.
        let _ = aws_lc_rs::default_provider().install_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installing_twice_keeps_the_provider() {
        install_provider();
        install_provider();
        assert!(CryptoProvider::get_default().is_some());
    }
}
