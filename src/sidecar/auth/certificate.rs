//! Decides whether a token that is bound to a certificate came over a connection whose caller showed it (RFC 8705 section
//! 3). Pure. That the caller holds the certificate's key, and that a CA of the policy stands for it, was the handshake's
//! part; where none was asked for, nobody has shown one.

use crate::identity::{Binding, Thumbprint};
use crate::reason::Reason;
use crate::rejection::Rejection;

/// `shown` = what the connection's caller showed.
pub(super) fn check(bound_to: Option<Binding>, shown: Option<Thumbprint>) -> Result<(), Rejection> {
    match bound_to {
        Some(Binding::Certificate(bound)) if shown != Some(bound) => {
            let detail = "The token is bound to a certificate that this connection's caller did not show.";
            Err(Rejection::new(Reason::SenderMismatch, detail))
        }
        Some(Binding::Certificate(_) | Binding::Key(_)) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_certificate_will_do() {
        let (own, other) = (Thumbprint([1; 32]), Thumbprint([2; 32]));
        for (bound_to, shown, passes) in [
            (Some(Binding::Certificate(own)), Some(own), true),
            (Some(Binding::Certificate(own)), Some(other), false),
            (Some(Binding::Certificate(own)), None, false),
            (Some(Binding::Key(own)), None, true),
            (Some(Binding::Key(own)), Some(other), true),
            (None, Some(own), true),
            (None, None, true),
        ] {
            let checked = check(bound_to, shown).map_err(|rejection| rejection.reason);
            let expected = if passes { Ok(()) } else { Err(Reason::SenderMismatch) };
            assert_eq!(checked, expected, "{bound_to:?} {shown:?}");
        }
    }
}
