//! Decides how many requests may be at the app at a time, and how many of them one holder's: the callers of one subject,
//! or all who show no token. A holder may have three times as many places as are free. So one that is alone gets three
//! quarters of them, two get three sevenths each, and whoever comes with little always finds room: no place is set aside,
//! and no caller can take them all.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::identity::Identity;

/// Places that a holder may have for each one that is free.
const FOR_EACH_FREE: usize = 3;
/// Subjects are told apart by a hash that nobody outside can compute. Two that fall together count as one, which costs
/// them nothing until they hold much.
const SUBJECTS: usize = 4096;

/// The places at the app, of all workers. Idle connections take none, so that no worker's idle ones starve another.
#[derive(Debug)]
pub(crate) struct Places {
    limit: usize,
    taken: AtomicUsize,
    without_token: AtomicUsize,
    by_subject: Box<[AtomicUsize]>,
    hasher: RandomState,
}

/// Whom a request counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Nobody in particular: no token was asked for.
    WithoutToken,
    /// One of so many.
    Subject(usize),
}

/// A place at the app; free when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    holder: Holder,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPlace {
    #[error("too many requests are at the app")]
    Full,
    #[error("the holder has too many requests at the app")]
    Unfair,
}

impl Places {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            taken: AtomicUsize::new(0),
            without_token: AtomicUsize::new(0),
            by_subject: (0..SUBJECTS).map(|_| AtomicUsize::new(0)).collect(),
            hasher: RandomState::new(),
        })
    }

    /// Who a request counts for. A client that speaks for itself may come without a subject.
    pub(crate) fn holder(&self, identity: Option<&Identity>) -> Holder {
        let Some(Identity { issuer, headers, .. }) = identity else { return Holder::WithoutToken };
        let subject = headers.subject.as_ref().or(headers.client_id.as_ref());
        let hash = self.hasher.hash_one((issuer, subject.map(|subject| subject.as_bytes())));
        // Less than a usize holds.
        Holder::Subject((hash % SUBJECTS as u64) as usize)
    }

    pub(crate) fn enter(self: &Arc<Self>, holder: Holder) -> Result<Place, NoPlace> {
        let (held, taken) =
            (self.held(holder).fetch_add(1, Ordering::Relaxed), self.taken.fetch_add(1, Ordering::Relaxed));
        // Given back where it may not be.
        let place = Place { places: Arc::clone(self), holder };
        may_enter(held, taken, self.limit).map(|()| place)
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed).min(self.limit)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    fn held(&self, holder: Holder) -> &AtomicUsize {
        match holder {
            Holder::WithoutToken => &self.without_token,
            Holder::Subject(nth) => &self.by_subject[nth % SUBJECTS],
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.held(self.holder).fetch_sub(1, Ordering::Relaxed);
        self.places.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether one more may come of who holds so many, where so many are taken.
fn may_enter(held: usize, taken: usize, limit: usize) -> Result<(), NoPlace> {
    match limit.saturating_sub(taken) {
        0 => Err(NoPlace::Full),
        free if held >= free * FOR_EACH_FREE => Err(NoPlace::Unfair),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// As many as it gets.
    fn all(places: &Arc<Places>, holder: Holder) -> (Vec<Place>, NoPlace) {
        let mut taken = Vec::new();
        loop {
            match places.enter(holder) {
                Ok(place) => taken.push(place),
                Err(error) => return (taken, error),
            }
        }
    }

    fn of_subject(subject: &'static str) -> Identity {
        let mut identity = Identity::blank();
        identity.headers.subject = Some(HeaderValue::from_static(subject));
        identity
    }

    #[test]
    fn nobody_takes_all_and_whoever_comes_with_little_finds_room() {
        let places = Places::new(1024);
        let mut held = Vec::new();
        for (holder, gets) in [
            (Holder::WithoutToken, 768),
            (Holder::Subject(0), 192),
            (Holder::Subject(1), 48),
            (Holder::Subject(SUBJECTS - 1), 12),
        ] {
            let (taken, error) = all(&places, holder);
            assert_eq!((taken.len(), error), (gets, NoPlace::Unfair), "{holder:?}");
            held.push(taken);
        }
        assert_eq!(places.taken(), 1020);
        assert_eq!(places.enter(Holder::WithoutToken).unwrap_err(), NoPlace::Unfair);
        drop(held);
        assert_eq!(places.taken(), 0);
        assert_eq!(all(&places, Holder::Subject(1)).0.len(), 768, "what was given back is there again");
    }

    #[test]
    fn a_refusal_takes_nothing() {
        let places = Places::new(4);
        let (three, error) = all(&places, Holder::Subject(7));
        assert_eq!((three.len(), error), (3, NoPlace::Unfair));
        let last = places.enter(Holder::WithoutToken).unwrap();
        for _ in 0..100 {
            assert_eq!(places.enter(Holder::Subject(7)).unwrap_err(), NoPlace::Full);
            assert_eq!(places.enter(Holder::WithoutToken).unwrap_err(), NoPlace::Full);
        }
        drop((three, last));
        assert_eq!(places.taken(), 0);
        assert_eq!(all(&places, Holder::WithoutToken).0.len(), 3);
    }

    #[test]
    fn the_only_place_is_anybodys() {
        let places = Places::new(1);
        for holder in [Holder::WithoutToken, Holder::Subject(3)] {
            assert!(places.enter(holder).is_ok());
        }
    }

    #[test]
    fn a_holder_is_a_subject_of_an_issuer_whatever_its_token() {
        let places = Places::new(1);
        let holder = |identity: &Identity| places.holder(Some(identity));
        assert_eq!(places.holder(None), Holder::WithoutToken);
        let one = of_subject("00u1");
        let mut other_token = of_subject("00u1");
        other_token.expires_at = 9;
        other_token.headers.client_id = Some(HeaderValue::from_static("0oa1"));
        assert_eq!(holder(&one), holder(&other_token));
        let mut elsewhere = of_subject("00u1");
        elsewhere.issuer = "partner".into();
        let mut client = Identity::blank();
        client.headers.client_id = Some(HeaderValue::from_static("0oa1"));
        // Any two may fall together by chance, once in 4,096 times; all three hardly ever do.
        let others = [holder(&elsewhere), holder(&of_subject("00u2")), holder(&client)];
        assert!(others.iter().any(|other| *other != holder(&one)));
        assert!(others.iter().any(|other| *other != others[0]));
    }
}
