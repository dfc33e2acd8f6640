//! What an issuer's URL says about Okta (pure): whether it is the org authorization server, whose access tokens are
//! opaque by Okta's word, and whether its access tokens carry Okta's `jti` form.

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
}
