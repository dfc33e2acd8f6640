//! Who causes a call to the issuer: what is already known of the token or the credentials decides which part of the
//! issuer's rate limit the call may use. It judges nobody; `auth` and `broker` say what they know.

use std::net::{IpAddr, Ipv6Addr};

use super::digest::TokenDigest;

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

/// A stranger's address as far as it tells one from another: of IPv6 the network, as a host has 2^64 addresses in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Peer(IpAddr);

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
            v4 => v4,
        })
    }
}

/// Which part of our calls a call belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// A question about a token that was seen good: nobody is to lose what works.
    Known,
    /// A sound token, or credentials that were seen good: no flood of made-up ones gets here.
    Trusted,
    /// The same while the issuer does not answer: to see whether it does again.
    Probe,
    /// All else.
    Stranger(Peer),
}

impl Lane {
    /// The word for metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Known | Self::Trusted | Self::Probe => "trusted",
            Self::Stranger(_) => "stranger",
        }
    }

    pub(crate) fn is_trusted(self) -> bool {
        !matches!(self, Self::Stranger(_))
    }
}

/// Whose limit at the issuer a call counts against, beside everybody's.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Payer {
    /// This API's own client.
    Own,
    /// A caller's client, once its credentials were seen good; by a digest of its id.
    Caller(TokenDigest),
    /// A stranger, by the client that it claims to be: behind one ingress many are one peer, each with a limit of its own.
    Stranger(Peer, TokenDigest),
}

impl Payer {
    /// Who pays for a call with the credentials of `client_id`, which only the issuer can check.
    pub(crate) fn claiming(client_id: &str, standing: Standing) -> Self {
        let client = TokenDigest::of(client_id.as_bytes());
        match standing {
            Standing::Known | Standing::Sound => Self::Caller(client),
            Standing::Stranger(address) => Self::Stranger(address.into(), client),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> Peer {
        Peer::from(text.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn a_host_with_a_whole_network_is_one_stranger() {
        assert_eq!(peer("2001:db8:1:2::1"), peer("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(peer("2001:db8:1:2::1"), peer("2001:db8:1:3::1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"), "one host, however it is written");
    }

    #[test]
    fn a_strangers_claim_to_be_a_client_costs_that_client_nothing() {
        let stranger = Standing::Stranger("192.0.2.1".parse().unwrap());
        let elsewhere = Standing::Stranger("192.0.2.2".parse().unwrap());
        assert!(Payer::claiming("0oaVictim", stranger) != Payer::claiming("0oaVictim", elsewhere));
        assert!(Payer::claiming("0oaVictim", stranger) != Payer::claiming("0oaOther", stranger));
        assert!(Payer::claiming("0oaVictim", stranger) != Payer::claiming("0oaVictim", Standing::Known));
    }
}
