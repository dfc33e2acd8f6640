//! What single words of the resource may look like: names, scopes, paths. The same sets of characters as in the
//! schema's rules. It decides nothing about how they go together.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::duration;
use crate::types::limits;

use super::NotAccepted;

/// A lower-case DNS label (RFC 1123) of at most `longest` characters.
pub(super) fn is_label(text: &str, longest: usize) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=longest).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// A DNS subdomain (RFC 1123), as the names of Secrets and ConfigMaps are.
pub(super) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(|label| is_label(label, 253))
}

/// A key of a ConfigMap.
pub(super) fn is_config_key(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text != "."
        && text != ".."
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// A header's name in letters, digits and `-`, which every server reads in the same way (RFC 9110 allows more).
pub(super) fn is_header_name(text: &str) -> bool {
    (1..=limits::HEADER_LENGTH).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// `scope-token` of RFC 6749 section 3.3.
pub(super) fn is_scope(text: &str) -> bool {
    (1..=limits::SCOPE_LENGTH).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

/// Every scope of a list is one, and none is there twice.
pub(super) fn check_scopes(field: &str, scopes: &[String]) -> Result<(), NotAccepted> {
    if scopes.len() > limits::SCOPES {
        return Err(NotAccepted::invalid(format!("{field}: name at most {} scopes", limits::SCOPES)));
    }
    if let Some(bad) = scopes.iter().find(|scope| !is_scope(scope)) {
        return Err(NotAccepted::invalid(format!(
            "{field}: '{bad}' is not a scope; one has no spaces, quotes or backslashes (RFC 6749)"
        )));
    }
    check_unique(field, scopes)
}

/// None is there twice.
pub(super) fn check_unique(field: &str, list: &[String]) -> Result<(), NotAccepted> {
    match list.iter().enumerate().find(|(index, item)| list[..*index].contains(item)) {
        Some((_, twice)) => Err(NotAccepted::invalid(format!("{field}: '{twice}' is there twice"))),
        None => Ok(()),
    }
}

/// A path that a request can have and that means one thing: no escapes, no dot segments, nothing that servers read in
/// different ways.
pub(super) fn check_path(field: &str, path: &str) -> Result<(), NotAccepted> {
    let invalid = |fix: &str| Err(NotAccepted::invalid(format!("{field}: '{path}': {fix}")));
    if !path.starts_with('/') {
        return invalid("start the path with /");
    }
    if path.len() > limits::PATH_LENGTH {
        return Err(NotAccepted::invalid(format!("{field}: shorten the path to {} characters", limits::PATH_LENGTH)));
    }
    if path.contains("..") || path.split('/').any(|segment| segment == ".") {
        return invalid("leave out . and .. segments");
    }
    if path.contains("//") {
        return invalid("write one slash in place of //");
    }
    if path.contains(['*', '{', '}']) {
        return invalid("leave out the wildcard; a prefix covers everything below it (/items covers /items/42)");
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()+,=:@/".contains(&byte);
    if !path.bytes().all(allowed) {
        return invalid("leave out %, ;, \\, ?, #, spaces and whatever else is not plain in a path");
    }
    Ok(())
}

/// A duration within these bounds.
pub(super) fn parse_duration(
    field: &str,
    text: &str,
    bounds: RangeInclusive<Duration>,
) -> Result<Duration, NotAccepted> {
    let duration = duration::parse(text).map_err(|error| NotAccepted::invalid(format!("{field}: {error}")))?;
    let off = |how: &str, bound: &Duration| {
        Err(NotAccepted::invalid(format!("{field}: {text} is too {how} {}", duration::display(*bound))))
    };
    match duration {
        _ if duration > *bounds.end() => off("long; at most", bounds.end()),
        _ if duration < *bounds.start() => off("short; at least", bounds.start()),
        _ => Ok(duration),
    }
}

/// For the configuration. The resource's durations are at most some days.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A range of addresses in the form of CIDR: an address, and the length of its prefix in digits without zeros before
/// them. IPv4 within IPv6 is not one, for it would never match an IPv4 peer.
pub(super) fn is_address_range(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let longest = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_none() => 128,
        Ok(IpAddr::V6(_)) | Err(_) => return false,
    };
    let digits = length.bytes().all(|byte| byte.is_ascii_digit()) && (length == "0" || !length.starts_with('0'));
    digits && length.parse::<u8>().is_ok_and(|length| length <= longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_those_of_rfc_6749() {
        for good in ["items", "items:write", "https://acme.com/read", "a!#$%&'()*+,-./0-9:;<=>?@A-Z[]^_`{|}~"] {
            assert!(is_scope(good), "{good}");
        }
        for bad in ["", "two words", "a\"b", "a\\b", "ä", "tab\t"] {
            assert!(!is_scope(bad), "{bad}");
        }
    }

    #[test]
    fn labels_and_subdomains_are_those_of_kubernetes() {
        assert!(is_label("a-1", 10) && is_label("1a", 10));
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "aaaaaaaaaaa"] {
            assert!(!is_label(bad, 10), "{bad}");
        }
        assert!(is_subdomain("okta.items-1"));
        for bad in ["", "a..b", ".a", "a.", "A.b"] {
            assert!(!is_subdomain(bad), "{bad}");
        }
        assert!(is_config_key("ca.crt") && is_config_key("CA_1"));
        for bad in ["", ".", "..", "a/b", "a b"] {
            assert!(!is_config_key(bad), "{bad}");
        }
    }

    #[test]
    fn a_path_that_servers_read_in_different_ways_is_refused() {
        for good in ["/", "/items", "/items/", "/v1.0/a~b/(c)@d:e", "/.well-known/x"] {
            assert_eq!(check_path("path", good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "items",
            "/a/../b",
            "/..",
            "/a..b",
            "/./a",
            "//",
            "/a//b",
            "/a%2fb",
            "/a;v=1",
            "/a\\b",
            "/a b",
            "/a\tb",
            "/a?b",
            "/a#b",
            "/ä",
            "/items/*",
            "/items/{id}",
            "/a\0",
        ] {
            assert!(check_path("path", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_duration_over_its_bound_is_refused_with_the_bound() {
        let five_minutes = Duration::from_secs(300);
        let bounds = Duration::from_secs(1)..=five_minutes;
        assert_eq!(parse_duration("clockSkew", "5m", bounds.clone()), Ok(five_minutes));
        let error = parse_duration("clockSkew", "301s", bounds.clone()).expect_err("one second over");
        assert_eq!(error.message, "clockSkew: 301s is too long; at most 5m");
        let error = parse_duration("clockSkew", "999ms", bounds).expect_err("one millisecond under");
        assert_eq!(error.message, "clockSkew: 999ms is too short; at least 1s");
    }

    #[test]
    fn address_ranges_are_those_that_kubernetes_reads() {
        for good in ["10.0.0.0/8", "192.0.2.7/32", "0.0.0.0/0", "2001:db8::/32", "::1/128"] {
            assert!(is_address_range(good), "{good}");
        }
        for bad in [
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "10.0.0/8",
            "010.0.0.0/8",
            "2001:db8::/129",
            "::ffff:10.0.0.0/104",
            "fe80::1%eth0/64",
            "proxy.acme.com/32",
            " 10.0.0.0/8",
            "",
        ] {
            assert!(!is_address_range(bad), "{bad}");
        }
    }
}
