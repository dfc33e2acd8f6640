//! Who causes a call to the issuer: what is already known of the token or the credentials decides which part of the
//! issuer's rate limit the call may use. It judges nobody; `auth` and `broker` say what they know.

use std::net::IpAddr;

/// What is known of whoever a call is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A token or credentials that were seen good.
    Known,
    /// A token that is good under its issuer's key.
    Sound,
    /// Nothing: anybody at this address can cause such calls.
    Stranger(IpAddr),
}
