//! What evaluating a rule costs: every byte is paid for, an ordinary rule is cheap, and the worst is ended in time.

use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};

use super::evaluate;
use crate::tests::{claims, headers};
use crate::{EvaluationError, Inputs, MAX_STEPS, Rule};

fn members(claims: Value) -> Map<String, Value> {
    match claims {
        Value::Object(claims) => claims,
        _ => unreachable!(),
    }
}

/// The meter is told of every byte that is read, wherever it comes from.
#[test]
fn what_is_longer_by_64_bytes_costs_a_step_more() {
    let steps = |source: &str, blocks: usize| {
        let long = "1".repeat(64 * blocks);
        let keyed = json!({long.as_str(): 1, "other": 2});
        let claims = members(json!({"long": long, "copy": long, "keyed": keyed, "again": keyed, "few": {"a": 1}}));
        let mut headers = HeaderMap::new();
        headers.insert("x-long", HeaderValue::from_str(&long).unwrap());
        let binary = [long.as_bytes(), b"\xff"].concat();
        headers.insert("x-binary", HeaderValue::from_bytes(&binary).unwrap());
        let inputs = Inputs { claims: &claims, method: "GET", path: &long, headers: &headers, client: Some(&long) };
        let rule = Rule::compile(source).unwrap_or_else(|error| panic!("{source}: {error}"));
        evaluate(&rule.expr, &inputs, u64::MAX).1
    };
    for source in [
        "claims.keyed[claims.long] == 1",
        "claims.few[claims.long] == 1",
        "claims.long in claims.keyed",
        "claims.long in claims.few",
        "claims.keyed == claims.again",
        "claims.long == claims.copy",
        "claims.long != request.path",
        "claims.long <= request.client",
        "claims.long in [claims.copy]",
        "claims.long + 'x' == 'x'",
        "'x' + claims.long == 'x'",
        "size(claims.long) == 1",
        "claims.long.contains('x')",
        "'x'.contains(claims.long)",
        "claims.long.startsWith(claims.copy)",
        "claims.long.endsWith(claims.copy)",
        "claims.long.matches('x')",
        "int(claims.long) == 1",
        "double(claims.long) == 1.0",
        "'x-long' in request.headers",
        "request.headers['x-long'] == 'x'",
        "'x-binary' in request.headers",
        "request.headers['x-binary'] == 'x'",
    ] {
        let (short, long) = (steps(source, 1), steps(source, 101));
        assert!(long >= short + 100, "{source}: {short} and {long} steps");
    }
    for (open, close) in [("has(claims.a", ")"), ("'a", "' in request.headers"), ("has(request.headers.a", ")")] {
        let source = |blocks: usize| format!("{open}{}{close}", "a".repeat(64 * blocks));
        let (short, long) = (steps(&source(1), 1), steps(&source(21), 1));
        assert!(long >= short + 20, "{open}: {short} and {long} steps");
    }
}

#[test]
fn fractions_are_dear_to_read_and_to_write() {
    let (claims, headers) = (claims(), HeaderMap::new());
    let inputs = Inputs { claims: &claims, method: "GET", path: "/", headers: &headers, client: None };
    let steps = |source: &str| evaluate(&Rule::compile(source).unwrap().expr, &inputs, MAX_STEPS).1;
    assert!(steps("double('0.5') == 0.5") > steps("double(claims.ratio) == 0.5") + 400);
    assert!(steps("string(claims.ratio) == '0.5'") > steps("string(claims.level) == '7'") + 400);
}

#[test]
fn a_look_up_among_many_members_costs_more_than_among_few() {
    let of = |n: usize| (0..n).map(|n| (format!("m{n}"), json!(n))).collect::<Map<_, _>>();
    let claims = members(json!({"few": of(2), "many": of(4_096)}));
    let headers = HeaderMap::new();
    let inputs = Inputs { claims: &claims, method: "GET", path: "/", headers: &headers, client: None };
    let steps = |source: &str| evaluate(&Rule::compile(source).unwrap().expr, &inputs, MAX_STEPS).1;
    for source in ["has(claims.@.m1)", "claims.@.m1 == 1", "claims.@['m1'] == 1", "'m1' in claims.@"] {
        let (few, many) = (steps(&source.replace('@', "few")), steps(&source.replace('@', "many")));
        assert_eq!(many, few + 11, "{source}");
    }
}

/// Claims as large as a token of 16 KiB and an issuer's answer of 256 KiB allow, made to be slow in one way each. None
/// comes to its end: what such a rule does, it does until the budget ends it.
#[test]
fn the_worst_rules_are_ended_by_the_budget() {
    let words: Vec<String> = (0..5_000).map(|n| format!("group-{n:05}")).collect();
    let long = "a".repeat(40 << 10);
    let many: Map<_, _> = words.iter().map(|word| (word.clone(), json!(1))).collect();
    let claims = members(json!({
        "words": words, "again": words, "numbers": vec![1; 5_000], "long": long, "many": many, "copy": many,
        "nested": vec![vec![0; 70]; 70], "maps": vec![json!({"a": 1, "b": 2}); 1_000],
        "keyed": {format!("{long}b"): 1, format!("{long}c"): 2}, "keyed2": {format!("{long}b"): 1, format!("{long}c"): 2},
    }));
    let mut headers = headers();
    headers.insert("x-binary", HeaderValue::from_bytes(&["ö".repeat(10 << 10).as_bytes(), b"\xff"].concat()).unwrap());
    let long_path = format!("/{}", "a".repeat(30 << 10));
    let inputs = Inputs { claims: &claims, method: "GET", path: &long_path, headers: &headers, client: None };
    let each = |body: &str| format!("claims.words.all(w, claims.words.all(v, {body}))");
    let sum = |n: usize| vec!["request.path"; n].join(" + ");
    let sources = [
        // Loops, within their bound of two, over all there is.
        each("v != 'x' + w"),
        "claims.words.all(w, w in claims.words)".to_owned(),
        "claims.numbers.all(n, claims.words == claims.again)".to_owned(),
        "claims.maps.all(m, m in claims.maps.filter(n, n != m) || true)".to_owned(),
        format!("claims.numbers.all(n, [{}].all(x, x == 1))", vec!["n"; 200].join(", ")),
        // An error at each element, absorbed each time.
        each("claims + v > 1 || true"),
        "claims.words.all(w, claims.missing == w || claims.again.exists(a, a < 1) || true)".to_owned(),
        // Memory.
        format!("claims.words.all(w, size(claims.words.map(v, {})) > 0)", sum(20)),
        format!("claims.words.all(w, {} != 'x')", sum(30)),
        "claims.words.all(w, size(claims.words.map(v, claims.words + claims.words)) > 0)".to_owned(),
        // Long text.
        each("!claims.long.contains('ab') && !claims.long.contains('aaaaaaaaaaaaaaaaaaab')"),
        each("claims.long + 'a' != 'a' + claims.long || claims.long + 'b' != 'b' + claims.long"),
        each("claims.long + request.path != request.path + claims.long || true"),
        each("size(claims.long) > 0 && size(request.path) > 0"),
        // Long texts through automata as large as they may be.
        each("!request.path.matches('[ab]*a[ab]{11}c') && !claims.long.matches('^(a?){60}a{60}b')"),
        each("v.matches('[a-z]+-[0-9]{5}')"),
        // Searched maps, with names that differ at their end and among many.
        each("!(claims.long in claims.keyed)"),
        each("claims.keyed == claims.keyed2"),
        each("v in claims.many"),
        each("claims.many[v] == 1"),
        each("claims.many == claims.copy"),
        // Headers, there or not.
        each("request.headers['x-binary'] == '' || true"),
        each(&format!("!('{}' in request.headers)", "x".repeat(1_900))),
        // Numbers that are hard to read or write.
        each("double('2.3000000000000001372971903645e-308') > 0.0"),
        each("string(-3.2551429619258012e-254) != ''"),
        each("string(1.7976931348623157e308) != ''"),
        each("int('00000000000000000000000000000000000000000000000000000000000001') == 1"),
    ];
    for source in sources {
        let rule = Rule::compile(&source).unwrap_or_else(|error| panic!("{source}: {error}"));
        let started = std::time::Instant::now();
        let outcome = rule.holds(&inputs);
        eprintln!("{:>10.3?} {}", started.elapsed(), &source[..source.len().min(120)]);
        assert_eq!(outcome, Err(EvaluationError::TooMuchWork), "{source}");
    }
}

#[test]
fn a_rule_that_runs_out_of_budget_is_not_saved_by_an_operand_that_decides() {
    let claims = members(json!({"numbers": vec![1; 60_000]}));
    let headers = HeaderMap::new();
    let inputs = Inputs { claims: &claims, method: "GET", path: "/", headers: &headers, client: None };
    for source in [
        "claims.numbers.all(n, n == 1)",
        "claims.numbers.all(n, n == 1) || true",
        "true || claims.numbers.all(n, n == 1) ? claims.numbers.all(n, n == 1) || true : true",
        "[1, 2].exists(x, x == 2 || claims.numbers.all(n, n == 1))",
    ] {
        assert_eq!(Rule::compile(source).unwrap().holds(&inputs), Err(EvaluationError::TooMuchWork), "{source}");
    }
}

#[test]
fn an_ordinary_rule_takes_few_steps() {
    let groups: Vec<String> = (0..100).map(|n| format!("group-{n}")).collect();
    let claims = members(json!({"groups": groups, "sub": "ada"}));
    let headers = headers();
    let inputs = Inputs { claims: &claims, method: "GET", path: "/items/ada", headers: &headers, client: None };
    for (source, most) in [
        ("'support' in claims.groups", 110),
        ("request.path == '/items/' + claims.sub", 10),
        ("claims.groups.exists(g, g.startsWith('team-'))", 310),
        ("claims.groups.exists(g, request.path.startsWith('/teams/' + g + '/'))", 710),
    ] {
        let steps = evaluate(&Rule::compile(source).unwrap().expr, &inputs, MAX_STEPS).1;
        assert!(steps <= most, "{source}: {steps}");
    }
}
