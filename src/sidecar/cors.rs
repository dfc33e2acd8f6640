//! Decides what scripts of other origins may do, by the CORS protocol (https://fetch.spec.whatwg.org/#http-cors-protocol):
//! which requests are preflights, who answers them, and which answers may be read. Pure. A preflight is recognised by all
//! of its marks and carries nothing onwards, so that none of this is a way around a token.

use http::header::{self, HeaderName};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use tollgate_contract::CorsConfig;

use crate::route::MethodSet;

/// Each costs a comparison.
const MAX_ORIGINS: usize = 64;
/// What scripts may always send: how they prove themselves, and what they send.
const REQUEST_HEADERS: [&str; 3] = ["authorization", "dpop", "content-type"];
/// What scripts may always read: what was wrong, and when to come back.
const EXPOSED: [&str; 4] = ["www-authenticate", "dpop-nonce", "retry-after", "x-request-id"];
const ORIGIN: HeaderValue = HeaderValue::from_static("Origin");
const TRUE: HeaderValue = HeaderValue::from_static("true");
const ANY: HeaderValue = HeaderValue::from_static("*");

/// A policy's word on scripts of other origins.
#[derive(Debug)]
pub(crate) enum Cors {
    Off,
    PassPreflight { exposed: HeaderValue },
    Handle(Box<Handled>),
}

/// What is answered here.
#[derive(Debug)]
pub(crate) struct Handled {
    origins: Origins,
    /// None: those of the routes.
    methods: Option<HeaderValue>,
    headers: HeaderValue,
    exposed: HeaderValue,
    credentials: bool,
    max_age: HeaderValue,
}

#[derive(Debug)]
enum Origins {
    Any,
    These(Box<[HeaderValue]>),
}

/// What a request says of the script that sends it; kept for its answer.
#[derive(Debug)]
pub(crate) struct Script {
    origin: Option<HeaderValue>,
    /// It sends what no browser lets a script send, nor sends by itself, before the app has agreed in a preflight.
    is_let_in: bool,
}

/// Whose answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    Apps,
    /// Ours, in the app's stead.
    Refusal,
    /// Of an endpoint of our own, for which no cookie means anything.
    Own,
}

/// A question whether a request of this method may come.
#[derive(Debug)]
pub(crate) struct Preflight {
    pub(crate) method: Method,
}

impl Cors {
    /// Reads a policy's setting.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub(crate) fn new(config: &CorsConfig) -> Result<Self, String> {
        match config {
            CorsConfig::Off => Ok(Self::Off),
            CorsConfig::PassPreflight => Ok(Self::PassPreflight { exposed: list(EXPOSED.iter().copied())? }),
            CorsConfig::Handle { origins, methods, headers, expose, credentials, max_age_seconds } => {
                for method in methods {
                    check_method(method)?;
                }
                for name in headers.iter().chain(expose) {
                    check_name(name)?;
                }
                let with = |names: &[&'static str], more: &'_ [String]| {
                    list(names.iter().copied().chain(more.iter().map(String::as_str)))
                };
                Ok(Self::Handle(Box::new(Handled {
                    origins: Origins::new(origins, *credentials)?,
                    methods: if methods.is_empty() { None } else { Some(list(methods.iter().map(String::as_str))?) },
                    headers: with(&REQUEST_HEADERS, headers)?,
                    exposed: with(&EXPOSED, expose)?,
                    credentials: *credentials,
                    max_age: HeaderValue::from(*max_age_seconds),
                })))
            }
        }
    }

    /// What is to be remembered of a request until its answer; nothing where scripts are of no interest.
    pub(crate) fn script(&self, headers: &HeaderMap) -> Option<Script> {
        if matches!(self, Self::Off) {
            return None;
        }
        let is_let_in = headers.get(header::AUTHORIZATION).is_some_and(is_token);
        Some(Script { origin: single(headers, &header::ORIGIN).cloned(), is_let_in })
    }

    /// The preflight that a request is, where preflights are of interest: OPTIONS, one Origin, one method, and no body.
    pub(crate) fn preflight(&self, parts: &Parts, has_body: bool) -> Option<Preflight> {
        if matches!(self, Self::Off) || parts.method != Method::OPTIONS || has_body {
            return None;
        }
        single(&parts.headers, &header::ORIGIN)?;
        let method = single(&parts.headers, &header::ACCESS_CONTROL_REQUEST_METHOD)?;
        Method::from_bytes(method.as_bytes()).ok().map(|method| Preflight { method })
    }

    /// Makes an answer one that the script may read, or not.
    pub(crate) fn mark(&self, headers: &mut HeaderMap, script: &Script, answers: Answers) {
        match self {
            Self::Off => {}
            // The app speaks for itself.
            Self::PassPreflight { .. } if answers == Answers::Apps => {}
            Self::PassPreflight { exposed } => {
                vary(headers);
                // An opaque origin is everybody's.
                if let Some(origin) = script.origin.as_ref().filter(|origin| *origin != "null") {
                    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
                    if script.is_let_in && answers == Answers::Refusal {
                        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
                    }
                }
            }
            Self::Handle(handled) => {
                let is_let_in = handled.lets_in(script);
                if answers == Answers::Apps || !is_let_in {
                    remove_cors(headers);
                }
                handled.mark(headers, script.origin.as_ref().filter(|_| is_let_in));
            }
        }
    }

    /// The answer to a preflight, where it is given here; for whom is said by [`Cors::mark`]. `of_path` are the methods
    /// that the path takes.
    pub(crate) fn answer<B: Default>(&self, of_path: impl FnOnce() -> MethodSet) -> Option<Response<B>> {
        let Self::Handle(handled) = self else { return None };
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        let methods = handled.methods.clone().or_else(|| HeaderValue::try_from(of_path().to_string()).ok());
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, Some(handled.headers.clone())),
            (header::ACCESS_CONTROL_MAX_AGE, Some(handled.max_age.clone())),
        ] {
            headers.extend(value.map(|value| (name, value)));
        }
        Some(response)
    }
}

impl Preflight {
    /// No browser sends credentials along; whoever does gets nothing by it.
    pub(crate) fn strip(headers: &mut HeaderMap) {
        headers.remove(header::AUTHORIZATION);
        headers.remove(header::COOKIE);
        headers.remove("dpop");
    }
}

impl Handled {
    fn lets_in(&self, script: &Script) -> bool {
        match (&self.origins, &script.origin) {
            (Origins::Any, _) => true,
            (Origins::These(origins), Some(origin)) => origins.contains(origin),
            (Origins::These(_), None) => false,
        }
    }

    /// Says who may read an answer: `origin`, if any, was let in.
    fn mark(&self, headers: &mut HeaderMap, origin: Option<&HeaderValue>) {
        let readable_by = match (&self.origins, origin) {
            (Origins::Any, _) => ANY,
            (Origins::These(_), origin) => {
                vary(headers);
                match origin {
                    Some(origin) => origin.clone(),
                    None => return,
                }
            }
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, readable_by);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed.clone());
        if self.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
    }
}

impl Origins {
    fn new(origins: &[String], credentials: bool) -> Result<Self, String> {
        if origins == ["*"] {
            return if credentials { Err("lets every origin in with credentials".into()) } else { Ok(Self::Any) };
        }
        if origins.is_empty() || origins.len() > MAX_ORIGINS {
            return Err(format!("has {} origins; 1 to {MAX_ORIGINS} are needed", origins.len()));
        }
        let read = |origin: &String| {
            let value = HeaderValue::try_from(origin).ok().filter(|_| is_origin(origin));
            value.ok_or_else(|| {
                format!("has {origin:?}, which no browser sends as an origin; write https://app.example")
            })
        };
        origins.iter().map(read).collect::<Result<_, _>>().map(Self::These)
    }
}

/// `scheme://host[:port]` as a browser writes it: in lower case, without the scheme's own port.
fn is_origin(origin: &str) -> bool {
    let Some((scheme, host)) = origin.split_once("://") else { return false };
    let is_scheme = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    let is_host = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]".contains(&byte);
    let own_port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => "://",
    };
    scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(is_scheme)
        && !host.is_empty()
        && host.bytes().all(is_host)
        && !host.ends_with(own_port)
        && !host.ends_with(':')
}

fn check_method(method: &str) -> Result<(), String> {
    let known = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    if known && !matches!(method, "CONNECT" | "TRACE" | "TRACK") {
        return Ok(());
    }
    Err(format!("has method {method:?}, which no script can ask for; write it in capitals"))
}

fn check_name(name: &str) -> Result<(), String> {
    let known = HeaderName::try_from(name).is_ok() && name != "*";
    if known { Ok(()) } else { Err(format!("has header {name:?}, which is no name of one")) }
}

fn list<'a>(words: impl Iterator<Item = &'a str>) -> Result<HeaderValue, String> {
    let words: Vec<&str> = words.collect();
    HeaderValue::try_from(words.join(", ")).map_err(|_| "has a name that no header can carry".to_owned())
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Passwords (Basic, Digest) are sent by browsers of their own accord, without a preflight; tokens never are.
fn is_token(authorization: &HeaderValue) -> bool {
    let scheme = authorization.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"bearer") || scheme.eq_ignore_ascii_case(b"dpop")
}

/// Caches must not give one origin's answer to another.
fn vary(headers: &mut HeaderMap) {
    let names = |value: &HeaderValue| {
        let mut names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        names.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin"))
    };
    if !headers.get_all(header::VARY).iter().any(names) {
        headers.append(header::VARY, ORIGIN);
    }
}

fn remove_cors(headers: &mut HeaderMap) {
    for name in [
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        header::ACCESS_CONTROL_ALLOW_METHODS,
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        header::ACCESS_CONTROL_MAX_AGE,
        // https://wicg.github.io/private-network-access/: no policy lets public pages into private networks.
        HeaderName::from_static("access-control-allow-private-network"),
    ] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn handle(origins: &[&str], credentials: bool) -> Result<Cors, String> {
        Cors::new(&CorsConfig::Handle {
            origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
            methods: Vec::new(),
            headers: vec!["x-custom".into()],
            expose: vec!["etag".into()],
            credentials,
            max_age_seconds: 600,
        })
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn marked(cors: &Cors, request: &[(&str, &str)], answer: &[(&str, &str)], answers: Answers) -> Vec<String> {
        let script = cors.script(&headers(request)).unwrap();
        let mut headers = headers(answer);
        cors.mark(&mut headers, &script, answers);
        let mut lines: Vec<_> = headers.iter().map(|(k, v)| format!("{k}: {}", v.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    const APP: &str = "https://app.example";
    const EXPOSE: &str = "access-control-expose-headers: www-authenticate, dpop-nonce, retry-after, x-request-id";

    #[test]
    fn a_preflight_has_all_of_its_marks() {
        let cors = handle(&[APP], false).unwrap();
        let method = ("access-control-request-method", "PUT");
        let is_preflight = |cors: &Cors, verb: &str, pairs: &[(&str, &str)], has_body| {
            let (mut parts, ()) = Request::builder().method(verb).uri("/a").body(()).unwrap().into_parts();
            parts.headers = headers(pairs);
            cors.preflight(&parts, has_body).is_some()
        };
        let good = [("origin", "https://any.example"), method];
        assert!(is_preflight(&cors, "OPTIONS", &good, false));
        assert!(is_preflight(&Cors::new(&CorsConfig::PassPreflight).unwrap(), "OPTIONS", &good, false));
        assert!(!is_preflight(&Cors::Off, "OPTIONS", &good, false));
        assert!(!is_preflight(&cors, "OPTIONS", &good, true), "with a body");
        for verb in ["GET", "POST", "HEAD", "options", "PROPFIND"] {
            assert!(!is_preflight(&cors, verb, &good, false), "{verb}");
        }
        for pairs in [
            &[][..],
            &[("origin", APP)],
            &[method],
            &[("origin", APP), ("origin", APP), method],
            &[("origin", APP), method, method],
            &[("origin", APP), ("access-control-request-method", "P T")],
            &[("origin", APP), ("access-control-request-method", "")],
            &[("origin", APP), ("access-control-request-headers", "x")],
        ] {
            assert!(!is_preflight(&cors, "OPTIONS", pairs, false), "{pairs:?}");
        }
    }

    #[test]
    fn an_answer_may_be_read_by_the_origins_that_the_policy_names_whatever_the_app_says() {
        let cors = handle(&[APP, "http://localhost:3000"], true).unwrap();
        let lax = [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "x-secret"),
            ("access-control-allow-private-network", "true"),
            ("vary", "Accept"),
        ];
        let expected = [
            "access-control-allow-credentials: true",
            "access-control-allow-origin: https://app.example",
            &format!("{EXPOSE}, etag"),
            "vary: Accept",
            "vary: Origin",
        ];
        assert_eq!(marked(&cors, &[("origin", APP)], &lax, Answers::Apps), expected);
        for origin in
            ["https://evil.example", "null", "https://app.example:8443", "HTTPS://app.example", "http://app.example"]
        {
            assert_eq!(marked(&cors, &[("origin", origin)], &lax, Answers::Apps), ["vary: Accept", "vary: Origin"]);
        }
        assert_eq!(marked(&cors, &[], &[("vary", "accept, ORIGIN")], Answers::Apps), ["vary: accept, ORIGIN"]);
        assert_eq!(marked(&cors, &[("origin", APP), ("origin", APP)], &[], Answers::Refusal), ["vary: Origin"]);
        let everybody = handle(&["*"], false).unwrap();
        assert_eq!(
            marked(&everybody, &[("origin", "null")], &[], Answers::Refusal),
            ["access-control-allow-origin: *", &format!("{EXPOSE}, etag")]
        );
    }

    #[test]
    fn where_the_app_answers_preflights_our_refusals_are_for_the_one_who_asked() {
        let cors = Cors::new(&CorsConfig::PassPreflight).unwrap();
        let refused = |request: &[(&str, &str)]| marked(&cors, request, &[], Answers::Refusal);
        let expected = ["access-control-allow-origin: https://app.example", EXPOSE, "vary: Origin"];
        assert_eq!(refused(&[("origin", APP)]), expected);
        for token in ["Bearer t", "bearer t", "DPoP t"] {
            let answer = refused(&[("origin", APP), ("authorization", token)]);
            assert_eq!(answer[0], "access-control-allow-credentials: true", "{token}");
            assert_eq!(answer[1..], expected, "{token}");
        }
        assert_eq!(refused(&[("origin", "null"), ("authorization", "Bearer t")]), ["vary: Origin"]);
        assert_eq!(refused(&[]), ["vary: Origin"]);
        let apps = [("access-control-allow-origin", "*")];
        assert_eq!(marked(&cors, &[("origin", APP)], &apps, Answers::Apps), ["access-control-allow-origin: *"]);
    }

    #[test]
    fn an_origin_that_nobody_named_reads_nothing_by_what_a_browser_sends_of_its_own_accord() {
        let cors = Cors::new(&CorsConfig::PassPreflight).unwrap();
        let may_bring_cookies = |authorization: &str, answers| {
            let request = [("origin", "https://evil.example"), ("authorization", authorization), ("cookie", "a=b")];
            marked(&cors, &request, &[], answers).iter().any(|line| line.contains("credentials"))
        };
        for sent_by_itself in ["Basic dXNlcjpwYXNz", "Digest username=a", "Negotiate YII=", "NTLM x", "Bearers t", ""] {
            assert!(!may_bring_cookies(sent_by_itself, Answers::Refusal), "{sent_by_itself}");
        }
        for any in ["Basic dXNlcjpwYXNz", "Bearer t", "DPoP t"] {
            assert!(!may_bring_cookies(any, Answers::Own), "{any}");
        }
    }

    #[test]
    fn a_preflight_is_answered_for_origins_that_are_let_in() {
        let cors = handle(&[APP], false).unwrap();
        let answer = |origin: &str| {
            let script = cors.script(&headers(&[("origin", origin)])).unwrap();
            let mut response = cors.answer::<()>(|| MethodSet::GET | MethodSet::POST).unwrap();
            assert_eq!(response.status(), 204);
            cors.mark(response.headers_mut(), &script, Answers::Refusal);
            response.headers().clone()
        };
        let granted = answer(APP);
        assert_eq!(granted["access-control-allow-origin"], APP);
        assert_eq!(granted["access-control-allow-methods"], "GET, HEAD, POST");
        assert_eq!(granted["access-control-allow-headers"], "authorization, dpop, content-type, x-custom");
        assert_eq!(granted["access-control-max-age"], "600");
        assert_eq!(granted.get("access-control-allow-credentials"), None);
        assert_eq!(answer("https://evil.example"), headers(&[("vary", "Origin")]));
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        for origin in [
            "null",
            "*.example",
            "https://*.example",
            "https://app.example/",
            "https://app.example/path",
            "https://App.example",
            "app.example",
            "https://app.example:443",
            "http://app.example:80",
            "https://app.example:",
            "https://",
            "://app.example",
            "https://user@app.example",
            "https://app.example?x",
            "",
        ] {
            assert!(handle(&[origin], false).is_err(), "{origin}");
        }
        for origin in
            ["https://app.example", "http://localhost:3000", "capacitor://localhost", "https://[2001:db8::1]:8443"]
        {
            assert!(handle(&[origin], true).is_ok(), "{origin}");
        }
        assert!(handle(&["*"], true).unwrap_err().contains("credentials"));
        assert!(handle(&["*", APP], false).is_err());
        assert!(handle(&[], false).is_err());
        let with = |methods: &[&str], names: &[&str]| {
            let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
            Cors::new(&CorsConfig::Handle {
                origins: vec![APP.into()],
                methods: owned(methods),
                headers: owned(names),
                expose: owned(names),
                credentials: false,
                max_age_seconds: 0,
            })
        };
        assert!(with(&["GET", "PROPFIND"], &["x-a", "X-B"]).is_ok());
        for method in ["", "get", "*", "TRACE", "CONNECT", "G T"] {
            assert!(with(&[method], &[]).is_err(), "{method}");
        }
        for name in ["", "*", "x a", "x\r\n"] {
            assert!(with(&[], &[name]).is_err(), "{name:?}");
        }
    }
}
