//! Rules of the schema for URLs beside the issuer's own: endpoints that are not to be discovered, and how callers reach the
//! API. A mistake that has a rule of its own is left to it, so that one mistake is one message.

use schemars::Schema;

use super::rules::{add, add_to_items};

/// `host`, `host:port` or `[v6]:port`.
const AUTHORITY: &str = r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?";

/// The URL of an issuer's endpoint.
pub(super) fn endpoint(schema: &mut Schema) {
    let shape = format!(
        r"!self.startsWith('https://') || self.contains('#') || self.matches('^https://[^/]*@') || self.matches(r'^https://{AUTHORITY}/[!-\[\]-~]*$')"
    );
    add(
        schema,
        [
            ("self.startsWith('https://')", "start with https://"),
            ("!self.contains('#')", "leave out the fragment"),
            ("!self.matches('^https://[^/]*@')", "leave out the user and password"),
            (shape.as_str(), "write a URL such as https://acme.okta.com/oauth2/default/v1/keys"),
        ],
    );
}

/// A collector's URL, to which a path is added.
pub(super) fn collector(schema: &mut Schema) {
    let shape = format!(r"self.matches(r'^https?://{AUTHORITY}(/[-A-Za-z0-9._~]+)*$')");
    add(
        schema,
        [(shape.as_str(), "write a URL without a trailing slash, such as http://collector.observability:4318")],
    );
}

/// A list of origins, as browsers send them: in lower case, without the port that a scheme has anyway.
pub(super) fn origins(schema: &mut Schema) {
    let shape = r"self == '*' || self.matches(r'^https?://([a-z0-9][-a-z0-9.]*|\[[0-9a-f:.]+\])(:[0-9]{1,5})?$')";
    let port = "!self.matches('^https://.*:443$') && !self.matches('^http://.*:80$')";
    add_to_items(
        schema,
        [
            (
                shape,
                "write an origin as browsers send it, in lower case and without a path, such as https://app.acme.com",
            ),
            (port, "leave out the port; browsers do not send it"),
        ],
    );
}

/// A list of URLs by which callers reach the API. No dot segments, for a proof's URL is compared without them.
pub(super) fn external_urls(schema: &mut Schema) {
    let shape = format!(
        r"!self.matches('^https?://') || self.matches('[?#]') || self.endsWith('/') || self.matches('^https?://[^/]*@') || (self.matches(r'^https?://{AUTHORITY}(/[-A-Za-z0-9._~!$&\x27()+,=:]+)*$') && !self.contains('/.'))"
    );
    add_to_items(
        schema,
        [
            ("self.matches('^https?://')", "start with https://"),
            ("!self.matches('[?#]')", "leave out the query and the fragment"),
            ("!self.endsWith('/')", "leave out the trailing slash; the path of a request follows"),
            ("!self.matches('^https?://[^/]*@')", "leave out the user and password"),
            (shape.as_str(), "write a URL such as https://api.acme.com or https://api.acme.com/shop"),
        ],
    );
}
