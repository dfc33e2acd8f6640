//! Finds the patterns that govern a path, in one reading: a tree of segments, walked once. Decides what is more
//! specific: exact over prefix, longer prefix over shorter, at segment borders. A pattern gives way only to one below it
//! *as both are spelled*; two that meet only because the reading is loose both stay.

use tollgate_contract::{PathMatch, RouteConfig};

use super::RouteError;
use crate::path::{CleanPath, Cut, Reading};

/// The path of a rule, as spelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    path: Box<str>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Exact,
    Prefix,
}

/// Patterns by segments, in one reading. Sets of patterns are bits.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    /// Empty segments mean nothing in this reading.
    skips_empty: bool,
}

#[derive(Debug, Default)]
struct Node {
    /// Sorted by segment.
    children: Vec<(Box<[u8]>, usize)>,
    /// What governs a path that ends here.
    here: u64,
    /// What governs a path that goes on where no child leads.
    below: u64,
}

impl Pattern {
    /// A prefix with and without a trailing slash is the same prefix.
    pub(super) fn new(route: &RouteConfig) -> Result<Self, RouteError> {
        let (kind, path) = match &route.path {
            PathMatch::Exact(path) => (Kind::Exact, path.as_str()),
            PathMatch::Prefix(path) => (Kind::Prefix, path.as_str()),
        };
        if CleanPath::parse(path).is_err() || path.contains('%') {
            return Err(RouteError::BadPath(route.name.clone(), path.to_owned()));
        }
        let path = match kind {
            Kind::Prefix => path.strip_suffix('/').unwrap_or(path),
            Kind::Exact => path,
        };
        Ok(Self { path: path.into(), kind })
    }

    pub(super) fn is_plain(&self) -> bool {
        self.path.is_empty() || CleanPath::parse(&self.path).is_ok_and(|path| path.is_plain())
    }

    fn segments(&self, reading: Reading) -> Vec<Box<[u8]>> {
        let path = CleanPath::parse(&self.path);
        // The empty prefix, which is `/`, has no segment; every other pattern was parsed when it was made.
        path.map_or_else(
            |_| Vec::new(),
            |path| path.segments(Cut::AS_SPELLED, reading).into_iter().map(Into::into).collect(),
        )
    }

    /// Whether every path that `other` matches is also matched by this one, as spelled, and `other` says it better.
    fn gives_way_to(&self, other: &Self) -> bool {
        self.kind == Kind::Prefix
            && other.path.strip_prefix(&*self.path).is_some_and(|rest| match rest.as_bytes() {
                [] => other.kind == Kind::Exact,
                [first, ..] => *first == b'/',
            })
    }
}

impl Tree {
    pub(super) fn new(patterns: &[&Pattern], reading: Reading) -> Self {
        let skips_empty = matches!(reading, Reading::Stripped | Reading::FoldedAndStripped);
        let mut tree = Self { nodes: vec![Node::default()], skips_empty };
        for (id, pattern) in patterns.iter().enumerate() {
            let node = pattern.segments(reading).into_iter().fold(0, |node, segment| tree.child(node, segment));
            tree.nodes[node].here |= 1 << id;
            if pattern.kind == Kind::Prefix {
                tree.nodes[node].below |= 1 << id;
            }
        }
        tree.inherit(0, 0, patterns);
        tree
    }

    /// The patterns that govern a path.
    pub(super) fn find<'a>(&self, segments: impl Iterator<Item = &'a [u8]>) -> u64 {
        let mut node = &self.nodes[0];
        for segment in segments.filter(|segment| !(self.skips_empty && segment.is_empty())) {
            match node.children.binary_search_by(|(name, _)| (**name).cmp(segment)) {
                Ok(at) => node = &self.nodes[node.children[at].1],
                Err(_) => return node.below,
            }
        }
        node.here
    }

    fn child(&mut self, node: usize, segment: Box<[u8]>) -> usize {
        match self.nodes[node].children.binary_search_by(|(name, _)| name.cmp(&segment)) {
            Ok(at) => self.nodes[node].children[at].1,
            Err(at) => {
                let child = self.nodes.len();
                self.nodes.push(Node::default());
                self.nodes[node].children.insert(at, (segment, child));
                child
            }
        }
    }

    /// Hands prefixes down, leaving out those that give way.
    fn inherit(&mut self, node: usize, from_above: u64, patterns: &[&Pattern]) {
        let below = most_specific(self.nodes[node].below | from_above, patterns);
        self.nodes[node].here = most_specific(self.nodes[node].here | from_above, patterns);
        self.nodes[node].below = below;
        let children: Vec<usize> = self.nodes[node].children.iter().map(|(_, child)| *child).collect();
        for child in children {
            self.inherit(child, below, patterns);
        }
    }
}

fn most_specific(set: u64, patterns: &[&Pattern]) -> u64 {
    let members = || (0..patterns.len()).filter(|id| set & (1 << id) != 0);
    members()
        .filter(|id| !members().any(|other| other != *id && patterns[*id].gives_way_to(patterns[other])))
        .fold(0, |kept, id| kept | 1 << id)
}
