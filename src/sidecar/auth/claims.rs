//! Judges what a token or an introspection answer says (RFC 7519, RFC 7662) against what the policy wants, at a given
//! time. Pure. Signatures are `jwt`'s matter, scopes are the route's.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use serde_json::Value;
use tollgate_contract::TokenProfile;

use super::credentials::LONGEST_TOKEN;
use crate::claim_headers::{ClaimHeaders, WrittenClaims};
use crate::identity::{Binding, Identity, IdentityHeaders, Scopes, Thumbprint, Whose};
use crate::jose::Object;
use crate::reason::Reason;
use crate::rejection::Rejection;

/// Claims that other kinds of JWT have and access tokens never: ID tokens (OpenID Connect Core sections 2, 3.3.2.11 and
/// FAPI), introspection answers (RFC 9701 section 5).
const OF_OTHER_KINDS: [&str; 5] = ["nonce", "at_hash", "c_hash", "s_hash", "token_introspection"];

/// What RFC 9068 section 2.2 requires beside `iss`, which chose the issuer.
const REQUIRED_BY_RFC_9068: [&str; 6] = ["exp", "aud", "sub", "client_id", "iat", "jti"];

/// What the policy wants of an issuer's tokens.
#[derive(Debug, Clone)]
pub(crate) struct Rules<'a> {
    /// One of these must stand in `aud`.
    pub(crate) audiences: &'a [String],
    /// Tolerated clock difference.
    pub(crate) clock_skew: Duration,
    /// From `iat` to `exp` at most.
    pub(crate) max_lifetime: Duration,
    /// What an access token has to hold.
    pub(crate) profile: TokenProfile,
    /// This API's own client, whose id as an audience means an ID token.
    pub(crate) own_client: Option<String>,
    /// Whether the issuer's access tokens carry Okta's `jti` form.
    pub(crate) okta: bool,
    /// What is kept of the claims with the identity.
    pub(crate) kept: &'a Kept,
}

/// What is kept of a token's claims for the requests that it comes with.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// All of them: some route has a rule on claims.
    pub(crate) whole: bool,
    /// Those that the app gets as headers.
    pub(crate) headers: Arc<ClaimHeaders>,
}

/// The claims of a token or the members of an introspection answer.
#[derive(Debug)]
pub(crate) struct Claims(Arc<Object>);

/// What a request needs to know of a valid token.
#[derive(Debug, PartialEq)]
pub(crate) struct Facts {
    subject: Option<String>,
    client_id: Option<String>,
    scopes: Scopes,
    expires_at: u64,
    accepted_until: u64,
    bound_to: Option<Binding>,
    claims: Option<Arc<Object>>,
    written: WrittenClaims,
}

type Judgement<T> = Result<T, Rejection>;

impl Claims {
    pub(crate) fn new(members: Object) -> Self {
        Self(Arc::new(members))
    }

    /// `iss`, which chooses the issuer.
    pub(crate) fn issuer(&self) -> Judgement<&str> {
        self.text("iss")?.ok_or_else(|| Rejection::new(Reason::IssuerMismatch, "The token names no issuer."))
    }

    /// A claim as the log may show it: cut short, for it is a stranger's text.
    pub(crate) fn shown(&self, name: &str) -> String {
        const LONGEST: usize = 200;
        self.0.get(name).map(ToString::to_string).unwrap_or_default().chars().take(LONGEST).collect()
    }

    /// Judges the claims of an access token whose `iss` is this issuer.
    pub(crate) fn judge_token(&self, rules: &Rules<'_>, now: SystemTime) -> Judgement<Facts> {
        self.check_kind(rules, false)?;
        self.check_profile(rules.profile)?;
        let expires_at = self.check_times(rules, now)?;
        self.check_lifetime(expires_at, rules, now)?;
        self.check_audience(rules)?;
        self.facts(expires_at, rules)
    }

    /// Judges the members of an introspection answer that says `active: true` (RFC 7662 section 4: the answer is not
    /// the last word). `bound_to` is what the token itself names; the answer need not repeat it.
    pub(crate) fn judge_answer(
        &self,
        issuer: &str,
        bound_to: Option<Binding>,
        rules: &Rules<'_>,
        now: SystemTime,
    ) -> Judgement<Facts> {
        if self.text("iss")?.is_some_and(|iss| iss != issuer) {
            return Err(Rejection::new(Reason::IssuerMismatch, "The token is of another issuer."));
        }
        self.check_kind(rules, rules.okta)?;
        let expires_at = self.check_times(rules, now)?;
        self.check_lifetime(expires_at, rules, now)?;
        self.check_audience(rules)?;
        let mut facts = self.facts(expires_at, rules)?;
        if let Some(one) = bound_to
            && facts.bound_to.replace(one).is_some_and(|other| other != one)
        {
            return Err(bound_elsewhere());
        }
        match self.text("token_type")? {
            Some(kind) if kind.eq_ignore_ascii_case("DPoP") && !matches!(facts.bound_to, Some(Binding::Key(_))) => {
                Err(bound_elsewhere())
            }
            Some(kind) if !["Bearer", "DPoP"].iter().any(|one| kind.eq_ignore_ascii_case(one)) => {
                Err(no_access_token())
            }
            _ => Ok(facts),
        }
    }

    /// What even an unverified token shows to be certainly refused by its issuer or by us.
    pub(crate) fn refuse_certainly_bad(&self, rules: &Rules<'_>, now: SystemTime) -> Judgement<()> {
        if self.0.contains_key("exp") {
            self.check_times(rules, now)?;
        }
        if self.0.contains_key("aud") {
            self.check_audience(rules)?;
        }
        self.confirmation().map(|_| ())
    }

    /// ID tokens are signed with the same keys, and introspection calls refresh and ID tokens active too: tell them by
    /// their own claims and, at Okta, by `jti`. `strictly` wants Okta's form of an access token's `jti` to be there.
    /// Security events and logout tokens carry an object `events` (RFC 8417 section 2.2).
    fn check_kind(&self, rules: &Rules<'_>, strictly: bool) -> Judgement<()> {
        let of_another_kind = OF_OTHER_KINDS.iter().any(|name| self.0.contains_key(*name))
            || self.0.get("events").is_some_and(Value::is_object);
        let jti = self.text("jti")?;
        let known_other = jti.is_some_and(|jti| jti.starts_with("ID.") || is_id_of_refresh_token(jti));
        let not_okta_access = strictly && !jti.is_some_and(|jti| jti.starts_with("AT."));
        let for_our_client = match &rules.own_client {
            Some(own) => self.audience()?.contains(&own.as_str()),
            None => false,
        };
        if of_another_kind || known_other || not_okta_access || for_our_client {
            return Err(no_access_token());
        }
        Ok(())
    }

    fn check_profile(&self, profile: TokenProfile) -> Judgement<()> {
        let complete = || REQUIRED_BY_RFC_9068.iter().all(|name| self.0.contains_key(*name));
        match profile {
            TokenProfile::Rfc9068 if !complete() => Err(malformed("The token lacks a claim that RFC 9068 requires.")),
            TokenProfile::Rfc9068 => self.text("client_id").map(|_| ()),
            TokenProfile::Okta => Ok(()),
        }
    }

    /// `exp` is required; `nbf` and `iat` must not lie ahead. Returns `exp`.
    fn check_times(&self, rules: &Rules<'_>, now: SystemTime) -> Judgement<f64> {
        let (now, skew) = (seconds(now), rules.clock_skew.as_secs_f64());
        let exp = self.time("exp")?.ok_or_else(|| malformed("The token has no expiry (exp)."))?;
        if now >= exp + skew {
            return Err(Rejection::new(Reason::Expired, "The token has expired."));
        }
        for name in ["nbf", "iat"] {
            if self.time(name)?.is_some_and(|time| time > now + skew) {
                return Err(Rejection::new(Reason::NotYetValid, "The token is not valid yet."));
            }
        }
        Ok(exp)
    }

    fn check_lifetime(&self, exp: f64, rules: &Rules<'_>, now: SystemTime) -> Judgement<()> {
        let from = self.time("iat")?.unwrap_or(seconds(now) + rules.clock_skew.as_secs_f64());
        if exp - from > rules.max_lifetime.as_secs_f64() {
            return Err(malformed("The token lives longer than this API allows."));
        }
        Ok(())
    }

    fn check_audience(&self, rules: &Rules<'_>) -> Judgement<()> {
        let named = self.audience()?;
        if rules.audiences.iter().any(|ours| named.contains(&ours.as_str())) {
            Ok(())
        } else {
            Err(Rejection::new(Reason::AudienceMismatch, "The token is for another audience."))
        }
    }

    /// What the token is bound to: a key (RFC 9449 section 6.1) or a certificate (RFC 8705 section 3.1). One that is bound
    /// to both, or by other means (RFC 7800), is nobody's to use here, for the proof of it cannot be seen.
    pub(crate) fn confirmation(&self) -> Judgement<Option<Binding>> {
        let Some(cnf) = self.0.get("cnf") else { return Ok(None) };
        let cnf = cnf.as_object().ok_or_else(|| malformed("The token's confirmation (cnf) is not an object."))?;
        let thumbprint =
            |value: &Value, detail| value.as_str().and_then(Thumbprint::parse).ok_or_else(|| malformed(detail));
        match (cnf.len(), cnf.get("jkt"), cnf.get("x5t#S256")) {
            (1, Some(jkt), None) => {
                let key = thumbprint(jkt, "The token's key thumbprint (jkt) is none.")?;
                Ok(Some(Binding::Key(key)))
            }
            (1, None, Some(x5t)) => {
                let certificate = thumbprint(x5t, "The token's certificate thumbprint (x5t#S256) is none.")?;
                Ok(Some(Binding::Certificate(certificate)))
            }
            _ => Err(bound_elsewhere()),
        }
    }

    fn facts(&self, expires_at: f64, rules: &Rules<'_>) -> Judgement<Facts> {
        let client_id = match self.text("cid")? {
            Some(id) => Some(id),
            None => match self.text("client_id")? {
                Some(id) => Some(id),
                None => self.text("azp")?,
            },
        };
        Ok(Facts {
            subject: self.text("sub")?.map(str::to_owned),
            client_id: client_id.map(str::to_owned),
            scopes: self.scopes()?,
            // Whole seconds; a negative or endless time has been refused before.
            expires_at: expires_at as u64,
            accepted_until: (expires_at + rules.clock_skew.as_secs_f64()) as u64,
            bound_to: self.confirmation()?,
            claims: rules.kept.whole.then(|| Arc::clone(&self.0)),
            written: rules.kept.headers.write(&self.0),
        })
    }

    /// Okta's `scp` first: a custom claim may be called `scope`.
    fn scopes(&self) -> Judgement<Scopes> {
        let wrong = || malformed("The token's scopes are neither a string nor a list of strings.");
        match self.0.get("scp").or_else(|| self.0.get("scope")) {
            None => Ok(Scopes::default()),
            Some(Value::String(words)) => Ok(Scopes::new(words.split(' '))),
            Some(Value::Array(words)) => {
                let words: Option<Vec<&str>> = words.iter().map(Value::as_str).collect();
                Ok(Scopes::new(words.ok_or_else(wrong)?))
            }
            Some(_) => Err(wrong()),
        }
    }

    fn audience(&self) -> Judgement<Vec<&str>> {
        let wrong = || malformed("The token's audience is neither a string nor a list of strings.");
        match self.0.get("aud") {
            None => Ok(Vec::new()),
            Some(Value::String(one)) => Ok(vec![one]),
            Some(Value::Array(several)) => several.iter().map(|one| one.as_str().ok_or_else(wrong)).collect(),
            Some(_) => Err(wrong()),
        }
    }

    fn text(&self, name: &str) -> Judgement<Option<&str>> {
        match self.0.get(name) {
            None => Ok(None),
            Some(value) => {
                value.as_str().map(Some).ok_or_else(|| malformed("A claim of the token that must be a string is not."))
            }
        }
    }

    /// NumericDate: a number, fractions allowed, never a string.
    fn time(&self, name: &str) -> Judgement<Option<f64>> {
        match self.0.get(name) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(time) if time.is_finite() => Ok(Some(time)),
                _ => Err(malformed("A time in the token is not a number.")),
            },
        }
    }
}

impl Facts {
    /// The identity for requests; refused when a value could not stand in a header unchanged.
    pub(crate) fn into_identity(self, issuer: &Arc<str>, issuer_header: &HeaderValue) -> Judgement<Identity> {
        let Self { subject, client_id, scopes, expires_at, accepted_until, bound_to, claims, written } = self;
        let words: Vec<&str> = scopes.iter().collect();
        if words.iter().any(|word| word.contains(' ')) {
            return Err(malformed("A scope of the token holds a space."));
        }
        // A client that speaks for itself is its own subject: one value serves for both.
        let same = subject == client_id;
        let whose = Whose::of(issuer, subject.as_deref().or(client_id.as_deref()));
        let subject = subject.as_deref().map(header).transpose()?;
        let client_id = if same { subject.clone() } else { client_id.as_deref().map(header).transpose()? };
        let scopes = if words.is_empty() { None } else { Some(header(&words.join(" "))?) };
        let headers = IdentityHeaders { subject, client_id, scopes, issuer: issuer_header.clone(), claims: written };
        let issuer = Arc::clone(issuer);
        Ok(Identity { issuer, expires_at, accepted_until, bound_to, claims, headers, whose, unasked: false })
    }
}

/// Printable ASCII that no reader of headers trims: the app must see what the issuer said, or nothing. No longer than a
/// token may be: an answer has room for more.
fn header(text: &str) -> Judgement<HeaderValue> {
    if text.len() > LONGEST_TOKEN {
        return Err(malformed("A claim of the token is too long for a header."));
    }
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && text.trim() == text && !text.is_empty();
    match HeaderValue::from_str(text) {
        Ok(value) if printable => Ok(value),
        _ => Err(malformed("A claim of the token holds characters that no header can carry.")),
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Okta's ids have 20 characters, and these begin them.
fn is_id_of_refresh_token(jti: &str) -> bool {
    jti.starts_with("oar") && jti.len() == 20
}

fn malformed(detail: &'static str) -> Rejection {
    Rejection::new(Reason::MalformedToken, detail)
}

fn no_access_token() -> Rejection {
    Rejection::new(Reason::WrongTokenType, "The token is no access token.")
}

fn bound_elsewhere() -> Rejection {
    let detail = "The token is bound to something of its sender that cannot be seen here.";
    Rejection::new(Reason::SenderMismatch, detail)
}

#[cfg(test)]
mod tests;
