//! Remembers which proofs were used, so that none is taken twice (RFC 9449 section 11.1). A proof that still counts is
//! never forgotten to make room: without room, new ones are refused. It checks nothing about proofs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};

use crate::identity::Thumbprint;

/// So many locks that the few threads of a sidecar hardly meet, and so many tables that sweeping one takes microseconds.
const SHARDS: usize = 64;

/// What became of an attempt to use a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// It is used now.
    First,
    /// It was used before.
    Again,
    /// There is no room to remember it.
    Full,
}

/// The proofs of all issuers and all workers.
pub(super) struct Replays {
    shards: Box<[Mutex<Shard>]>,
    capacity_of_shard: usize,
}

/// Half of SHA-256: a collision would have to be found by a key's holder, against itself.
type Name = [u8; 16];

#[derive(Default)]
struct Shard {
    /// Until when each counts, in seconds since the epoch (which fit until 2106).
    used: HashMap<Name, u32>,
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
        if self.used.len() >= self.used.capacity().min(capacity) && self.first_end <= now {
            self.sweep(now);
        }
        let is_full = self.used.len() >= capacity;
        match self.used.entry(name) {
            Entry::Occupied(used) if *used.get() > now => Noted::Again,
            Entry::Occupied(mut ended) => {
                ended.insert(until);
                Noted::First
            }
            Entry::Vacant(_) if is_full => Noted::Full,
            Entry::Vacant(unused) => {
                unused.insert(until);
                self.first_end = self.first_end.min(until);
                Noted::First
            }
        }
    }

    /// At most once a second: what is left ends later than now.
    fn sweep(&mut self, now: u32) {
        self.used.retain(|_, until| *until > now);
        self.first_end = self.used.values().copied().min().unwrap_or(u32::MAX);
    }
}

/// The name of a proof and the shard it belongs to.
fn name(key: &Thumbprint, jti: &str) -> (Name, usize) {
    let mut context = Context::new(&SHA256);
    // Fixed length first, so no two pairs read alike.
    context.update(&key.0);
    context.update(jti.as_bytes());
    let digest = context.finish();
    let mut name = [0; 16];
    let (front, back) = digest.as_ref().split_at(name.len());
    name.copy_from_slice(front);
    (name, back.first().map_or(0, |byte| usize::from(*byte)) % SHARDS)
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
        let noted: Vec<(String, Noted)> = (0..SHARDS * 20)
            .map(|nth| (nth.to_string(), replays.note(&KEY, &nth.to_string(), 100 + nth as u64 % 2, 10)))
            .collect();
        let used: Vec<&String> = noted.iter().filter(|(_, noted)| *noted == Noted::First).map(|(jti, _)| jti).collect();
        assert_eq!(used.len(), SHARDS * 2);
        assert!(noted.iter().all(|(_, noted)| matches!(noted, Noted::First | Noted::Full)));
        assert!(used.iter().all(|jti| replays.note(&KEY, jti, 100, 99) == Noted::Again), "nothing was evicted");
        assert!(used.iter().all(|jti| replays.note(&KEY, jti, 300, 101) == Noted::First), "all have ended");
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
    fn a_flood_of_a_million_proofs_leaves_the_store_at_its_bound() {
        let replays = Replays::new(CAPACITY);
        let noted: Vec<Noted> = (0..1_000_000u64).map(|nth| replays.note(&KEY, &format!("{nth:x}"), 100, 10)).collect();
        let first = noted.iter().filter(|noted| **noted == Noted::First).count();
        let slots: usize = replays.shards.iter().map(|shard| shard.lock().unwrap().used.capacity()).sum();
        assert!(first <= CAPACITY && first > CAPACITY * 99 / 100, "{first}");
        assert!(noted.iter().skip(CAPACITY * 3 / 2).all(|noted| *noted == Noted::Full));
        assert!(slots <= CAPACITY * 2, "{slots} slots of 21 bytes");
        assert_eq!(replays.note(&KEY, "0", 100, 99), Noted::Again, "the first is still known");
    }
}
