//! The table of modes: how each kind of token ends, in each mode, in each state of Okta. One table, run through the HTTP
//! port and shown in the user guide, which may not say anything else.

use std::fmt::Write;
use std::fs;

use futures::future::join_all;
use serde_json::{Value, json};
use tests::issuer::{Endpoint, FakeIssuer, Fault, Wire};
use tests::kubernetes::repository;
use tests::mint::{Token, other_key};
use tollgate_contract::ValidationMode;

use crate::world::World;

/// The guide's page, and what encloses the table there.
const PAGE: &str = "docs/token-validation.md";
const BEGIN: &str = "<!-- the table of tests/sidecar/modes.rs -->\n";
const END: &str = "<!-- end of the table -->\n";

/// An Okta org authorization server is told by its host; its endpoint is given, so nobody looks the host up.
const ORG_SERVER: &str = "https://acme.okta.com";

/// How tokens are judged, and by what kind of server.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Local,
    Introspection,
    LocalAndIntrospection,
    OrgServer,
}

/// How Okta is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Okta {
    Up,
    Limited,
    Down,
}

/// What becomes of a token while Okta is up, limits us, or is down.
#[derive(Debug, Clone, Copy)]
enum Cell {
    /// The same in each state: Okta is not needed.
    Always(u16, &'static str),
    /// This when Okta is up; else it could not be judged, and the caller is to come back.
    Asked(u16, &'static str),
}

/// One kind of token.
struct Row {
    name: &'static str,
    make: fn(&FakeIssuer, &str) -> String,
    /// In the order of [`MODES`].
    cells: [Cell; 4],
}

const MODES: [Mode; 4] = [Mode::Local, Mode::Introspection, Mode::LocalAndIntrospection, Mode::OrgServer];
const STATES: [Okta; 3] = [Okta::Up, Okta::Limited, Okta::Down];

const PASSES: Cell = Cell::Always(200, "-");
const PASSES_WHEN_ASKED: Cell = Cell::Asked(200, "-");
const INACTIVE: Cell = Cell::Asked(401, "inactive");
const BAD_SIGNATURE: Cell = Cell::Always(401, "bad_signature");
const UNKNOWN_KEY: Cell = Cell::Asked(401, "unknown_key");
const ENCRYPTED: Cell = Cell::Always(401, "encrypted_token");
const MALFORMED: Cell = Cell::Always(401, "malformed_token");
const WRONG_TYPE: Cell = Cell::Always(401, "wrong_token_type");
const WRONG_TYPE_WHEN_ASKED: Cell = Cell::Asked(401, "wrong_token_type");

const TABLE: [Row; 8] = [
    Row {
        name: "sound JWT",
        make: |issuer, iss| active(issuer, &Token::of(iss)),
        cells: [PASSES, PASSES_WHEN_ASKED, PASSES_WHEN_ASKED, PASSES_WHEN_ASKED],
    },
    Row {
        name: "JWT with a bad signature",
        make: |_, iss| Token::of(iss).signed_by(other_key()),
        cells: [BAD_SIGNATURE, BAD_SIGNATURE, BAD_SIGNATURE, INACTIVE],
    },
    Row {
        name: "JWT with an unknown key id",
        make: |_, iss| Token::of(iss).header("kid", json!("unknown")).signed_by(other_key()),
        cells: [UNKNOWN_KEY, INACTIVE, UNKNOWN_KEY, INACTIVE],
    },
    Row {
        name: "encrypted (JWE)",
        make: |issuer, iss| unreadable(issuer, "eyJ.a.b.c.", Token::of(iss).answer()),
        cells: [ENCRYPTED, PASSES_WHEN_ASKED, ENCRYPTED, PASSES_WHEN_ASKED],
    },
    Row {
        name: "opaque",
        make: |issuer, iss| unreadable(issuer, "opaque-", Token::of(iss).answer()),
        cells: [MALFORMED, PASSES_WHEN_ASKED, MALFORMED, PASSES_WHEN_ASKED],
    },
    Row {
        name: "revoked JWT",
        make: |issuer, iss| {
            let token = active(issuer, &Token::of(iss));
            issuer.revoke(&token);
            token
        },
        cells: [PASSES, INACTIVE, INACTIVE, INACTIVE],
    },
    Row {
        name: "refresh token",
        make: |issuer, iss| {
            let token = Token::of(iss).claim("jti", json!("oar579Mcp7OUsNTlo0g3"));
            unreadable(issuer, "refresh-", token.answer())
        },
        cells: [MALFORMED, WRONG_TYPE_WHEN_ASKED, MALFORMED, WRONG_TYPE_WHEN_ASKED],
    },
    Row {
        name: "ID token",
        make: |issuer, iss| {
            let token = Token::of(iss).claim("jti", json!("ID.x")).claim("nonce", json!("n"));
            active(issuer, &token.claim("aud", json!("0oaCaller")))
        },
        cells: [WRONG_TYPE, Cell::Always(401, "audience_mismatch"), WRONG_TYPE, WRONG_TYPE_WHEN_ASKED],
    },
];

impl Mode {
    fn validation(self) -> ValidationMode {
        match self {
            Self::Local => ValidationMode::Local,
            Self::LocalAndIntrospection => ValidationMode::LocalAndIntrospection,
            Self::Introspection | Self::OrgServer => ValidationMode::Introspection,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Local => "`Local`",
            Self::Introspection => "`Introspection`",
            Self::LocalAndIntrospection => "`LocalAndIntrospection`",
            Self::OrgServer => "`Introspection`, org server",
        }
    }

    /// The `iss` of its tokens.
    fn iss(self, issuer: &FakeIssuer) -> String {
        if self == Self::OrgServer { ORG_SERVER.into() } else { issuer.url() }
    }

    async fn world(self) -> World {
        let issuer = FakeIssuer::start().await;
        let introspection = format!("{}/v1/introspect", issuer.url());
        let world = World::start(issuer, self.validation(), |config| {
            if self == Self::OrgServer {
                config.issuers[0].url = ORG_SERVER.into();
                config.issuers[0].endpoints.introspection = Some(introspection);
                config.token_broker = None;
            }
        })
        .await;
        world.await_ready().await;
        world
    }
}

impl Okta {
    fn befall(self, issuer: &FakeIssuer) {
        match self {
            Self::Up => {}
            Self::Limited => {
                issuer.fault(Endpoint::Introspect, Fault::Limited(30));
                issuer.fault(Endpoint::Keys, Fault::Limited(30));
            }
            Self::Down => issuer.wire(Wire::Down),
        }
    }
}

impl Cell {
    fn expected(self, okta: Okta) -> (u16, &'static str) {
        match (self, okta) {
            (Self::Always(status, reason), _) | (Self::Asked(status, reason), Okta::Up) => (status, reason),
            (Self::Asked(..), Okta::Limited) => (503, "idp_rate_limited"),
            (Self::Asked(..), Okta::Down) => (503, "idp_unreachable"),
        }
    }

    /// As the guide shows it.
    fn shown(self) -> String {
        let (status, reason) = self.expected(Okta::Up);
        let verdict = if reason == "-" { status.to_string() } else { format!("{status} `{reason}`") };
        match self {
            Self::Always(..) => verdict,
            Self::Asked(..) => format!("{verdict} / 503 / 503"),
        }
    }
}

#[tokio::test]
async fn every_token_in_every_mode_and_state_of_okta_ends_as_the_table_says() {
    let all = MODES.into_iter().enumerate().flat_map(|mode| STATES.map(|okta| (mode, okta)));
    join_all(all.map(|((nth, mode), okta)| Box::pin(run_column(nth, mode, okta)))).await;
}

async fn run_column(nth: usize, mode: Mode, okta: Okta) {
    let world = mode.world().await;
    okta.befall(&world.issuer);
    for row in &TABLE {
        let token = (row.make)(&world.issuer, &mode.iss(&world.issuer));
        let expected = row.cells[nth].expected(okta);
        // The second time the verdict may be a remembered one, which says the same.
        for time in ["first", "second"] {
            let answer = world.get(&token).await;
            let place = format!("{}, {mode:?}, Okta {okta:?}, the {time} time", row.name);
            assert_eq!(answer.verdict(), expected, "{place}");
            assert_eq!(answer.header("retry-after").is_empty(), answer.status != 503, "{place}");
            assert_eq!(answer.header("www-authenticate").is_empty(), answer.status != 401, "{place}");
        }
    }
    let passed = TABLE.iter().filter(|row| row.cells[nth].expected(okta).0 == 200).count();
    assert_eq!(world.app_hits(), 2 * passed, "{mode:?}, Okta {okta:?}");
}

/// `TOLLGATE_BLESS=1` writes the table into the guide instead.
#[test]
fn the_guide_shows_this_table() {
    let path = repository().join(PAGE);
    let page = fs::read_to_string(&path).expect("the page is there");
    let (before, rest) = page.split_once(BEGIN).expect("the page marks where the table begins");
    let (shown, after) = rest.split_once(END).expect("the page marks where the table ends");
    let table = rendered();
    if std::env::var_os("TOLLGATE_BLESS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).expect("the page can be written");
    } else {
        assert_eq!(shown, table, "{PAGE} differs; run this test with TOLLGATE_BLESS=1");
    }
}

fn rendered() -> String {
    let titles: Vec<_> = MODES.iter().map(|mode| mode.title()).collect();
    let mut text = format!("\n| | {} |\n|{}\n", titles.join(" | "), " --- |".repeat(MODES.len() + 1));
    for row in &TABLE {
        let cells: Vec<_> = row.cells.iter().map(|cell| cell.shown()).collect();
        writeln!(text, "| {} | {} |", row.name, cells.join(" | ")).expect("a string grows");
    }
    text + "\n"
}

/// Signed by the published key, and active when asked.
fn active(issuer: &FakeIssuer, token: &Token) -> String {
    let text = token.signed();
    issuer.answer(&text, token.answer());
    text
}

/// A token that only its issuer can read.
fn unreadable(issuer: &FakeIssuer, prefix: &str, answer: Value) -> String {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let text = format!("{prefix}{}", COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    issuer.answer(&text, answer);
    text
}
