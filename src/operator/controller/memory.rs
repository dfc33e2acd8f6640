//! What is remembered from one look to the next: failures in a row, what pods said, the status last written, the resource
//! as it was last acted upon. It can be lost at any time; what is gone is asked for again, or learnt from the next edit that
//! is accepted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tollgate_api::{OktaProtectedApiStatus, ValidatedApi};

use super::context::Key;
use crate::plan::pods::PodView;
use crate::plan::reports::{Known, Poll, PolledPod};
use crate::plan::schedule::refresh_interval;

/// Memory of all resources of a scope; bounded by what exists.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<HashMap<Key, Remembered>>);

#[derive(Debug, Default)]
struct Remembered {
    failures: u32,
    pods: HashMap<String, RememberedPod>,
    /// With the uid of the resource that it is of.
    status: Option<(String, OktaProtectedApiStatus)>,
    in_force: Option<Arc<ValidatedApi>>,
}

#[derive(Debug, Default)]
struct RememberedPod {
    known: Known,
    refreshes: u32,
    refreshed: Option<Instant>,
}

impl Memory {
    /// Counts a failure; returns how many there were in a row.
    pub(crate) fn count_failure(&self, key: &Key) -> u32 {
        let mut all = self.lock();
        let failures = &mut all.entry(key.clone()).or_default().failures;
        *failures = failures.saturating_add(1);
        *failures
    }

    pub(crate) fn forget_failures(&self, key: &Key) {
        if let Some(remembered) = self.lock().get_mut(key) {
            remembered.failures = 0;
        }
    }

    /// The resource is gone.
    pub(crate) fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// Adds what pods have just said; pods that are not among them are forgotten.
    pub(crate) fn learn(&self, key: &Key, polls: Vec<(PodView, Option<Poll>)>) -> Vec<PolledPod> {
        let mut all = self.lock();
        let pods = &mut all.entry(key.clone()).or_default().pods;
        let mut before = std::mem::take(pods);
        polls
            .into_iter()
            .map(|(view, poll)| {
                let mut remembered = before.remove(&view.uid).unwrap_or_default();
                if let Some(poll) = poll {
                    remembered.known = std::mem::take(&mut remembered.known).after(poll);
                }
                let known = remembered.known.clone();
                pods.insert(view.uid.clone(), remembered);
                PolledPod { view, known }
            })
            .collect()
    }

    /// Whether a pod's mounts may be refreshed now; if so, that is remembered.
    pub(crate) fn may_refresh(&self, key: &Key, pod_uid: &str, now: Instant) -> bool {
        let mut all = self.lock();
        let Some(pod) = all.get_mut(key).and_then(|remembered| remembered.pods.get_mut(pod_uid)) else {
            return false;
        };
        let due = pod.refreshed.is_none_or(|last| now.duration_since(last) >= refresh_interval(pod.refreshes));
        if due {
            pod.refreshed = Some(now);
            pod.refreshes = pod.refreshes.saturating_add(1);
        }
        due
    }

    /// The status that was last written for this resource, which the watch may not have brought back yet.
    pub(crate) fn status(&self, key: &Key, uid: &str) -> Option<OktaProtectedApiStatus> {
        let all = self.lock();
        let (of, status) = all.get(key)?.status.as_ref()?;
        (of == uid).then(|| status.clone())
    }

    pub(crate) fn remember_status(&self, key: &Key, uid: &str, status: OktaProtectedApiStatus) {
        self.lock().entry(key.clone()).or_default().status = Some((uid.to_owned(), status));
    }

    /// The resource of this uid as it was last acted upon in full.
    pub(crate) fn in_force(&self, key: &Key, uid: &str) -> Option<Arc<ValidatedApi>> {
        let all = self.lock();
        let api = all.get(key)?.in_force.as_ref()?;
        (api.uid == uid).then(|| Arc::clone(api))
    }

    pub(crate) fn remember_in_force(&self, key: &Key, api: &ValidatedApi) {
        let mut all = self.lock();
        let known = &mut all.entry(key.clone()).or_default().in_force;
        if known.as_deref() != Some(api) {
            *known = Some(Arc::new(api.clone()));
        }
    }

    /// A panic elsewhere leaves nothing half done here: every change is one assignment.
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Remembered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
