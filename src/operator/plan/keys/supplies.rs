//! Whose keys are held, and whose turn it is to have them fetched. A source is held while a resource names it, and a little
//! longer; a namespace has so many and no more, and a line of its own: nothing that one of them does costs another its keys
//! or its turn. It asks nobody.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use tollgate_api::validated::CaBundle;

use super::{Source, Supply};

/// Sources of one namespace. With the largest key sets they take 4 MiB.
const MOST_SOURCES: usize = 64;

/// How long a source is held that no resource of the namespace names any more: an edit that is taken back costs no fetch.
const GRACE: Duration = Duration::from_secs(60);

/// Issuers asked at a time: with ten thousand of them, each has its turn within the interval even when many do not answer.
const MOST_UNDER_WAY: usize = 64;

/// The same for one namespace, whose issuers may all be silent.
const MOST_UNDER_WAY_OF_ONE: usize = 8;

/// What is held for all resources.
#[derive(Debug, Default)]
pub struct Supplies {
    held: HashMap<Source, Held>,
    tenants: HashMap<String, Tenant>,
    /// Namespaces that have somebody in line; the first is next.
    ring: VecDeque<String>,
    under_way: usize,
    swept: Option<Instant>,
}

/// What a source has brought, and how many namespaces claim it.
#[derive(Debug, Default)]
struct Held {
    supply: Supply,
    claims: usize,
}

/// A namespace.
#[derive(Debug, Default)]
struct Tenant {
    claims: HashMap<Source, Claim>,
    waiting: VecDeque<Source>,
    under_way: usize,
}

/// What a namespace has to do with a source.
#[derive(Debug, Default)]
struct Claim {
    /// Where its CA bundle is.
    bundle: Option<CaBundle>,
    /// Names of the resources that name it.
    resources: BTreeSet<String>,
    /// Since when there are none.
    unnamed: Option<Instant>,
}

/// A source that is to be asked now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// For whom.
    pub namespace: String,
    /// Whom.
    pub source: Source,
    /// Where in the namespace its CA bundle is.
    pub bundle: Option<CaBundle>,
}

impl Supplies {
    /// These are the sources that a resource names now, and no others; none when it is gone. Those whose keys are due get in
    /// line. What is more than a namespace may have is not held.
    pub fn name(&mut self, namespace: &str, resource: &str, sources: &[(Source, Option<CaBundle>)], now: Instant) {
        self.sweep(now);
        let tenant = self.tenants.entry(namespace.to_owned()).or_default();
        for (source, claim) in &mut tenant.claims {
            let is_named = sources.iter().any(|(named, _)| named == source);
            if !is_named && claim.resources.remove(resource) && claim.resources.is_empty() {
                claim.unnamed = Some(now);
            }
        }
        for (source, bundle) in sources {
            if !tenant.claims.contains_key(source) {
                if tenant.claims.len() >= MOST_SOURCES && !tenant.gives_one_up(&mut self.held) {
                    continue;
                }
                self.held.entry(source.clone()).or_default().claims += 1;
            }
            let claim = tenant.claims.entry(source.clone()).or_default();
            claim.resources.insert(resource.to_owned());
            claim.unnamed = None;
            claim.bundle.clone_from(bundle);
            let is_due = self.held.get(source).is_some_and(|held| held.supply.is_due(now));
            if is_due && !tenant.waiting.contains(source) {
                tenant.waiting.push_back(source.clone());
            }
        }
        if !tenant.waiting.is_empty() && !self.ring.iter().any(|waiting| waiting == namespace) {
            self.ring.push_back(namespace.to_owned());
        }
    }

    /// What a source has brought; nothing when it is not held.
    #[must_use]
    pub fn supply(&self, source: &Source) -> Supply {
        self.held.get(source).map(|held| held.supply.clone()).unwrap_or_default()
    }

    /// How many sources are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Who is to be asked now, one namespace after the other. The caller asks, and says how it ended.
    pub fn next_turn(&mut self, now: Instant) -> Option<Turn> {
        for _ in 0..self.ring.len() {
            if self.under_way >= MOST_UNDER_WAY {
                return None;
            }
            let namespace = self.ring.pop_front()?;
            let Some(tenant) = self.tenants.get_mut(&namespace) else { continue };
            let turn = tenant.next_turn(&mut self.held, now);
            if !tenant.waiting.is_empty() {
                self.ring.push_back(namespace.clone());
            }
            if let Some((source, bundle)) = turn {
                self.under_way += 1;
                return Some(Turn { namespace, source, bundle });
            }
        }
        None
    }

    /// A turn is over; where its outcome belongs, if the source is still held.
    pub fn end(&mut self, turn: &Turn) -> Option<&mut Supply> {
        self.under_way = self.under_way.saturating_sub(1);
        if let Some(tenant) = self.tenants.get_mut(&turn.namespace) {
            tenant.under_way = tenant.under_way.saturating_sub(1);
        }
        self.held.get_mut(&turn.source).map(|held| &mut held.supply)
    }

    /// Lets go what nobody has named for the grace.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now.duration_since(swept) < GRACE) {
            return;
        }
        self.swept = Some(now);
        let held = &mut self.held;
        self.tenants.retain(|_, tenant| {
            tenant.claims.retain(|source, claim| {
                let stays = claim.unnamed.is_none_or(|since| now.duration_since(since) < GRACE);
                if !stays {
                    release(held, source);
                }
                stays
            });
            let claims = &tenant.claims;
            tenant.waiting.retain(|source| claims.contains_key(source));
            !tenant.claims.is_empty() || tenant.under_way > 0
        });
        let tenants = &self.tenants;
        self.ring.retain(|namespace| tenants.get(namespace).is_some_and(|tenant| !tenant.waiting.is_empty()));
    }
}

impl Tenant {
    /// The first in line whose keys are still due: another namespace may have had them fetched.
    fn next_turn(&mut self, held: &mut HashMap<Source, Held>, now: Instant) -> Option<(Source, Option<CaBundle>)> {
        while self.under_way < MOST_UNDER_WAY_OF_ONE {
            let source = self.waiting.pop_front()?;
            let Some(claim) = self.claims.get(&source) else { continue };
            if held.get_mut(&source).is_some_and(|held| held.supply.begin(now)) {
                self.under_way += 1;
                let bundle = claim.bundle.clone();
                return Some((source, bundle));
            }
        }
        None
    }

    /// Lets go of what nobody has named for the longest time; false when all are named.
    fn gives_one_up(&mut self, held: &mut HashMap<Source, Held>) -> bool {
        let unnamed = self.claims.iter().filter_map(|(source, claim)| Some((claim.unnamed?, source)));
        let Some(oldest) = unnamed.min_by_key(|(since, _)| *since).map(|(_, source)| source.clone()) else {
            return false;
        };
        self.claims.remove(&oldest);
        self.waiting.retain(|source| *source != oldest);
        release(held, &oldest);
        true
    }
}

/// A namespace claims the source no more; the last one takes it along.
fn release(held: &mut HashMap<Source, Held>, source: &Source) {
    if let Some(of_source) = held.get_mut(source) {
        of_source.claims -= 1;
        if of_source.claims == 0 {
            held.remove(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use tollgate_contract::{KeySource, ProblemCode};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn source(host: &str) -> Source {
        let named = KeySource { issuer: format!("https://{host}.test"), jwks: None, ca_bundle: None };
        Source { named, allow_http: false }
    }

    fn sources(hosts: impl IntoIterator<Item = String>) -> Vec<(Source, Option<CaBundle>)> {
        hosts.into_iter().map(|host| (source(&host), None)).collect()
    }

    /// `shop` and other names, each with this many sources of its own.
    fn many(of: &str, count: usize) -> Vec<(Source, Option<CaBundle>)> {
        sources((0..count).map(|number| format!("{of}-{number}")))
    }

    fn one(host: &str) -> Vec<(Source, Option<CaBundle>)> {
        sources([host.to_owned()])
    }

    /// All turns that may be taken now.
    fn turns(supplies: &mut Supplies, now: Instant) -> Vec<Turn> {
        std::iter::from_fn(|| supplies.next_turn(now)).collect()
    }

    fn namespaces(turns: &[Turn]) -> Vec<&str> {
        turns.iter().map(|turn| turn.namespace.as_str()).collect()
    }

    fn brings(supplies: &mut Supplies, turn: &Turn, now: Instant) {
        supplies.end(turn).expect("it is held").fetched("{}".to_owned(), 0, now, 0.5);
    }

    #[test]
    fn a_resource_that_is_edited_every_second_for_an_hour_holds_no_more_than_its_namespace_may() {
        let (mut supplies, start) = (Supplies::default(), Instant::now());
        supplies.name("honest", "items", &one("okta"), start);
        for second in 0..3_600 {
            let now = start + SECOND * second;
            supplies.name("evil", "items", &many(&format!("edit-{second}"), 8), now);
            for turn in turns(&mut supplies, now) {
                brings(&mut supplies, &turn, now);
            }
            assert!(supplies.len() <= MOST_SOURCES + 1, "{} after {second} s", supplies.len());
            assert!(supplies.supply(&source("okta")).view().is_some(), "the other namespace keeps its keys");
            let latest = supplies.supply(&source(&format!("edit-{second}-0")));
            assert!(latest.view().is_some(), "what is named now is fetched");
        }
        assert!(supplies.tenants["evil"].waiting.len() <= MOST_SOURCES);
    }

    #[test]
    fn what_no_resource_names_any_more_goes_after_a_minute_with_all_that_was_known_of_its_namespace() {
        let (mut supplies, start) = (Supplies::default(), Instant::now());
        supplies.name("shop", "items", &many("shop", 2), start);
        supplies.name("shop", "orders", &one("shop-1"), start);
        supplies.name("gone", "items", &one("gone"), start);
        for turn in turns(&mut supplies, start) {
            brings(&mut supplies, &turn, start);
        }
        supplies.name("shop", "items", &[], start + SECOND);
        supplies.name("gone", "items", &[], start + SECOND);
        supplies.name("shop", "items", &[], start + 50 * SECOND);
        assert_eq!(supplies.len(), 3, "an edit may be taken back");
        let later = start + SECOND + GRACE;
        supplies.name("shop", "other", &[], later);
        assert!(supplies.supply(&source("shop-1")).view().is_some(), "orders still names it");
        assert_eq!((supplies.len(), supplies.tenants.len()), (1, 1));
        supplies.name("shop", "orders", &[], later);
        supplies.name("shop", "orders", &[], later + GRACE);
        supplies.name("shop", "orders", &[], later + 2 * GRACE);
        assert!(supplies.is_empty() && supplies.ring.is_empty());
    }

    #[test]
    fn an_edit_that_is_taken_back_costs_no_fetch() {
        let (mut supplies, start) = (Supplies::default(), Instant::now());
        for round in 0..20 {
            let now = start + SECOND * round;
            supplies.name("shop", "items", &one(if round % 2 == 0 { "a" } else { "b" }), now);
            let turns = turns(&mut supplies, now);
            assert_eq!(turns.len(), usize::from(round < 2), "round {round}");
            for turn in turns {
                brings(&mut supplies, &turn, now);
            }
        }
    }

    #[test]
    fn a_source_that_several_namespaces_name_is_fetched_once_and_stays_for_the_last_of_them() {
        let (mut supplies, start) = (Supplies::default(), Instant::now());
        supplies.name("a", "items", &one("okta"), start);
        supplies.name("b", "items", &one("okta"), start);
        let turns = turns(&mut supplies, start);
        assert_eq!(turns.len(), 1);
        brings(&mut supplies, &turns[0], start);
        supplies.name("a", "items", &[], start);
        supplies.name("b", "items", &one("okta"), start + 3 * GRACE);
        assert!(supplies.supply(&source("okta")).view().is_some());
    }

    #[test]
    fn a_namespace_whose_issuers_are_all_silent_keeps_nobody_waiting() {
        let (mut supplies, now) = (Supplies::default(), Instant::now());
        supplies.name("evil", "items", &many("evil", MOST_SOURCES), now);
        assert_eq!(turns(&mut supplies, now).len(), MOST_UNDER_WAY_OF_ONE, "none of them ends");
        supplies.name("shop", "items", &one("okta"), now);
        assert_eq!(namespaces(&turns(&mut supplies, now)), ["shop"]);
    }

    #[test]
    fn an_issuer_that_stands_in_the_line_of_another_namespace_does_not_wait_there() {
        let (mut supplies, now) = (Supplies::default(), Instant::now());
        let mut all = many("evil", MOST_SOURCES - 1);
        all.extend(one("okta"));
        supplies.name("evil", "items", &all, now);
        turns(&mut supplies, now);
        supplies.name("shop", "items", &one("okta"), now);
        let turns = turns(&mut supplies, now);
        assert_eq!((namespaces(&turns), &turns[0].source), (vec!["shop"], &source("okta")));
    }

    #[test]
    fn namespaces_take_turns_and_all_together_have_a_bound() {
        let (mut supplies, now) = (Supplies::default(), Instant::now());
        for namespace in ["a", "b", "c"] {
            supplies.name(namespace, "items", &many(namespace, 3), now);
        }
        let first = turns(&mut supplies, now);
        assert_eq!(namespaces(&first), ["a", "b", "c", "a", "b", "c", "a", "b", "c"]);
        for number in 0..20 {
            let namespace = format!("n-{number}");
            supplies.name(&namespace, "items", &many(&namespace, 8), now);
        }
        let second = turns(&mut supplies, now);
        assert_eq!(first.len() + second.len(), MOST_UNDER_WAY);
        assert!(second[..20].iter().all(|turn| turn.source.named.issuer.ends_with("-0.test")), "each its first");
        brings(&mut supplies, &first[0], now);
        assert_eq!(turns(&mut supplies, now).len(), 1, "one that ends makes room for one");
    }

    #[test]
    fn what_is_named_is_never_given_up_for_more() {
        let (mut supplies, now) = (Supplies::default(), Instant::now());
        supplies.name("shop", "items", &many("shop", MOST_SOURCES), now);
        supplies.name("shop", "orders", &one("one-too-many"), now);
        assert_eq!(supplies.len(), MOST_SOURCES);
        assert!(!supplies.held.contains_key(&source("one-too-many")));
        supplies.name("shop", "items", &many("shop", MOST_SOURCES - 1), now);
        supplies.name("shop", "orders", &one("one-too-many"), now);
        assert!(supplies.held.contains_key(&source("one-too-many")), "there is room now");
        assert!(!supplies.held.contains_key(&source(&format!("shop-{}", MOST_SOURCES - 1))));
    }

    #[test]
    fn a_fetch_that_ends_after_its_source_has_gone_brings_nothing_back() {
        let (mut supplies, now) = (Supplies::default(), Instant::now());
        supplies.name("shop", "items", &one("old"), now);
        let turns = turns(&mut supplies, now);
        supplies.name("shop", "items", &[], now);
        supplies.name("shop", "items", &[], now + 2 * GRACE);
        assert!(supplies.end(&turns[0]).is_none());
        assert!(supplies.is_empty());
        assert_eq!(supplies.under_way, 0);
    }

    #[test]
    fn a_turn_that_asked_nobody_is_anybodys_again() {
        let (mut supplies, now) = (Supplies::default(), Instant::now());
        supplies.name("evil", "items", &one("okta"), now);
        let first = turns(&mut supplies, now);
        supplies.name("shop", "items", &one("okta"), now);
        assert_eq!(turns(&mut supplies, now), [], "it is being asked");
        supplies.end(&first[0]).expect("it is held").put_back();
        supplies.name("shop", "items", &one("okta"), now);
        let second = turns(&mut supplies, now);
        assert_eq!(namespaces(&second), ["shop"]);
        supplies.end(&second[0]).expect("it is held").failed(ProblemCode::IssuerUnreachable, now, 1.0);
        supplies.name("shop", "items", &one("okta"), now + SECOND);
        assert_eq!(turns(&mut supplies, now + SECOND), [], "a failure is retried later");
    }
}
