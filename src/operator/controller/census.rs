//! The count of sidecars by Okta bucket, over the resources of all scopes, and the conditions of these. It decides how often
//! sidecars are counted; what a bucket is, the plan decides.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::runtime::reflector::store::Store;
use tokio::sync::OnceCell;
use tollgate_api::conditions::{ConditionStatus, ConditionType, reason};

use super::Guarded;
use super::context::Key;
use crate::metrics::Standing;
use crate::plan::shares::Shares;

/// A count serves all looks of this time: with ten thousand resources one takes some milliseconds, and there may be
/// hundreds of looks a second.
const RECOUNT: Duration = Duration::from_secs(1);

/// A namespace that cannot be listed must not hold up all others; what it has is then counted when it can be.
const FIRST_LISTS: Duration = Duration::from_secs(10);

/// The resources of all scopes, and how many sidecars they had when last counted.
pub(crate) struct Census {
    resources: Vec<Store<Guarded>>,
    listed: OnceCell<()>,
    last: Mutex<Option<(Instant, Arc<Shares>)>>,
}

impl Census {
    /// Of the resources in these copies, each of one scope.
    pub(crate) fn of(resources: Vec<Store<Guarded>>) -> Self {
        Self { resources, listed: OnceCell::new(), last: Mutex::default() }
    }

    /// The shares as of now. A count of half the scopes would be too small and soon be written anew, so the first one
    /// waits for all.
    pub(crate) async fn shares(&self, now: Instant) -> Arc<Shares> {
        let lists = futures::future::join_all(self.resources.iter().map(Store::wait_until_ready));
        self.listed.get_or_init(|| async { drop(tokio::time::timeout(FIRST_LISTS, lists).await) }).await;
        // A panic elsewhere leaves nothing half done here: every change is one assignment.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((counted, shares)) if now.duration_since(*counted) < RECOUNT => Arc::clone(shares),
            _ => {
                let resources: Vec<_> = self.resources.iter().flat_map(Store::state).collect();
                let shares = Arc::new(Shares::count(resources.iter().filter_map(|resource| resource.0.as_ref().ok())));
                *last = Some((now, Arc::clone(&shares)));
                shares
            }
        }
    }

    /// The conditions of all resources, as their copies have them.
    pub(crate) fn standings(&self) -> Vec<Standing> {
        self.resources.iter().flat_map(Store::state).flat_map(|resource| standings(&resource)).collect()
    }
}

fn standings(resource: &Guarded) -> Vec<Standing> {
    let Key { namespace, name } = Key::of(resource);
    let standing = |kind: &str, status: &str, reason: &str| Standing {
        namespace: namespace.clone(),
        name: name.clone(),
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
    };
    match &resource.0 {
        Ok(readable) => {
            let conditions = readable.status.iter().flat_map(|status| &status.conditions);
            conditions.map(|condition| standing(&condition.type_, &condition.status, &condition.reason)).collect()
        }
        // Its status says no more than this.
        Err(_) => [ConditionType::Ready, ConditionType::Accepted]
            .map(|kind| standing(kind.as_str(), ConditionStatus::False.as_str(), reason::INVALID_SPEC))
            .to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::DeserializeGuard;
    use kube::runtime::reflector::store::Writer;
    use kube::runtime::watcher::Event;

    use super::*;
    use crate::plan::render::tests::{resource, validated};

    fn guarded(name: &str, replicas: i32) -> Guarded {
        let mut resource = resource();
        resource.metadata.name = Some(name.to_owned());
        resource.spec.app.replicas = replicas;
        DeserializeGuard(Ok(resource))
    }

    /// The copies of a scope with this resource.
    fn scope(name: &str, replicas: i32) -> Writer<Guarded> {
        let mut writer = Writer::default();
        for event in [Event::Init, Event::InitApply(guarded(name, replicas)), Event::InitDone] {
            writer.apply_watcher_event(&event);
        }
        writer
    }

    /// How many sidecars share the limit that `items` draws on.
    async fn sharers(census: &Census, now: Instant) -> Option<u32> {
        let items = validated();
        census.shares(now).await.sharers(&items, &items.issuers[0])
    }

    #[tokio::test]
    async fn sidecars_of_all_scopes_count_together_and_are_counted_anew_after_a_while() {
        let (mut one, other) = (scope("items", 3), scope("orders", 1));
        let census = Census::of(vec![one.as_reader(), other.as_reader()]);
        let start = Instant::now();
        assert_eq!(sharers(&census, start).await, Some(4));
        one.apply_watcher_event(&Event::Apply(guarded("items", 5)));
        assert_eq!(sharers(&census, start).await, Some(4));
        assert_eq!(sharers(&census, start + RECOUNT).await, Some(8));
    }

    #[tokio::test(start_paused = true)]
    async fn a_scope_that_cannot_be_listed_does_not_hold_up_the_others() {
        let (items, unlisted) = (scope("items", 2), Writer::default());
        let census = Census::of(vec![items.as_reader(), unlisted.as_reader()]);
        assert_eq!(sharers(&census, Instant::now()).await, Some(2));
    }
}
