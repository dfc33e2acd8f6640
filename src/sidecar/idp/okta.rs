//! What a URL says about Okta (pure): whether an issuer is the org authorization server, whose access tokens are opaque by
//! Okta's word, whether its access tokens carry Okta's `jti` form, and which calls Okta counts together.

use reqwest::Url;

/// Domains under which Okta runs orgs; custom domains are not recognisable and need not be.
const OKTA_DOMAINS: [&str; 6] =
    [".okta.com", ".oktapreview.com", ".okta-emea.com", ".okta-gov.com", ".okta.mil", ".okta-miltest.com"];

fn is_okta_host(url: &Url) -> bool {
    url.host_str().is_some_and(|host| OKTA_DOMAINS.iter().any(|domain| host.ends_with(domain)))
}

/// An Okta host without a path: nothing about its tokens may be judged locally.
pub(crate) fn is_org_server(url: &Url) -> bool {
    is_okta_host(url) && url.path() == "/"
}

/// An Okta host, or a custom domain with Okta's path of a custom authorization server.
pub(crate) fn mints_okta_tokens(url: &Url) -> bool {
    is_okta_host(url) || url.path().starts_with("/oauth2/")
}

/// What of a host an endpoint belongs to: Okta counts calls to these apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Server {
    /// `/oauth2/{id}/v1/...`: all custom authorization servers of an org together.
    Custom,
    /// `/oauth2/v1/...`: the org authorization server.
    Org,
    /// Nothing that Okta has.
    Any,
}

/// The server that an endpoint belongs to.
pub(crate) fn server(endpoint: &Url) -> Server {
    let segments: Vec<_> = endpoint.path().split('/').skip(1).collect();
    match segments.as_slice() {
        ["oauth2", "v1", _, ..] => Server::Org,
        ["oauth2", _, "v1", ..] => Server::Custom,
        _ => Server::Any,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn okta_is_told_by_host_and_path() {
        let cases = [
            ("https://acme.okta.com", true, true),
            ("https://acme.okta.com/oauth2/default", false, true),
            ("https://acme.oktapreview.com", true, true),
            ("https://login.acme.example/oauth2/aus1", false, true),
            ("https://login.acme.example", false, false),
            ("https://acme.okta.com.evil.example", false, false),
            ("https://keycloak.example/realms/shop", false, false),
        ];
        for (url, org, okta) in cases {
            let parsed = Url::parse(url).unwrap();
            assert_eq!((is_org_server(&parsed), mints_okta_tokens(&parsed)), (org, okta), "{url}");
        }
    }

    #[test]
    fn custom_servers_are_counted_together_and_the_org_server_apart() {
        let cases = [
            ("https://acme.okta.com/oauth2/default/v1/token", Server::Custom),
            ("https://acme.okta.com/oauth2/aus1/v1/introspect", Server::Custom),
            ("https://acme.okta.com/oauth2/v1/introspect", Server::Org),
            ("https://acme.okta.com/oauth2/v1/token", Server::Org),
            ("https://acme.okta.com/oauth2/v1", Server::Any),
            ("https://acme.okta.com/oauth2", Server::Any),
            ("https://keycloak.example/realms/shop/protocol/openid-connect/token", Server::Any),
        ];
        for (url, expected) in cases {
            assert_eq!(server(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
