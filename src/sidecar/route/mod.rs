//! Decides which rules govern a request, and in `authorize` whether a token satisfies them. Pure; the path is never
//! changed here.
//!
//! A path is chosen first, by the most specific match, then the method. The spelled path alone can open something
//! (`Public`); every looser reading that an app might have of the same path ([`Reading`], [`Cut`]) can only add
//! requirements, so `/docs/../items`, `/Items` or `/items;x` never get in by a weaker rule than `/items`.

mod authorize;
mod method;
mod tree;

use http::Method;
use tollgate_contract::{Access, DefaultAccess, PathMatch, RouteConfig};
use tollgate_rules::CompileError;

pub use authorize::{Asked, Unauthorized};
pub use method::MethodSet;
use tree::{Pattern, Tree};

use crate::path::{CleanPath, Cut, Reading};

/// Sets of rules are bits of a `u64`.
pub const MAX_ROUTES: usize = 64;

/// The rules of one policy, ready to be asked.
#[derive(Debug)]
pub struct RouteTable {
    rules: Vec<Rule>,
    groups: Vec<Group>,
    /// As spelled.
    spelled: Tree,
    /// One for each looser reading that counts.
    loose: Vec<(Reading, Tree)>,
    /// Every rule's path is plain, so a plain request path need not be looked up but once.
    all_plain: bool,
    default: Requirement,
}

/// What must hold before a request is forwarded, in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Requirement {
    /// Nothing; no token is looked at.
    Nothing,
    /// A valid token.
    Token,
    /// It is not forwarded.
    Impossible,
}

/// What the table says of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// What must hold.
    pub requirement: Requirement,
    /// Set where rules name the path, none with the method: what is allowed instead. The request is refused, but only
    /// a caller with a valid token learns so.
    pub method_mismatch: Option<MethodSet>,
    /// The rule that decided, for log and metric.
    pub route: RouteId,
    /// Rules that ask more of a token than that it is valid, as bits.
    asking: u64,
}

/// A rule of the policy, or the default for paths that none names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RouteId {
    /// By position in the configuration.
    Rule(u8),
    /// No rule names the path.
    Default,
}

/// Why rules cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// More than fit.
    #[error("{0} routes are more than {MAX_ROUTES}")]
    TooMany(usize),
    /// Names show in logs and metrics.
    #[error("two routes are called {0:?}")]
    DuplicateName(String),
    /// Neither could win.
    #[error("routes {0:?} and {1:?} both match {2} with the same method")]
    Overlap(String, String, String),
    /// A path that no request could match, or that reads in two ways.
    #[error("route {0:?} has path {1:?}, which must start with / and hold no dot segment, //, %, ?, # or backslash")]
    BadPath(String, String),
    /// Not one of the standard methods.
    #[error("route {0:?} names method {1:?}, which is none of {all}", all = MethodSet::STANDARD)]
    UnknownMethod(String, String),
    /// Conditions on a token where none is looked at.
    #[error("route {0:?} is {1:?} and has scopes, issuers or a rule; those need access Authenticated")]
    ConditionsWithoutToken(String, Access),
    /// Outside what RFC 6749 section 3.3 allows.
    #[error("route {0:?} has scope {1:?}, which is no scope token")]
    BadScope(String, String),
    /// No rule that could be enforced.
    #[error("the rule of route {0:?} does not compile")]
    BadRule(String, #[source] CompileError),
}

#[derive(Debug)]
struct Rule {
    name: Box<str>,
    methods: MethodSet,
    requirement: Requirement,
    all_of: Vec<Box<str>>,
    any_of: Vec<Box<str>>,
    /// `all_of` and `any_of` as a challenge names them.
    challenge: Box<str>,
    /// Names of the issuers whose tokens may pass; empty = any.
    issuers: Vec<Box<str>>,
    when: Option<tollgate_rules::Rule>,
}

/// The rules of one path, told apart by method.
#[derive(Debug)]
struct Group {
    pattern: Pattern,
    rules: Vec<u8>,
    allow: MethodSet,
}

impl RouteTable {
    /// Compiles rules. With `case_sensitive` paths, another case is another path.
    ///
    /// # Errors
    /// They contradict each other or make no sense.
    pub fn new(routes: &[RouteConfig], default: DefaultAccess, case_sensitive: bool) -> Result<Self, RouteError> {
        if routes.len() > MAX_ROUTES {
            return Err(RouteError::TooMany(routes.len()));
        }
        let rules = routes.iter().map(Rule::new).collect::<Result<Vec<_>, _>>()?;
        for (at, rule) in rules.iter().enumerate() {
            if rules[..at].iter().any(|other| other.name == rule.name) {
                return Err(RouteError::DuplicateName(rule.name.to_string()));
            }
        }
        let mut groups: Vec<Group> = Vec::new();
        for (id, (route, rule)) in (0u8..).zip(routes.iter().zip(&rules)) {
            let pattern = Pattern::new(route)?;
            match groups.iter_mut().find(|group| group.pattern == pattern) {
                Some(group) => group.add(id, rule, &rules, &route.path)?,
                None => groups.push(Group { pattern, rules: vec![id], allow: rule.allowed() }),
            }
        }
        let patterns: Vec<&Pattern> = groups.iter().map(|group| &group.pattern).collect();
        let tree = |reading| Tree::new(&patterns, reading);
        let loose = Reading::ALL.into_iter().filter(|reading| *reading != Reading::AsSpelled);
        let loose = loose.filter(|reading| !(case_sensitive && reading.folds()));
        let (spelled, loose) = (tree(Reading::AsSpelled), loose.map(|reading| (reading, tree(reading))).collect());
        let all_plain = patterns.iter().all(|pattern| pattern.is_plain());
        let default = match default {
            DefaultAccess::Authenticated => Requirement::Token,
            DefaultAccess::Denied => Requirement::Impossible,
        };
        Ok(Self { rules, groups, spelled, loose, all_plain, default })
    }

    /// The rules that govern a request. Allocates nothing for a plain path.
    #[must_use]
    pub fn judge(&self, path: &CleanPath<'_>, method: &Method) -> Verdict {
        let method = MethodSet::of(method);
        if path.is_plain() {
            let verdict = self.verdict(self.spelled.find(path.plain_segments()), method);
            if self.all_plain {
                return verdict;
            }
            let looser = self.loose.iter().map(|(_, tree)| tree.find(path.plain_segments()));
            return looser.fold(verdict, |verdict, matched| self.tighten(verdict, matched, method));
        }
        let matched = |cut, reading, tree: &Tree| {
            let segments = path.segments(cut, reading);
            tree.find(segments.iter().map(|segment| &**segment))
        };
        let mut verdict = self.verdict(matched(Cut::AS_SPELLED, Reading::AsSpelled, &self.spelled), method);
        for cut in path.cuts() {
            verdict = self.tighten(verdict, matched(cut, Reading::AsSpelled, &self.spelled), method);
            for (reading, tree) in &self.loose {
                verdict = self.tighten(verdict, matched(cut, *reading, tree), method);
            }
        }
        verdict
    }

    /// The standard methods that somebody may use on a path.
    #[must_use]
    pub fn methods(&self, path: &CleanPath<'_>) -> MethodSet {
        let may_come = |method: &Method| {
            let verdict = self.judge(path, method);
            verdict.requirement != Requirement::Impossible && verdict.method_mismatch.is_none()
        };
        MethodSet::standard().filter(may_come).fold(MethodSet::EMPTY, |set, method| set | MethodSet::of(&method))
    }

    /// Names of the rules, by position.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| &*rule.name)
    }

    /// What the spelled path asks for.
    fn verdict(&self, matched: u64, method: MethodSet) -> Verdict {
        if matched == 0 {
            return Verdict::start(self.default, RouteId::Default);
        }
        let first = matched.trailing_zeros() as usize;
        let rest = matched & (matched - 1);
        self.tighten(self.of_group(first, method), rest, method)
    }

    /// Adds what another reading asks for; where it finds nothing it adds nothing.
    fn tighten(&self, verdict: Verdict, matched: u64, method: MethodSet) -> Verdict {
        let mut verdict = verdict;
        let mut left = matched;
        while left != 0 {
            verdict = verdict.and(self.of_group(left.trailing_zeros() as usize, method));
            left &= left - 1;
        }
        verdict
    }

    fn of_group(&self, group: usize, method: MethodSet) -> Verdict {
        let group = &self.groups[group];
        match group.rule_for(method, &self.rules) {
            Some(id) => {
                let rule = &self.rules[usize::from(id)];
                let asking = if rule.asks_more() { 1 << id } else { 0 };
                Verdict { asking, ..Verdict::start(rule.requirement, RouteId::Rule(id)) }
            }
            None => Verdict {
                method_mismatch: Some(group.allow),
                ..Verdict::start(Requirement::Token, RouteId::Rule(group.rules[0]))
            },
        }
    }
}

impl Verdict {
    /// What a preflight needs, where this is what the request that it announces needs: no token, for none can be in it.
    /// What is nobody's stays so, be it the request or, `as_sent`, `OPTIONS` itself.
    #[must_use]
    pub fn of_preflight(self, as_sent: Self) -> Self {
        match (self.requirement, as_sent.requirement) {
            (Requirement::Impossible, _) => self,
            (_, Requirement::Impossible) => as_sent,
            (Requirement::Nothing | Requirement::Token, _) => Self::start(Requirement::Nothing, self.route),
        }
    }

    fn start(requirement: Requirement, route: RouteId) -> Self {
        Self { requirement, method_mismatch: None, route, asking: 0 }
    }

    /// Both must hold. The route named is the one that asks for more.
    fn and(self, other: Self) -> Self {
        let adds = other.requirement > self.requirement || other.asking & !self.asking != 0;
        Self {
            requirement: self.requirement.max(other.requirement),
            method_mismatch: self.method_mismatch.or(other.method_mismatch),
            route: if adds { other.route } else { self.route },
            asking: self.asking | other.asking,
        }
    }
}

impl Rule {
    fn new(route: &RouteConfig) -> Result<Self, RouteError> {
        let mut methods = MethodSet::EMPTY;
        for method in &route.methods {
            let named = MethodSet::named(method)
                .ok_or_else(|| RouteError::UnknownMethod(route.name.clone(), method.clone()))?;
            methods = methods | named;
        }
        let requirement = match route.access {
            Access::Public => Requirement::Nothing,
            Access::Authenticated => Requirement::Token,
            Access::Denied => Requirement::Impossible,
        };
        let scopes = || route.scopes.all_of.iter().chain(&route.scopes.any_of);
        let has_conditions = scopes().next().is_some() || !route.issuers.is_empty() || route.when.is_some();
        if requirement != Requirement::Token && has_conditions {
            return Err(RouteError::ConditionsWithoutToken(route.name.clone(), route.access));
        }
        if let Some(bad) = scopes().find(|scope| !is_scope_token(scope)) {
            return Err(RouteError::BadScope(route.name.clone(), bad.clone()));
        }
        let when = route.when.as_deref().map(tollgate_rules::Rule::compile).transpose();
        let when = when.map_err(|error| RouteError::BadRule(route.name.clone(), error))?;
        let boxed = |words: &[String]| words.iter().map(|word| word.as_str().into()).collect();
        Ok(Self {
            name: route.name.as_str().into(),
            methods,
            requirement,
            all_of: boxed(&route.scopes.all_of),
            any_of: boxed(&route.scopes.any_of),
            challenge: scopes().map(String::as_str).collect::<Vec<_>>().join(" ").into(),
            issuers: boxed(&route.issuers),
            when,
        })
    }

    /// What it adds to an `Allow` header.
    fn allowed(&self) -> MethodSet {
        if self.requirement == Requirement::Impossible { MethodSet::EMPTY } else { self.methods }
    }
}

impl Group {
    fn add(&mut self, id: u8, rule: &Rule, rules: &[Rule], path: &PathMatch) -> Result<(), RouteError> {
        for other in self.rules.iter().map(|other| &rules[usize::from(*other)]) {
            if rule.methods.overlaps(other.methods) {
                let (PathMatch::Exact(path) | PathMatch::Prefix(path)) = path;
                return Err(RouteError::Overlap(other.name.to_string(), rule.name.to_string(), path.clone()));
            }
        }
        self.rules.push(id);
        self.allow = self.allow | rule.allowed();
        Ok(())
    }

    /// The rule that names the method, else the one that takes HEAD with its GET, else the one for all methods.
    fn rule_for(&self, method: MethodSet, rules: &[Rule]) -> Option<u8> {
        let with = |fits: &dyn Fn(MethodSet) -> bool| {
            self.rules.iter().copied().find(|id| fits(rules[usize::from(*id)].methods))
        };
        with(&|methods| methods.contains(method))
            .or_else(|| with(&|methods| method == MethodSet::HEAD && methods.contains(MethodSet::GET)))
            .or_else(|| with(&MethodSet::is_empty))
    }
}

/// `scope-token` of RFC 6749 section 3.3.
pub(crate) fn is_scope_token(scope: &str) -> bool {
    !scope.is_empty() && scope.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

#[cfg(test)]
mod tests;
