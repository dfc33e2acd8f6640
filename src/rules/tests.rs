//! Rules as users write them and as an attacker would: what holds, what is refused and where. What it costs is
//! asked beside `eval`.

use http::{HeaderName, HeaderValue};
use serde_json::json;

use super::*;

pub(crate) fn claims() -> Map<String, Value> {
    let claims = json!({
        "sub": "ada", "dept": "x", "groups": ["support", "team-blue"], "level": 7, "big": 9_007_199_254_740_993_i64,
        "huge": 18_446_744_073_709_551_615_u64, "ratio": 0.5, "whole": 2.0, "admin": false, "none": null, "empty": [],
        "name": "Zoë", "org": {"id": 12, "plan": "gold"}, "same": {"plan": "gold", "id": 12.0},
        "roles": [{"name": "dev", "rights": ["read", "write"]}, {"name": "ops", "rights": ["read"]}],
        "mixed": [1, "a", true, null],
    });
    match claims {
        Value::Object(claims) => claims,
        _ => unreachable!(),
    }
}

pub(crate) fn headers() -> HeaderMap {
    let headers = [
        ("host", "api.acme.test"),
        ("x-tenant", "blue"),
        ("x-many", "one"),
        ("x-many", "two"),
        ("authorization", "Bearer secret"),
        ("cookie", "session=secret"),
        ("proxy-authorization", "Basic secret"),
        ("dpop", "secret"),
    ];
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    map.append("x-binary", HeaderValue::from_bytes(b"\xff").unwrap());
    map
}

fn outcome(source: &str) -> Result<bool, EvaluationError> {
    let rule = Rule::compile(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    let (claims, headers) = (claims(), headers());
    let (method, path, client) = ("GET", "/items/ada", Some("cli-1"));
    rule.holds(&Inputs { claims: &claims, method, path, headers: &headers, client })
}

fn refusal(source: &str) -> CompileError {
    Rule::compile(source).err().unwrap_or_else(|| panic!("accepted: {source}"))
}

#[test]
fn rules_hold_or_not_as_cel_has_it() {
    for source in TRUE {
        assert_eq!(outcome(source), Ok(true), "{source}");
        assert_eq!(outcome(&format!("!({source})")), Ok(false), "{source}");
    }
}

const TRUE: [&str; 73] = [
    "true",
    "'support' in claims.groups",
    "!('admin' in claims.groups)",
    "claims.dept == 'x' && request.method == 'GET'",
    "claims.groups.exists(g, g.startsWith('team-'))",
    "claims.groups.all(g, size(g) > 6)",
    "claims.groups.exists_one(g, g == 'support')",
    "claims.groups.filter(g, g.endsWith('blue')) == ['team-blue']",
    "claims.groups.map(g, g + '!')[1] == 'team-blue!'",
    "claims.groups.map(g, g.contains('-'), size(g)) == [9]",
    "claims.roles.exists(r, r.name == 'dev' && r.rights.exists(x, x == 'write'))",
    "claims.roles.exists(r, r.rights.all(x, x == 'read' && r.name == 'ops'))",
    "request.path == '/items/' + claims.sub",
    "request.client == 'cli-1'",
    "has(request.client)",
    "has(request.method)",
    "request.headers['x-tenant'] == 'blue'",
    "request.headers.host == 'api.acme.test'",
    "request.headers['x-many'] == 'one, two'",
    "'x-tenant' in request.headers",
    "has(request.headers.host)",
    "!('x-none' in request.headers)",
    "!has(request.headers.none)",
    "has(claims.groups)",
    "!has(claims.missing)",
    "has(claims.org.plan)",
    "!has(claims.org.owner)",
    "has(claims.none) && claims.none == null",
    "!has(claims.missing) || claims.missing == 1",
    "claims.level == 7",
    "claims.level == 7.0",
    "claims.level > 6 && claims.level >= 7 && claims.level < 8 && claims.level <= 7",
    "claims.level > 6.5",
    "claims.big == 9007199254740993",
    "claims.big != 9007199254740992",
    "claims.huge == 18446744073709551615u",
    "claims.huge > claims.big",
    "claims.huge > -1",
    "claims.ratio == 0.5",
    "claims.whole == 2",
    "claims.level * 2 - 4 == 10",
    "claims.level / 2 == 3 && claims.level % 2 == 1",
    "-claims.level == -7",
    "-(claims.ratio) < 0.0",
    "claims.ratio / 0.0 > 1.0",
    "int('12') == claims.org.id",
    "int(claims.whole) == 2 && int(2u) == 2 && int(2) == 2",
    "double('0.5') == claims.ratio && double(1) == 1.0 && double(1u) == 1.0 && double(0.5) == 0.5",
    "string(claims.level) == '7' && string(true) == 'true' && string('a') == 'a' && string(1u) == '1'",
    "size(claims.name) == 3",
    "claims.name == 'Zoë' && 'Zo\\u00eb' == claims.name",
    "claims.groups.size() == 2",
    "claims.org.size() == 2",
    "size(claims.empty) == 0",
    "claims.org['plan'] == 'gold'",
    "'plan' in claims.org && !('x' in claims.org) && !(1 in claims.org)",
    "claims.org == claims.same",
    "claims.org.exists(k, k == 'plan')",
    "claims.groups == ['support', 'team-blue']",
    "['support', 'team-blue'] == claims.groups",
    "claims.groups != ['support']",
    "claims.groups + ['x'] == ['support', 'team-blue', 'x']",
    "[claims.sub, 'b'] == ['ada', 'b']",
    "[[1, 2], [3]][1u] == [3]",
    "'a' in claims.mixed && 1.0 in claims.mixed && null in claims.mixed && !('b' in claims.mixed)",
    "'a' < 'b' && false < true && 'b' >= 'a'",
    "claims.sub.matches('^a.a$') && !claims.sub.matches('^b')",
    "claims.admin ? false : claims.level == 7",
    "claims.missing == 1 || true",
    "!(claims.missing == 1 && false)",
    "claims.mixed.exists(m, m > 0)",
    "!claims.mixed.all(m, m == 'a')",
    "r'\\d' == '\\\\d' && \"it's\" == 'it\\'s' && '''a\nb''' == 'a\\nb' // the end\n",
];

#[test]
fn a_rule_without_an_answer_says_why() {
    use EvaluationError::{Arithmetic, Missing, NotBoolean, WrongType};
    for (source, error) in [
        ("claims.missing == 'x'", Missing),
        ("has(claims.missing.deeper)", Missing),
        ("claims['missing'] == 1", Missing),
        ("claims.groups[2] == 'x'", Missing),
        ("claims.groups[-1] == 'x'", Missing),
        ("request.headers['x-none'] == ''", Missing),
        ("claims.sub", NotBoolean),
        ("claims.groups", NotBoolean),
        ("claims.none", NotBoolean),
        ("!claims.sub", WrongType),
        ("claims.sub && true", WrongType),
        ("false || claims.sub", WrongType),
        ("claims.sub ? true : false", WrongType),
        ("claims.sub < 1", WrongType),
        ("claims.none < 1", WrongType),
        ("claims.sub.deeper == 1", WrongType),
        ("has(claims.sub.deeper)", WrongType),
        ("claims.groups['a'] == 1", WrongType),
        ("claims.groups[0.5] == 1", WrongType),
        ("'a' in claims.sub", WrongType),
        ("claims.sub.all(x, true)", WrongType),
        ("claims.mixed.exists_one(m, m > 0)", WrongType),
        ("claims.mixed.all(m, m != 'z' && m > 0)", WrongType),
        ("size(claims.level) == 1", WrongType),
        ("claims.level.startsWith('7')", WrongType),
        ("claims.level.matches('7')", WrongType),
        ("claims.sub + 1 == 'ada1'", WrongType),
        ("claims.level + 1.0 == 8.0", WrongType),
        ("claims.ratio % 2.0 == 0.5", WrongType),
        ("-claims.sub == 'x'", WrongType),
        ("int(claims.groups) == 1", WrongType),
        ("request.headers['x-binary'] == ''", WrongType),
        ("claims.level / 0 == 1", Arithmetic),
        ("claims.level % 0 == 1", Arithmetic),
        ("9223372036854775807 + claims.level > 0", Arithmetic),
        ("-9223372036854775808 / (claims.level - 8) > 0", Arithmetic),
        ("-9223372036854775808 % (claims.level - 8) > 0", Arithmetic),
        ("-(-9223372036854775808) > 0", Arithmetic),
        ("int(claims.huge) > 0", Arithmetic),
        ("int('x') > 0", Arithmetic),
        ("int(double('NaN')) > 0", Arithmetic),
        ("claims.missing == 1 || false", Missing),
    ] {
        assert_eq!(outcome(source), Err(error), "{source}");
    }
}

#[test]
fn a_rule_says_which_headers_it_looks_at() {
    let source = "request.headers['x-a'] == '' && ('x-b' in request.headers || has(request.headers.c)) && 'd' == 'd'";
    assert_eq!(Rule::compile(source).unwrap().headers(), ["x-a", "x-b", "c"]);
}

#[test]
fn a_client_that_no_claim_names_is_missing() {
    let (claims, headers) = (Map::new(), HeaderMap::new());
    let inputs = Inputs { claims: &claims, method: "GET", path: "/", headers: &headers, client: None };
    let holds = |source| Rule::compile(source).unwrap().holds(&inputs);
    assert_eq!(holds("request.client == 'a'"), Err(EvaluationError::Missing));
    assert_eq!(holds("!has(request.client)"), Ok(true));
}

/// The crate that parses our rules evaluates them too, as CEL's specification has it: the results must be the same.
#[test]
fn the_cel_crate_comes_to_the_same_results() {
    let headers = json!({"host": "api.acme.test", "x-tenant": "blue", "x-many": "one, two"});
    let request = json!({"method": "GET", "path": "/items/ada", "client": "cli-1", "headers": headers});
    let mut context = cel::Context::default();
    context.add_variable_from_value("claims", for_the_crate(&Value::Object(claims())));
    context.add_variable_from_value("request", for_the_crate(&request));
    // It offers regular expressions only with a feature that we have no other use for.
    for source in TRUE.into_iter().filter(|source| !source.contains("matches(")) {
        let result = cel::Program::compile(source).unwrap().execute(&context);
        assert_eq!(result, Ok(cel::Value::Bool(true)), "{source}");
    }
}

/// Its own conversion makes every whole number that is not negative an unsigned one.
fn for_the_crate(json: &Value) -> cel::Value {
    match json {
        Value::Null => cel::Value::Null,
        Value::Bool(value) => cel::Value::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => cel::Value::Int(int),
            (None, Some(uint)) => cel::Value::UInt(uint),
            _ => cel::Value::Float(number.as_f64().unwrap()),
        },
        Value::String(text) => cel::Value::from(text.as_str()),
        Value::Array(items) => cel::Value::from(items.iter().map(for_the_crate).collect::<Vec<_>>()),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| (name.as_str(), for_the_crate(value)));
            cel::Value::from(members.collect::<std::collections::HashMap<_, _>>())
        }
    }
}

#[test]
fn a_slip_of_the_pen_is_shown_where_it_is() {
    let long = format!("claims.a == '{}'", "x".repeat(2_048));
    let wide = vec!["claims.a"; 150].join("||");
    let deep = vec!["1"; 40].join("+");
    let cases = [
        ("", (1, 1), "no CEL expression: there is nothing in it"),
        ("   ", (1, 4), "no CEL expression: there is nothing in it"),
        ("claims.a ==", (1, 12), "no CEL expression: it ends too early"),
        ("claims.a ==\n", (2, 1), "it ends too early"),
        ("(claims.a", (1, 10), "it ends too early"),
        ("[1, 2", (1, 6), "it ends too early"),
        ("claims.a.", (1, 10), "it ends too early"),
        ("claims.a = 1", (1, 10), "no CEL expression: compare with =="),
        ("claims.a\n  === 1", (2, 5), "compare with =="),
        ("claims.groups.exists(g, g = 'a')", (1, 27), "compare with =="),
        ("claims.a is 1", (1, 10), "compare with =="),
        ("claims.a <> 1", (1, 11), "write != for unequal"),
        ("claims.a == 1 and claims.b == 2", (1, 15), "no CEL expression: write && for and"),
        ("claims.a == 'ä' AND claims.b", (1, 17), "write && for and"),
        ("claims.a & claims.b", (1, 10), "write && for and"),
        ("claims.a or\nclaims.b", (1, 10), "write || for or"),
        ("claims.a | claims.b", (1, 10), "write || for or"),
        ("not claims.a", (1, 1), "write ! for not"),
        ("claims.a && not claims.b", (1, 13), "write ! for not"),
        ("claims.a not in ['x']", (1, 10), "write ! for not, as in !(a in b)"),
        ("claims.and b", (1, 12), "extraneous input 'b'"),
        ("a == 'and' b", (1, 12), "extraneous input 'b'"),
        ("'open", (1, 1), "no CEL expression: the text that begins here has no end"),
        ("claims.a == 'Zoë' + \"open", (1, 21), "the text that begins here has no end"),
        ("claims.a == ‘x’", (1, 13), "straight quotes"),
        ("claims.a == 1;", (1, 14), "no CEL expression: token recognition error at: ';'"),
        ("a b", (1, 3), "no CEL expression: extraneous input 'b'"),
        ("ä == 1", (1, 1), "no CEL expression"),
        ("claims.`a`", (1, 7), "no CEL expression"),
        ("'abc'", (1, 1), "neither true nor false"),
        ("  1", (1, 3), "neither true nor false"),
        ("1.5", (1, 1), "neither true nor false"),
        ("null", (1, 1), "neither true nor false"),
        ("[true]", (1, 1), "neither true nor false"),
        ("[claims.a]", (1, 1), "neither true nor false"),
        ("claims", (1, 1), "neither true nor false"),
        ("request.method", (1, 8), "neither true nor false"),
        ("request.headers['x-a']", (1, 16), "neither true nor false"),
        ("size(claims.a)", (1, 5), "neither true nor false"),
        ("claims.a + 'x'", (1, 10), "neither true nor false"),
        ("-claims.a", (1, 1), "neither true nor false"),
        ("claims.a.map(g, g == 'x')", (1, 13), "neither true nor false"),
        ("claims.a ? 'yes' : 'no'", (1, 10), "neither true nor false"),
        ("request.method == 'GET' || 'POST'", (1, 28), "neither true nor false"),
        ("claims.a && size(claims.b)", (1, 17), "neither true nor false"),
        ("!'a'", (1, 2), "neither true nor false"),
        ("request.path ? true : false", (1, 8), "neither true nor false"),
        ("claims.a.exists(g, 'x')", (1, 20), "neither true nor false"),
        ("claims.a.map(g, 1, g) == []", (1, 17), "neither true nor false"),
        ("claims.a && claim.b", (1, 13), "there is no variable \"claim\""),
        ("'Zoë' == x", (1, 10), "there is no variable \"x\""),
        ("'Zoë' b", (1, 7), "no CEL expression"),
        ("'Zoë' +\n'ëë' ! b", (2, 6), "no CEL expression"),
        ("true &&\n  nobody", (2, 3), "there is no variable \"nobody\""),
        ("now() > 1", (1, 4), "there is no function \"now\""),
        ("timestamp('2026-01-01T00:00:00Z') > 1", (1, 10), "there is no function \"timestamp\""),
        ("claims.a.lowerAscii() == 'a'", (1, 20), "there is no function \"lowerAscii\""),
        ("startsWith(claims.a, 'b')", (1, 11), "there is no function \"startsWith\" of this form"),
        ("claims.a.size(1) == 1", (1, 14), "there is no function \"size\" of this form"),
        ("request", (1, 1), "request is not a value"),
        ("request.url == ''", (1, 8), "request has no \"url\""),
        ("has(request.url)", (1, 4), "request has no \"url\""),
        ("size(request.headers) == 1", (1, 13), "name the header"),
        ("request.headers.all(h, h == 'a')", (1, 8), "name the header"),
        ("request.headers['X-Tenant'] == 'a'", (1, 17), "\"x-tenant\""),
        ("request.headers['authorization'] == 'a'", (1, 17), "carries credentials"),
        ("request.headers.cookie == 'a'", (1, 16), "carries credentials"),
        ("'dpop' in request.headers", (1, 1), "carries credentials"),
        ("has(request.headers.cookie)", (1, 4), "carries credentials"),
        ("request.headers['x-tollgate-subject'] == 'a'", (1, 17), "made from the token"),
        ("'x-tollgate-scopes' in request.headers", (1, 1), "made from the token"),
        ("request.headers['authoriz' + 'ation'] != ''", (1, 28), "written in the rule"),
        ("request.headers[claims.sub] == ''", (1, 23), "written in the rule"),
        ("claims.sub in request.headers", (1, 7), "written in the rule"),
        ("1 in request.headers", (1, 1), "written in the rule"),
        ("request.headers['x tenant'] == ''", (1, 17), "no name of a header"),
        ("request.headers[''] == ''", (1, 17), "no name of a header"),
        ("has(claims)", (1, 4), "has() takes a member"),
        ("has(claims['a'])", (1, 4), "has() takes a member"),
        ("claims.a.exists(1, true)", (1, 17), "names the element"),
        ("claims.a.exists(claims, true)", (1, 17), "is taken"),
        ("claims.a.exists(g, h)", (1, 20), "there is no variable \"h\""),
        ("claims.a.exists(g, true) && g", (1, 29), "there is no variable \"g\""),
        ("claims.a.exists(g)", (1, 16), "two arguments"),
        ("claims.a.filter(g, true, g)", (1, 16), "two arguments"),
        ("claims.a.all(x, x.all(y, y.all(z, z)))", (1, 31), "within one other loop"),
        ("claims.a.matches(claims.b)", (1, 24), "written in the rule"),
        ("claims.a.matches('a' + 'b')", (1, 22), "written in the rule"),
        ("claims.a.matches('(')", (1, 18), "cannot be used: unclosed group"),
        ("claims.a.matches('(a{500}){500}')", (1, 18), "too many states"),
        ("claims.a.matches('^\\\\w+$') && claims.a.matches('\\\\w')", (1, 48), "too many states"),
        ("claims.a.matches('\\\\bx')", (1, 18), "(?-u:\\b)"),
        ("claims.a.matches('\\\\w{200}\\\\w{200}')", (1, 18), "too many states"),
        ("claims.a.matches('((((((((((((((((((a))))))))))))))))))')", (1, 18), "cannot be used"),
        ("{'a': 1}['a'] == 1", (1, 1), "maps and messages"),
        ("claims.a == b'x'", (1, 13), "bytes"),
        (&long, (1, 1), "at most 2048 bytes"),
        (&wide, (1, 0), "at most 256 parts"),
        (&deep, (1, 0), "at most 32 deep"),
    ];
    let mut findings = Vec::new();
    for (source, (line, column), expected) in cases {
        let error = refusal(source);
        let is_placed = error.line == line && (column == 0 || error.column == column);
        if !error.message.contains(expected) || !is_placed || error.message.len() > 300 {
            findings.push(format!("{source}: {error}"));
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn hostile_sources_are_refused_and_harm_nobody() {
    let nested = |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
    let sources = [
        nested("(", ")", 1_000),
        nested("[", "]", 1_000),
        nested("f(", ")", 600),
        nested("[0][", "]", 300),
        nested("claims.a.all(x,", ")", 100),
        nested("a?", ":a", 400),
        nested("a?a:", "", 500),
        // The closing parentheses in the text hide nothing.
        format!("{}')))))))))))'{}", "(".repeat(60), nested("(", ")", 60)),
        "(".repeat(2_048),
        format!("1{}", "+1".repeat(1_000)),
        format!("claims{}", ".a".repeat(1_000)),
        format!("claims{}", "[0]".repeat(600)),
        format!("[{}1]", "1,".repeat(1_000)),
        vec!["true"; 300].join("&&"),
        vec!["'a'"; 300].join(" "),
        format!("claims.a.matches('{}')", "(a|aa)+".repeat(50)),
        format!("claims.a.matches('{}')", "(a{99}){99}"),
        "'\\ud800'".into(),
        "\u{0}".into(),
        "'\u{202e}".into(),
        "18446744073709551616".into(),
        "1e999999".into(),
        "0x".into(),
        "@result".into(),
        "__macro__".into(),
        "a.@b()".into(),
    ];
    for source in sources {
        assert!(Rule::compile(&source).is_err(), "{}", &source[..source.len().min(60)]);
    }
}

#[test]
fn the_deepest_that_the_parser_may_see_is_read() {
    for (open, close) in [("(", ")"), ("[", "]"), ("f(", ")"), ("a?a:", ""), ("claims.a.all(x,", ")"), ("[0][", "]")] {
        // Accepted or refused for a later bound: the point is that the stack is enough.
        let _ = Rule::compile(&format!("{}1{}", open.repeat(30), close.repeat(30)));
        let _ = Rule::compile(&format!("{}1{}", open.repeat(source::MAX_OPENINGS), close.repeat(source::MAX_OPENINGS)));
    }
    let parentheses = format!("{}true{}", "(".repeat(60), ")".repeat(60));
    assert!(Rule::compile(&parentheses).is_ok(), "parentheses alone make no node deeper");
}
