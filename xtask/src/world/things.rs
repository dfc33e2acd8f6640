//! The things of the world that a cluster can have already, and the rule of what may be removed: on somebody's cluster
//! only what this run made.

use std::collections::BTreeSet;

/// The names that are looked for, made, and removed at the end.
const NAMESPACES: [&str; 3] = [OKTA, TOLLGATE, SHOP];
/// The namespace of the Okta-like server.
pub(crate) const OKTA: &str = "okta";
/// The namespace of the Helm release.
pub(crate) const TOLLGATE: &str = "tollgate-system";
/// The namespace of the examples.
pub(crate) const SHOP: &str = "shop";
const DEFINITION: &str = "oktaprotectedapis.tollgate.dev";

/// A command whose output [`Things::listed`] reads.
pub(crate) const LISTING: &str = "kubectl get namespaces,customresourcedefinitions --output name";

/// Some of the world's namespaces, perhaps with the custom resource definition.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Things {
    namespaces: BTreeSet<&'static str>,
    has_definition: bool,
}

impl Things {
    /// Those in the output of [`LISTING`].
    pub(crate) fn listed(output: &str) -> Self {
        let names: BTreeSet<&str> = output.lines().map(str::trim).collect();
        Self {
            namespaces: NAMESPACES
                .into_iter()
                .filter(|name| names.contains(format!("namespace/{name}").as_str()))
                .collect(),
            has_definition: names
                .contains(format!("customresourcedefinition.apiextensions.k8s.io/{DEFINITION}").as_str()),
        }
    }

    /// What may be removed of what this run made, or began to make: nothing that was there before.
    pub(crate) fn removable(made: &Self, before: &Self) -> Self {
        Self {
            namespaces: made.namespaces.difference(&before.namespaces).copied().collect(),
            has_definition: made.has_definition && !before.has_definition,
        }
    }

    /// Adds a namespace.
    pub(crate) fn add_namespace(&mut self, name: &'static str) {
        self.namespaces.insert(name);
    }

    /// Adds what the chart brings.
    pub(crate) fn add_release(&mut self) {
        self.add_namespace(TOLLGATE);
        self.has_definition = true;
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.namespaces.is_empty() && !self.has_definition
    }

    /// As in a sentence.
    pub(crate) fn names(&self) -> String {
        let namespaces = self.namespaces.iter().map(|name| format!("the namespace {name}"));
        let definition = self.has_definition.then(|| format!("the custom resource definition {DEFINITION}"));
        namespaces.chain(definition).collect::<Vec<_>>().join(", ")
    }

    /// The commands that remove them. Resources go before the operator that looks after them; namespaces take what else
    /// is in them.
    pub(crate) fn removal(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.has_definition {
            lines.push(format!("kubectl delete crd {DEFINITION} --ignore-not-found"));
        }
        if self.namespaces.contains(TOLLGATE) {
            lines.push(format!("helm uninstall tollgate --namespace {TOLLGATE} --ignore-not-found --wait"));
        }
        if !self.namespaces.is_empty() {
            let names: Vec<&str> = self.namespaces.iter().copied().collect();
            lines.push(format!("kubectl delete namespace {} --ignore-not-found", names.join(" ")));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Things {
        let mut all = Things::default();
        all.add_namespace(OKTA);
        all.add_release();
        all.add_namespace(SHOP);
        all
    }

    #[test]
    fn only_whole_names_of_the_right_kind_count() {
        let other = "namespace/default\nnamespace/shop-2\nnamespace/my-okta\nconfigmap/shop\n\
                     customresourcedefinition.apiextensions.k8s.io/items.tollgate.dev\n";
        assert!(Things::listed(other).is_empty());
        assert!(Things::listed("").is_empty());
        let some = Things::listed("namespace/default\nnamespace/shop");
        assert_eq!(some.names(), "the namespace shop");
        let listed = "namespace/okta\nnamespace/shop\nnamespace/tollgate-system\n\
                      customresourcedefinition.apiextensions.k8s.io/oktaprotectedapis.tollgate.dev\n";
        assert_eq!(Things::listed(listed), all());
    }

    #[test]
    fn nothing_is_removed_by_a_run_that_made_nothing() {
        let removable = Things::removable(&Things::default(), &all());
        assert!(removable.is_empty());
        assert!(removable.removal().is_empty());
        assert!(Things::removable(&Things::default(), &Things::default()).removal().is_empty());
    }

    #[test]
    fn what_was_there_before_stays() {
        let before = Things::listed("namespace/shop\nnamespace/tollgate-system\n");
        let removable = Things::removable(&all(), &before);
        assert_eq!(
            removable.removal(),
            [
                "kubectl delete crd oktaprotectedapis.tollgate.dev --ignore-not-found",
                "kubectl delete namespace okta --ignore-not-found",
            ]
        );
        assert!(Things::removable(&all(), &all()).is_empty());
    }

    #[test]
    fn all_that_was_made_is_removed_where_nothing_was() {
        let lines = Things::removable(&all(), &Things::default()).removal();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[2], "kubectl delete namespace okta shop tollgate-system --ignore-not-found");
    }

    #[test]
    fn a_run_that_ended_half_way_removes_its_half() {
        let mut made = Things::default();
        made.add_namespace(OKTA);
        let lines = Things::removable(&made, &Things::default()).removal();
        assert_eq!(lines, ["kubectl delete namespace okta --ignore-not-found"]);
    }
}
