//! This API's own client credentials and the CA bundle, as mounted: what is there now, and what is missing. It never
//! shows a secret.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use tollgate_contract::{ClientConfig, IssuerConfig};
use tollgate_runtime::files::read_optional;

/// A client id or secret is tens of bytes; a CA bundle may hold a company's whole list.
const LARGEST_CREDENTIAL: u64 = 8 * 1024;
const LARGEST_BUNDLE: u64 = 1024 * 1024;

/// An OAuth client's id and secrets.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub(crate) client_id: String,
    pub(crate) secret: SecretString,
    /// The one still active at the issuer while a rotation overlaps.
    pub(crate) previous_secret: Option<SecretString>,
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        let exposed = |secret: &Option<SecretString>| secret.as_ref().map(|s| s.expose_secret().to_owned());
        self.client_id == other.client_id
            && self.secret.expose_secret() == other.secret.expose_secret()
            && exposed(&self.previous_secret) == exposed(&other.previous_secret)
    }
}

/// The files that an issuer's settings name, as they are now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mounted {
    pub(crate) credentials: Option<Credentials>,
    pub(crate) ca: CaBundle,
}

/// The state of the CA bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CaBundle {
    /// The policy names none.
    NotNamed,
    /// Named, and not there.
    Missing,
    /// PEM.
    Present(Vec<u8>),
}

impl Mounted {
    /// Reads what is mounted for an issuer.
    pub(crate) fn read(config: &IssuerConfig) -> Self {
        let ca = match &config.ca_file {
            None => CaBundle::NotNamed,
            Some(file) => match read_optional(Path::new(file), LARGEST_BUNDLE) {
                Ok(Some(pem)) => CaBundle::Present(pem),
                Ok(None) | Err(_) => CaBundle::Missing,
            },
        };
        Self { credentials: config.client.as_ref().and_then(read_credentials), ca }
    }
}

fn read_credentials(client: &ClientConfig) -> Option<Credentials> {
    let dir = Path::new(&client.credentials_dir);
    let read = |name: &str| {
        let bytes = read_optional(&dir.join(name), LARGEST_CREDENTIAL).ok().flatten()?;
        let text = String::from_utf8(bytes).ok()?;
        // Secrets made from files often end in a line break that is not part of them.
        let text = text.trim_end_matches(['\r', '\n']);
        (!text.is_empty()).then(|| text.to_owned())
    };
    Some(Credentials {
        client_id: read("clientId")?,
        secret: read("clientSecret")?.into(),
        previous_secret: read("previousClientSecret").map(Into::into),
    })
}

/// Everything but RFC 3986's unreserved characters: what survives any form decoder.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The value of `Authorization` for a client of ours: both parts are form-encoded first (RFC 6749 section 2.3.1).
pub(super) fn basic(client_id: &str, secret: &SecretString) -> SecretString {
    let encoded = |text| utf8_percent_encode(text, FORM);
    let pair = SecretString::from(format!("{}:{}", encoded(client_id), encoded(secret.expose_secret())));
    format!("Basic {}", STANDARD.encode(pair.expose_secret())).into()
}

#[cfg(test)]
mod tests {
    use tollgate_contract::{ClientAuthMethod, ValidationMode};

    use super::*;

    fn config(dir: &Path) -> IssuerConfig {
        let dir = dir.display().to_string();
        IssuerConfig {
            validation: ValidationMode::Introspection,
            client: Some(ClientConfig {
                credentials_dir: dir.clone(),
                auth_method: ClientAuthMethod::ClientSecretBasic,
            }),
            ca_file: Some(format!("{dir}/ca.crt")),
            ..IssuerConfig::new("okta", "https://acme.example", vec!["api://default".into()])
        }
    }

    #[test]
    fn credentials_need_both_files_and_lose_their_line_break() {
        let dir = std::env::temp_dir().join(format!("tollgate-credentials-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let config = config(&dir);
        let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
        write("clientId", "0oa1\n");
        write("clientSecret", "");
        assert_eq!(Mounted::read(&config), Mounted { credentials: None, ca: CaBundle::Missing });
        write("clientSecret", "s3cret\r\n");
        write("ca.crt", "PEM");
        let mounted = Mounted::read(&config);
        let credentials = mounted.credentials.clone().unwrap();
        assert_eq!((credentials.client_id.as_str(), credentials.secret.expose_secret()), ("0oa1", "s3cret"));
        assert!(credentials.previous_secret.is_none());
        assert_eq!(mounted.ca, CaBundle::Present(b"PEM".to_vec()));
        assert!(!format!("{mounted:?}").contains("s3cret"));
        write("previousClientSecret", "old");
        assert_ne!(Mounted::read(&config), mounted, "a change is seen");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn basic_credentials_are_form_encoded_before_base64() {
        let value = basic("id:with/odd", &"p%+ ä".into());
        let coded = value.expose_secret().strip_prefix("Basic ").unwrap();
        assert_eq!(STANDARD.decode(coded).unwrap(), b"id%3Awith%2Fodd:p%25%2B%20%C3%A4");
    }
}
