//! Which ways to the app are sound: its port, its TLS, the claims that it gets as headers, and how long it may take.

use std::time::Duration;

use tollgate_contract::header_names::is_meaningful;
use tollgate_contract::names::{IDENTITY_HEADER_PREFIX, LOOPBACK_BROKER_PORT, PROXY_PORT};
use tollgate_contract::{AuthorizationHeader, ClaimHeader, UpstreamAddress, UpstreamProtocol, UpstreamTimeouts};

use crate::types::{self, limits};

use super::issuer::{CaBundle, parse_ca_bundle};
use super::text::{is_header_name, is_subdomain, millis, parse_duration};
use super::workload::is_sidecar_port;
use super::{NotAccepted, check_at_most};

/// The way to the app, sound.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Upstream {
    /// None of the sidecar's.
    pub port: u16,
    /// On which of the pod's addresses.
    pub address: UpstreamAddress,
    /// What the app speaks.
    pub protocol: UpstreamProtocol,
    /// Plain when absent.
    pub tls: Option<UpstreamTls>,
    /// At most 16; names in lower case and unique, none that means something to servers.
    pub claim_headers: Vec<ClaimHeader>,
    /// Whether the app gets the caller's credentials.
    pub authorization: AuthorizationHeader,
    /// How long the app may take.
    pub timeouts: UpstreamTimeouts,
}

/// TLS towards the app, sound.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamTls {
    /// A host name in lower case.
    pub server_name: String,
    /// The only certificates to trust; absent = the public ones.
    pub ca_bundle: Option<CaBundle>,
}

pub(super) fn parse(upstream: &types::Upstream) -> Result<Upstream, NotAccepted> {
    // Every field by name: a new one must not be forgotten here.
    let types::Upstream { port, address, protocol, tls, claim_headers, authorization, timeouts } = upstream;
    if *port == 0 || is_sidecar_port(i32::from(*port)) {
        return Err(NotAccepted::invalid(format!(
            "upstream.port: let the app listen on another port than {port}; {PROXY_PORT} to {LOOPBACK_BROKER_PORT} are \
             the sidecar's"
        )));
    }
    Ok(Upstream {
        port: *port,
        address: (*address).into(),
        protocol: (*protocol).into(),
        tls: tls.as_ref().map(parse_tls).transpose()?,
        claim_headers: parse_claim_headers(claim_headers)?,
        authorization: (*authorization).into(),
        timeouts: parse_timeouts(timeouts)?,
    })
}

fn parse_tls(tls: &types::UpstreamTls) -> Result<UpstreamTls, NotAccepted> {
    let types::UpstreamTls { server_name, ca_bundle } = tls;
    if !is_subdomain(server_name) {
        return Err(NotAccepted::invalid(format!(
            "upstream.tls.serverName: '{server_name}': write a host name in lower case, such as items.internal"
        )));
    }
    let bundle = |bundle| parse_ca_bundle("upstream.tls.caBundle", bundle);
    Ok(UpstreamTls { server_name: server_name.clone(), ca_bundle: ca_bundle.as_ref().map(bundle).transpose()? })
}

fn parse_claim_headers(headers: &[types::ClaimHeader]) -> Result<Vec<ClaimHeader>, NotAccepted> {
    check_at_most("upstream.claimHeaders", headers, limits::CLAIM_HEADERS)?;
    let parsed = headers.iter().map(parse_claim_header).collect::<Result<Vec<_>, _>>()?;
    for (index, header) in parsed.iter().enumerate() {
        if parsed[..index].iter().any(|earlier| earlier.header == header.header) {
            return Err(NotAccepted::invalid(format!(
                "upstream.claimHeaders: two claims have the header {}; give each a header of its own",
                header.header
            )));
        }
    }
    Ok(parsed)
}

fn parse_claim_header(header: &types::ClaimHeader) -> Result<ClaimHeader, NotAccepted> {
    let types::ClaimHeader { claim, header, arrays } = header;
    let invalid = |fix: &str| Err(NotAccepted::invalid(format!("upstream.claimHeaders: '{header}': {fix}")));
    if !is_header_name(header) {
        return invalid("write a header's name with letters, digits and -, such as X-User");
    }
    let header = header.to_ascii_lowercase();
    if header.starts_with(IDENTITY_HEADER_PREFIX.trim_end_matches('-')) {
        return invalid(
            "headers that start with X-Tollgate are the sidecar's own; choose another name, such as X-User",
        );
    }
    if is_meaningful(&header) {
        return invalid("this header means something to servers and proxies; choose another name, such as X-User");
    }
    match claim_path(claim) {
        Some(claim) => Ok(ClaimHeader { claim, header, arrays: (*arrays).into() }),
        None => Err(NotAccepted::invalid(format!(
            "upstream.claimHeaders: '{claim}': write a claim such as email, or a.b for the member b of a, {} names at \
             most; a dot within a name is \\.",
            limits::CLAIM_DEPTH
        ))),
    }
}

/// The names in a claim's path, outermost first. `\.` and `\\` stand for a dot and a backslash within a name.
fn claim_path(text: &str) -> Option<Vec<String>> {
    let mut names = vec![String::new()];
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let letter = match letter {
            '.' => {
                names.push(String::new());
                continue;
            }
            '\\' => letters.next().filter(|escaped| matches!(escaped, '.' | '\\'))?,
            plain => plain,
        };
        names.last_mut()?.push(letter);
    }
    let sound = text.len() <= limits::CLAIM_LENGTH * char::MAX.len_utf8()
        && names.len() <= limits::CLAIM_DEPTH
        && names.iter().all(|name| !name.is_empty());
    sound.then_some(names)
}

fn parse_timeouts(timeouts: &types::UpstreamTimeouts) -> Result<UpstreamTimeouts, NotAccepted> {
    let types::UpstreamTimeouts { connect, response_header, idle } = timeouts;
    let parse = |member: &str, text: &str, shortest: Duration, longest: Duration| {
        parse_duration(&format!("upstream.timeouts.{member}"), text, shortest..=longest).map(millis)
    };
    Ok(UpstreamTimeouts {
        connect_millis: parse("connect", connect, limits::SHORTEST_CONNECT, limits::CONNECT)?,
        response_header_millis: parse(
            "responseHeader",
            response_header,
            limits::SHORTEST_RESPONSE_HEADER,
            limits::RESPONSE_HEADER,
        )?,
        idle_millis: parse("idle", idle, limits::SHORTEST_IDLE, limits::IDLE)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claims_path_is_its_names_and_a_dot_may_be_part_of_one() {
        let path = |text: &str| claim_path(text).map(|names| names.join("|"));
        assert_eq!(path("email").as_deref(), Some("email"));
        assert_eq!(path("a.b.c").as_deref(), Some("a|b|c"));
        assert_eq!(path(r"https://acme\.com/roles").as_deref(), Some("https://acme.com/roles"));
        assert_eq!(path(r"a\\.b").as_deref(), Some(r"a\|b"));
        for bad in ["", ".", "a.", ".a", "a..b", r"a\", r"a\b", "1.2.3.4.5.6.7.8.9"] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }
}
