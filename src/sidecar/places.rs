//! Decides how many requests may be at the app at a time, and how many of them one holder's. Nothing is set aside: a subject
//! may have three places for each one that is free, and so may all who show no token; one address of theirs may have as
//! many as are free. So who is alone gets three quarters of the places, or half of them, and whoever comes with little
//! finds room: no one caller can take them all.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::Rng;

use crate::identity::Whose;

/// Places for each one that is free, of a subject and of all strangers together.
const OF_SUBJECT: usize = 3;
const OF_STRANGERS: usize = 3;
/// Of an address that strangers come from.
const OF_ADDRESS: usize = 1;
/// Subjects, and addresses, are told apart by 12 bits that nobody outside can foresee. Two that fall together count as one,
/// which costs them nothing until they hold much.
const BITS: u32 = 12;

/// The places at the app, of all workers. Idle connections take none, so that no worker's idle ones starve another.
#[derive(Debug)]
pub(crate) struct Places {
    limit: usize,
    taken: AtomicUsize,
    strangers: AtomicUsize,
    by_subject: Box<[AtomicUsize]>,
    by_address: Box<[AtomicUsize]>,
    /// Odd.
    multiplier: u64,
}

/// Whom a request counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The subject of its token.
    Subject(Whose),
    /// No token was asked for: where it comes from.
    Stranger(IpAddr),
}

/// A place at the app; free when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    held: Held,
}

/// The counters that a place counts in.
#[derive(Debug, Clone, Copy)]
enum Held {
    Subject(usize),
    Stranger(usize),
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPlace {
    #[error("too many requests are at the app")]
    Full,
    #[error("the caller has too many requests at the app")]
    Caller,
    #[error("too many requests without a token are at the app")]
    Strangers,
}

impl Places {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let counters = || (0..1_usize << BITS).map(|_| AtomicUsize::new(0)).collect();
        Arc::new(Self {
            limit,
            taken: AtomicUsize::new(0),
            strangers: AtomicUsize::new(0),
            by_subject: counters(),
            by_address: counters(),
            multiplier: rand::rng().random::<u64>() | 1,
        })
    }

    pub(crate) fn enter(self: &Arc<Self>, holder: Holder) -> Result<Place, NoPlace> {
        let held = self.held(holder);
        let (own, all) = self.add(held);
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        // Given back where it may not be.
        let place = Place { places: Arc::clone(self), held };
        let free = self.limit.saturating_sub(taken);
        match held {
            _ if free == 0 => Err(NoPlace::Full),
            Held::Subject(_) if own >= free * OF_SUBJECT => Err(NoPlace::Caller),
            Held::Stranger(_) if own >= free * OF_ADDRESS => Err(NoPlace::Caller),
            Held::Stranger(_) if all >= free * OF_STRANGERS => Err(NoPlace::Strangers),
            Held::Subject(_) | Held::Stranger(_) => Ok(place),
        }
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed).min(self.limit)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    fn held(&self, holder: Holder) -> Held {
        match holder {
            Holder::Subject(Whose(whose)) => Held::Subject(self.bucket(whose)),
            Holder::Stranger(IpAddr::V4(address)) => Held::Stranger(self.bucket(u64::from(address.to_bits()))),
            // A network of 64 bits is commonly one host's.
            Holder::Stranger(IpAddr::V6(address)) => Held::Stranger(self.bucket((address.to_bits() >> 64) as u64)),
        }
    }

    /// Multiply-shift hashing (Dietzfelbinger et al., 1997).
    fn bucket(&self, of: u64) -> usize {
        (of.wrapping_mul(self.multiplier) >> (u64::BITS - BITS)) as usize
    }

    /// Counts one more; how many there were, of the holder and of its kind.
    fn add(&self, held: Held) -> (usize, usize) {
        match held {
            Held::Subject(nth) => (self.by_subject[nth].fetch_add(1, Ordering::Relaxed), 0),
            Held::Stranger(nth) => {
                (self.by_address[nth].fetch_add(1, Ordering::Relaxed), self.strangers.fetch_add(1, Ordering::Relaxed))
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let places = &self.places;
        match self.held {
            Held::Subject(nth) => drop(places.by_subject[nth].fetch_sub(1, Ordering::Relaxed)),
            Held::Stranger(nth) => {
                places.by_address[nth].fetch_sub(1, Ordering::Relaxed);
                places.strangers.fetch_sub(1, Ordering::Relaxed);
            }
        }
        places.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Holder = Holder::Subject(Whose(1));

    /// Of places whose multiplier is 1: each subject and each network has a counter of its own.
    fn places(limit: usize) -> Arc<Places> {
        Arc::new(Places { multiplier: 1, ..Arc::into_inner(Places::new(limit)).unwrap() })
    }

    fn subject(nth: u64) -> Holder {
        Holder::Subject(Whose(nth << (u64::BITS - BITS)))
    }

    fn stranger(nth: u16) -> Holder {
        Holder::Stranger(IpAddr::from([nth << (16 - BITS), 1, 2, 3, 4, 5, 6, 7]))
    }

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

    #[test]
    fn no_caller_takes_all_and_whoever_comes_with_little_finds_room() {
        let places = places(2048);
        let mut held = Vec::new();
        for (holder, gets, why) in [
            (stranger(1), 1024, NoPlace::Caller),
            (stranger(2), 512, NoPlace::Caller),
            (stranger(3), 0, NoPlace::Strangers),
            (subject(1), 384, NoPlace::Caller),
            (subject(2), 96, NoPlace::Caller),
            (subject(3), 24, NoPlace::Caller),
        ] {
            let (taken, error) = all(&places, holder);
            assert_eq!((taken.len(), error), (gets, why), "{holder:?}");
            held.push(taken);
        }
        assert_eq!(places.taken(), 2040);
        drop(held);
        assert_eq!(places.taken(), 0);
        assert_eq!(all(&places, subject(1)).0.len(), 1536, "what was given back is there again");
        assert_eq!(all(&places, stranger(1)).0.len(), 1024);
    }

    #[test]
    fn a_refusal_takes_nothing() {
        let places = places(4);
        let (three, error) = all(&places, subject(7));
        assert_eq!((three.len(), error), (3, NoPlace::Caller));
        let last = places.enter(stranger(7)).unwrap();
        for _ in 0..100 {
            assert_eq!(places.enter(subject(7)).unwrap_err(), NoPlace::Full);
            assert_eq!(places.enter(stranger(7)).unwrap_err(), NoPlace::Full);
        }
        drop((three, last));
        assert_eq!(places.taken(), 0);
        assert_eq!(all(&places, subject(7)).0.len(), 3);
    }

    #[test]
    fn the_only_place_is_anybodys() {
        let places = Places::new(1);
        for holder in [stranger(1), ONE, Holder::Stranger(IpAddr::from([127, 0, 0, 1]))] {
            assert!(places.enter(holder).is_ok());
        }
    }

    #[test]
    fn addresses_of_one_network_are_one_and_others_are_others() {
        let places = Places::new(1);
        let of = |address: &str| match places.held(Holder::Stranger(address.parse().unwrap())) {
            Held::Stranger(nth) => nth,
            Held::Subject(_) => panic!("a subject"),
        };
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        // Any two may fall together by chance, once in 4,096 times; all of these never do.
        let others = ["2001:db8:0:1::1", "2001:db8:1::1", "192.0.2.1", "192.0.2.2", "198.51.100.1"].map(of);
        assert!(others.iter().any(|other| *other != of("2001:db8::1")));
        assert!(others.iter().any(|other| *other != others[0]));
    }

    #[test]
    fn nobody_can_foresee_who_falls_together() {
        let together = |whose: u64| {
            let places = Places::new(1);
            places.bucket(whose) == places.bucket(1)
        };
        // Differences that would fall together under any one multiplier, such as 1.
        for difference in [2_u64, 1 << 20, 1 << 40, 4096, 3] {
            let falls = (0..200).filter(|_| together(1 + difference)).count();
            assert!(falls < 100, "{difference}: {falls} of 200");
        }
    }
}
