//! Decides who is asking, as far as the network says: the peer of the connection, or whom the proxies in front of us
//! name (X-Forwarded-For), where the policy trusts them. Pure. It grants nothing: the address only keeps one stranger's
//! flood apart from others.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The nearest address that is none of the trusted proxies. Each proxy adds its own peer at the right end, so what stands
/// left of the first stranger is the stranger's word. When all are trusted it is the farthest of them; what is malformed
/// says nothing, and the peer counts.
pub(super) fn caller(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    if !is_trusted(peer, trusted) {
        return peer;
    }
    let mut farthest = peer;
    let values: Vec<&[u8]> = headers.get_all(X_FORWARDED_FOR).iter().map(|value| value.as_bytes()).collect();
    for entry in values.iter().rev().flat_map(|value| value.rsplit(|byte| *byte == b',')) {
        match address(entry.trim_ascii()) {
            Some(address) if is_trusted(address, trusted) => farthest = address,
            Some(stranger) => return stranger,
            None => return peer,
        }
    }
    farthest
}

/// Whether the policy trusts what is said by whoever has this address.
pub(super) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|range| range.contains(&address))
}

/// An address, as some proxies write it: with a port, or in brackets.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().map(IpAddr::V6).ok();
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    text.parse().ok().or_else(with_port).or_else(in_brackets).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_caller_is_the_nearest_address_that_is_no_trusted_proxy() {
        let table: [(&str, &[&str], &str); 22] = [
            // (peer, X-Forwarded-For, caller)
            ("203.0.113.9", &[], "203.0.113.9"),
            ("203.0.113.9", &["198.51.100.7"], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["6.6.6.6, 198.51.100.7, 10.0.0.2"], "198.51.100.7"),
            ("10.0.0.1", &["6.6.6.6", "198.51.100.7", "10.0.0.2 , 10.0.0.3"], "198.51.100.7"),
            ("10.0.0.1", &["198.51.100.7", "10.0.0.2"], "198.51.100.7"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["198.51.100.7:4711"], "198.51.100.7"),
            ("10.0.0.1", &["2001:db8::7"], "2001:db8::7"),
            ("10.0.0.1", &["[2001:db8::7]"], "2001:db8::7"),
            ("10.0.0.1", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("10.0.0.1", &["::ffff:198.51.100.7, ::ffff:10.0.0.2"], "198.51.100.7"),
            ("fd00::1", &["198.51.100.7"], "198.51.100.7"),
            ("fd01::1", &["198.51.100.7"], "fd01::1"),
            // malformed
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7,"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7, nonsense, 10.0.0.2"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.256"], "10.0.0.1"),
            ("10.0.0.1", &["nonsense, 198.51.100.7"], "198.51.100.7"),
        ];
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/16"].iter().map(|range| range.parse().unwrap()).collect();
        for (peer, forwarded, expected) in table {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", HeaderValue::from_static(value));
            }
            let caller = caller(peer.parse().unwrap(), &headers, &trusted);
            assert_eq!(caller.to_string(), expected, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn without_trusted_proxies_nobodys_word_counts() {
        let headers = HeaderMap::from_iter([(X_FORWARDED_FOR, HeaderValue::from_static("198.51.100.7"))]);
        assert_eq!(caller("10.0.0.1".parse().unwrap(), &headers, &[]).to_string(), "10.0.0.1");
    }
}
