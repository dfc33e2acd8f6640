//! Paths with slashes that not everybody reads alike, kept by the policy, and paths in which case matters.

use tollgate_contract::{OddSlash, PathsConfig};

use super::*;

const KEEP: PathsConfig =
    PathsConfig { encoded_slash: OddSlash::Keep, double_slash: OddSlash::Keep, case_sensitive: false };

#[test]
fn a_path_with_odd_slashes_satisfies_the_rules_of_both_readings() {
    let table = items();
    for (path, expected) in [
        // An encoded slash as data alone opens something, and as a separator adds what it leads to.
        ("/docs/a%2Fb", "public"),
        ("/docs/gitlab%2Fproject/x", "public"),
        ("/docs%2Fa", "token"),
        ("/docs/x%2F..%2Finternal", "400"),
        ("/docs%2Finternal", "denied"),
        ("/docs/internal%2Fx", "denied"),
        ("/docs/Internal%2fx", "denied"),
        ("/docs/internal;a%2Fb", "denied"),
        ("/docs%2F;a/internal", "denied"),
        ("/items%2F1", "items"),
        ("/items%2Fhealth", "token"),
        ("/items/health%2F", "items"),
        ("/ITEMS%2F1", "items"),
        ("/%2Fitems/1", "items"),
        ("/admin%2F", "denied"),
        ("/%61dmin%2fx", "denied"),
        // Slashes kept and merged.
        ("/docs//a", "public"),
        ("/docs//internal", "denied"),
        ("/docs///internal//x", "denied"),
        ("/docs//;a//internal", "denied"),
        ("//items", "items"),
        ("/items//1", "items"),
        ("/items//health", "items"),
        ("//admin", "denied"),
        ("//docs", "token"),
        // What follows two slashes may be taken for a host.
        ("//docs/items/1", "items"),
        ("//docs/admin", "denied"),
        ("///docs/admin", "denied"),
        ("/%2Fdocs%2Fadmin", "denied"),
        ("//evil.example/docs/internal", "denied"),
    ] {
        assert_eq!(outcome_of(&table, "GET", path, &KEEP), expected, "{path}");
    }
}

#[test]
fn a_rule_on_the_path_holds_only_where_it_is_true_of_every_reading() {
    let mut own = route("own", prefix("/own"), &[], Access::Authenticated, &[]);
    own.when = Some("!request.path.startsWith('/own/private/') && request.path != '/own/private'".into());
    let table = table(&[own]);
    let mut who = identity(&[]);
    who.claims = Some(std::sync::Arc::default());
    for (raw, holds) in [
        ("/own/a", true),
        ("/own/a%2Fb", true),
        ("/own//a", true),
        ("/own/private/x", false),
        ("/own/private%2Fx", false),
        ("/own//private/x", false),
        ("/own%2F%2Fprivate%2Fx", false),
        ("//own/private//x", false),
    ] {
        let path = CleanPath::received(raw, &KEEP).unwrap();
        let verdict = table.judge(&path, &Method::GET);
        let asked = Asked { method: &Method::GET, path: &path, headers: &HeaderMap::new() };
        assert_eq!(table.authorize(&verdict, &who, asked).is_ok(), holds, "{raw}");
    }
}

#[test]
fn where_case_matters_another_case_is_another_path() {
    let routes = [
        route("admin", prefix("/admin"), &[], Access::Denied, &[]),
        route("Items", prefix("/Items"), &[], Access::Authenticated, &["upper"]),
        route("items", prefix("/items"), &[], Access::Authenticated, &["lower"]),
        route("rest", prefix("/"), &[], Access::Public, &[]),
    ];
    let table = RouteTable::new(&routes, DefaultAccess::Authenticated, true).unwrap();
    for (path, expected) in [
        ("/admin", "denied"),
        ("/Admin", "public"),
        ("/admin;x", "denied"),
        ("/Admin;x", "public"),
        ("/Items", "upper"),
        ("/items", "lower"),
        ("/Items;x/1", "upper"),
        ("/%49tems", "upper"),
        ("/ITEMS", "public"),
    ] {
        assert_eq!(outcome(&table, "GET", path), expected, "{path}");
    }
}

/// An app, by what it does with a path before it looks for a handler.
#[derive(Debug, Clone, Copy)]
struct App {
    encoded_slash_separates: bool,
    merges: bool,
    folds: bool,
    drops_parameters: bool,
    sees_authority: bool,
}

impl App {
    fn all() -> impl Iterator<Item = Self> {
        (0..32).map(|bits: u8| {
            let has = |at: u8| bits & (1 << at) != 0;
            Self {
                encoded_slash_separates: has(0),
                merges: has(1),
                folds: has(2),
                drops_parameters: has(3),
                sees_authority: has(4),
            }
        })
    }

    /// Written apart from what is tested: on text, step by step.
    fn serves(self, path: &str) -> String {
        // No segment of these tests holds this character.
        const DATA: &str = "\u{1}";
        let slash = if self.encoded_slash_separates { "/" } else { DATA };
        let mut path = path.replace("%2F", slash).replace("%2f", slash).replace("%61", "a");
        if self.sees_authority && path.starts_with("//") {
            let rest = path.trim_start_matches('/').to_owned();
            path = rest.find('/').map_or("/", |at| &rest[at..]).to_owned();
        }
        if self.drops_parameters {
            let names = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
            path = names.collect::<Vec<_>>().join("/");
        }
        while self.merges && path.contains("//") {
            path = path.replace("//", "/");
        }
        if self.folds { path.to_lowercase() } else { path }
    }
}

#[test]
fn no_path_reaches_a_handler_by_a_weaker_rule_whatever_the_app_makes_of_it() {
    const PARTS: [&str; 9] = ["/", "%2F", "%2f", "admin", "%61dmin", "Admin", "docs", ";x", ".."];
    let table = table(&[
        route("rest", prefix("/"), &[], Access::Public, &[]),
        route("admin", prefix("/admin"), &[], Access::Denied, &[]),
        route("docs-admin", prefix("/docs/admin"), &[], Access::Authenticated, &["docs"]),
    ]);
    let settings =
        [(OddSlash::Reject, OddSlash::Keep), (OddSlash::Keep, OddSlash::Reject), (OddSlash::Keep, OddSlash::Keep)];
    let settings = settings.map(|(encoded_slash, double_slash)| PathsConfig {
        encoded_slash,
        double_slash,
        case_sensitive: false,
    });
    let below = |path: &str, prefix: &str| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let (mut judged, mut denied) = (0, 0);
    let mut paths = vec!["/".to_owned()];
    for _ in 0..4 {
        paths = paths.iter().flat_map(|path| PARTS.map(|part| format!("{path}{part}"))).collect();
        for (path, paths) in paths.iter().flat_map(|path| settings.iter().map(move |paths| (path, paths))) {
            let found = outcome_of(&table, "GET", path, paths);
            if found == "400" {
                continue;
            }
            judged += 1;
            denied += usize::from(found == "denied");
            for app in App::all() {
                let served = app.serves(path);
                assert!(!below(&served, "/admin") || found == "denied", "{path} is {found}, and {served} to {app:?}");
                assert!(
                    !below(&served, "/docs/admin") || found != "public",
                    "{path} is {found}, and {served} to {app:?}"
                );
            }
        }
    }
    assert!(judged > 5_000 && denied > 500, "{judged} judged, {denied} denied");
}
