//! Remembers which proofs were used, so that none is taken twice (RFC 9449 section 11.1). A proof that still counts is
//! never forgotten to make room: without room, new ones are refused. It checks nothing about proofs.
//!
//! Room is shared as switches share their buffers: a key may hold as much as a part of what is free. So one busy key alone
//! gets a good deal, and each that takes all it can leaves most of the rest to the others.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};

use crate::identity::Thumbprint;

/// So many locks that the few threads of a sidecar hardly meet, and so many tables that sweeping one takes microseconds.
const SHARDS: usize = 64;

/// A key may hold one place for so many that are free: alone it gets a fifth of all, which is some 850 requests a second,
/// and some forty keys at once would have to take all they can for the others to find nothing.
const FREE_FOR_EACH_HELD: usize = 4;

/// What became of an attempt to use a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// It is used now.
    First,
    /// It was used before.
    Again,
    /// Its key has used as much of the room as one key may.
    KeyFull,
    /// There is no room to remember it.
    Full,
}

/// The proofs of all issuers and all workers.
pub(super) struct Replays {
    shards: Box<[Mutex<Shard>]>,
    capacity_of_shard: usize,
}

/// Octets of a thumbprint that tell a key here. Who finds another key with these of somebody else's (2^64 tries) only
/// shares that one's room.
type Holder = [u8; 8];

/// A proof: its holder, and as many octets of the hash of key and `jti`. Two of one holder that are alike would have to
/// be found by the holder, against itself.
type Name = (Holder, [u8; 8]);

#[derive(Default)]
struct Shard {
    /// Until when each counts, in seconds since the epoch (which fit until 2106).
    used: HashMap<Name, u32>,
    /// How many of them are whose.
    held: HashMap<Holder, u32>,
    /// No proof ends before this.
    first_end: u32,
}

impl Replays {
    /// Room for so many proofs.
    pub(super) fn new(capacity: usize) -> Self {
        let shards = std::iter::repeat_with(Mutex::default).take(SHARDS).collect();
        Self { shards, capacity_of_shard: capacity / SHARDS }
    }

    /// Uses the proof with this `jti` of this key. `until` is the first second at which it counts no longer.
    ///
    /// The key is part of the name, and the URL is not: nobody can use up another one's `jti`, and one that comes back
    /// for another URL is refused too.
    pub(super) fn note(&self, key: &Thumbprint, jti: &str, until: u64, now: u64) -> Noted {
        let (name, shard) = name(key, jti);
        let Some(shard) = self.shards.get(shard) else { return Noted::Full };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.note(name, seconds(until), seconds(now), self.capacity_of_shard)
    }
}

impl Shard {
    fn note(&mut self, name: Name, until: u32, now: u32, capacity: usize) -> Noted {
        // Before the table grows: it is as large as what counts, not as what ever counted.
        let is_at_a_bound = self.used.len() >= self.used.capacity().min(capacity) || !self.has_share(&name.0, capacity);
        if is_at_a_bound && self.first_end <= now {
            self.sweep(now);
        }
        let (is_full, has_share) = (self.used.len() >= capacity, self.has_share(&name.0, capacity));
        match self.used.entry(name) {
            Entry::Occupied(used) if *used.get() > now => Noted::Again,
            Entry::Occupied(mut ended) => {
                ended.insert(until);
                Noted::First
            }
            Entry::Vacant(_) if is_full => Noted::Full,
            Entry::Vacant(_) if !has_share => Noted::KeyFull,
            Entry::Vacant(unused) => {
                unused.insert(until);
                *self.held.entry(name.0).or_default() += 1;
                self.first_end = self.first_end.min(until);
                Noted::First
            }
        }
    }

    /// Whether this key may hold one more.
    fn has_share(&self, holder: &Holder, capacity: usize) -> bool {
        let held = self.held.get(holder).map_or(0, |held| *held as usize);
        held * FREE_FOR_EACH_HELD < capacity.saturating_sub(self.used.len())
    }

    /// At most once a second: what is left ends later than now.
    fn sweep(&mut self, now: u32) {
        self.used.retain(|_, until| *until > now);
        self.first_end = self.used.values().copied().min().unwrap_or(u32::MAX);
        self.held.clear();
        for (holder, _) in self.used.keys() {
            *self.held.entry(*holder).or_default() += 1;
        }
    }
}

/// The name of a proof and the shard it belongs to: one key's proofs are spread over all.
fn name(key: &Thumbprint, jti: &str) -> (Name, usize) {
    let mut context = Context::new(&SHA256);
    // Fixed length first, so no two pairs read alike.
    context.update(&key.0);
    context.update(jti.as_bytes());
    let digest = context.finish();
    let mut octets = digest.as_ref().iter().copied();
    let mut proof = [0; 8];
    proof.iter_mut().zip(octets.by_ref()).for_each(|(to, octet)| *to = octet);
    let mut holder = Holder::default();
    holder.iter_mut().zip(key.0).for_each(|(to, octet)| *to = octet);
    ((holder, proof), octets.next().map_or(0, usize::from) % SHARDS)
}

fn seconds(time: u64) -> u32 {
    u32::try_from(time).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What runs.
    const CAPACITY: usize = 1 << 19;
    const KEY: Thumbprint = Thumbprint([1; 32]);

    #[test]
    fn a_proof_counts_once_until_its_end() {
        let replays = Replays::new(CAPACITY);
        assert_eq!(replays.note(&KEY, "a", 100, 10), Noted::First);
        assert_eq!(replays.note(&KEY, "a", 100, 10), Noted::Again);
        assert_eq!(replays.note(&KEY, "a", 150, 99), Noted::Again, "with a later iat it is the same jti");
        assert_eq!(replays.note(&KEY, "b", 100, 10), Noted::First);
        assert_eq!(replays.note(&KEY, "a", 200, 100), Noted::First, "the first one's time is over");
        assert_eq!(replays.note(&KEY, "a", 200, 101), Noted::Again);
    }

    #[test]
    fn another_keys_proof_is_another_proof() {
        let replays = Replays::new(CAPACITY);
        assert_eq!(replays.note(&KEY, "a", 100, 10), Noted::First);
        assert_eq!(replays.note(&Thumbprint([2; 32]), "a", 100, 10), Noted::First);
    }

    #[test]
    fn without_room_new_proofs_are_refused_and_used_ones_stay_used_until_room_comes_by_itself() {
        let replays = Replays::new(SHARDS * 2);
        let noted: Vec<(u8, String, Noted)> = (0..SHARDS * 20)
            .map(|nth| (nth as u8, nth.to_string(), 100 + nth as u64 % 2))
            .map(|(key, jti, until)| (key, jti.clone(), replays.note(&Thumbprint([key; 32]), &jti, until, 10)))
            .collect();
        let used: Vec<_> = noted.iter().filter(|(_, _, noted)| *noted == Noted::First).collect();
        assert_eq!(used.len(), SHARDS * 2);
        assert!(noted.iter().any(|(_, _, noted)| *noted == Noted::Full));
        let all = |now, expected| {
            used.iter().all(|(key, jti, _)| replays.note(&Thumbprint([*key; 32]), jti, 300, now) == expected)
        };
        assert!(all(99, Noted::Again), "nothing was evicted");
        assert!(all(101, Noted::First), "all have ended");
    }

    #[test]
    fn one_key_gets_a_fifth_of_the_room_and_the_others_go_on() {
        let replays = Replays::new(CAPACITY);
        let noted: Vec<Noted> = (0..1_000_000u64).map(|nth| replays.note(&KEY, &nth.to_string(), 100, 10)).collect();
        let used = noted.iter().filter(|noted| **noted == Noted::First).count();
        assert_eq!(used, CAPACITY.div_ceil(5 * SHARDS) * SHARDS);
        assert!(noted.iter().all(|noted| matches!(noted, Noted::First | Noted::KeyFull)));
        assert_eq!(replays.note(&KEY, "0", 100, 99), Noted::Again, "nothing was evicted");
        for key in 2..=100 {
            for nth in 0..1_000 {
                assert_eq!(
                    replays.note(&Thumbprint([key; 32]), &nth.to_string(), 100, 10),
                    Noted::First,
                    "{key} {nth}"
                );
            }
        }
        assert_eq!(replays.note(&KEY, "new", 100, 99), Noted::KeyFull);
        assert_eq!(replays.note(&KEY, "new", 200, 100), Noted::First, "its own have ended");
    }

    #[test]
    fn keys_that_take_all_they_can_leave_room_for_the_next() {
        let replays = Replays::new(CAPACITY);
        for key in 0..16 {
            for nth in 0..CAPACITY as u64 / 4 {
                replays.note(&Thumbprint([key; 32]), &nth.to_string(), 100, 10);
            }
        }
        let next = (0..1_000).map(|nth| replays.note(&Thumbprint([99; 32]), &nth.to_string(), 100, 10));
        assert!(next.into_iter().all(|noted| noted == Noted::First));
    }

    #[test]
    fn what_has_ended_makes_room_before_the_table_grows() {
        let replays = Replays::new(CAPACITY);
        for now in 0..20_000 {
            for nth in 0..5 {
                assert_eq!(replays.note(&KEY, &format!("{now}-{nth}"), now + 20, now), Noted::First);
            }
        }
        let slots: usize = replays.shards.iter().map(|shard| shard.lock().unwrap().used.capacity()).sum();
        assert!(slots < 1_000, "{slots} slots, where 100 proofs count at a time");
    }

    #[test]
    fn a_flood_of_a_million_proofs_of_as_many_keys_leaves_the_store_at_its_bound() {
        let replays = Replays::new(CAPACITY);
        let key = |nth: u64| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&nth.to_be_bytes());
            Thumbprint(key)
        };
        let noted: Vec<Noted> = (0..1_000_000).map(|nth| replays.note(&key(nth), "a", 100, 10)).collect();
        let first = noted.iter().filter(|noted| **noted == Noted::First).count();
        let shards = || replays.shards.iter().map(|shard| shard.lock().unwrap());
        let slots: usize = shards().map(|shard| shard.used.capacity()).sum();
        let holders: usize = shards().map(|shard| shard.held.capacity()).sum();
        assert!(first <= CAPACITY && first > CAPACITY * 99 / 100, "{first}");
        assert!(noted.iter().skip(CAPACITY * 3 / 2).all(|noted| *noted == Noted::Full));
        assert!(slots <= CAPACITY * 2, "{slots} slots of 21 bytes");
        assert!(holders <= CAPACITY * 2, "{holders} slots of 13 bytes");
        assert_eq!(replays.note(&key(0), "a", 100, 99), Noted::Again, "the first is still known");
        assert_eq!(replays.note(&key(u64::MAX), "a", 200, 100), Noted::First, "all have ended");
        let holders: usize = shards().map(|shard| shard.held.len()).sum();
        assert!(holders < CAPACITY, "those of the shard that was swept are forgotten");
    }
}
