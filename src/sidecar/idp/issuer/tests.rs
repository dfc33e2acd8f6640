//! Which settings make an issuer, and what is made of them.

use super::*;

fn start(url: &str, allow_http: bool) -> Result<Issuer, StartError> {
    let config = IssuerConfig { allow_http, ..IssuerConfig::new("okta", url, vec!["api://default".into()]) };
    Issuer::new(&config, false, Arc::new(Governor::new(Duration::from_secs(60))), IdpMetrics::default())
}

#[test]
fn issuers_without_https_or_without_sense_are_refused() {
    assert!(start("https://acme.okta.com/oauth2/default", false).is_ok());
    assert!(matches!(start("http://acme.example", false), Err(StartError::Insecure { .. })));
    assert!(start("http://acme.example", true).is_ok(), "the operator's own decision");
    assert!(matches!(start("ftp://acme.example", true), Err(StartError::Insecure { .. })));
    for url in ["", "acme.okta.com", "https://", "https://acme.example/?x=1", "https://acme.example/#x", "mailto:x"] {
        assert!(matches!(start(url, false), Err(StartError::BadUrl { .. })), "{url}");
    }
}

#[test]
fn okta_behind_a_custom_domain_is_told_by_the_endpoint_that_is_asked() {
    for (endpoint, org, okta) in [
        ("https://login.acme.example/oauth2/v1/introspect", true, true),
        ("https://login.acme.example/oauth2/aus1/v1/introspect", false, true),
        ("https://login.acme.example/introspect", false, false),
    ] {
        let mut config = start("https://login.acme.example", false).ok().unwrap().config;
        config.validation = ValidationMode::Introspection;
        config.endpoints.introspection = Some(endpoint.into());
        let governor = Arc::new(Governor::new(Duration::from_secs(60)));
        let issuer = Issuer::new(&config, false, governor, IdpMetrics::default()).ok().unwrap();
        assert_eq!((issuer.is_org_server(), issuer.mints_okta_tokens()), (org, okta), "{endpoint}");
    }
}

#[test]
fn an_org_servers_keys_judge_nothing_where_it_is_asked() {
    for (url, uses_keys) in [("https://acme.okta.com", false), ("https://acme.okta.com/oauth2/default", true)] {
        let mut config = start(url, false).ok().unwrap().config;
        config.validation = ValidationMode::Introspection;
        let issuer =
            Issuer::new(&config, false, Arc::new(Governor::new(Duration::from_secs(60))), IdpMetrics::default())
                .ok()
                .unwrap();
        assert_eq!((issuer.is_org_server(), issuer.uses_keys()), (!uses_keys, uses_keys), "{url}");
    }
}
