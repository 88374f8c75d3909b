//! A counting semaphore per key: connections of an address, streams of a user.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Counts the slots held by each key. Keys without slots use no memory.
pub struct Slots<K> {
    /// The most slots per key; 0 is unlimited.
    most: u32,
    held: Mutex<HashMap<K, u32>>,
}

impl<K: Hash + Eq + Clone> Slots<K> {
    /// Allows at most `most` slots per key; 0 is unlimited.
    pub fn new(most: u32) -> Arc<Self> {
        Arc::new(Self {
            most,
            held: Mutex::default(),
        })
    }

    /// Takes a slot, which is held until it is dropped; `None` if the key is at its limit.
    pub fn take(self: &Arc<Self>, key: K) -> Option<Slot<K>> {
        let mut held = self.lock();
        let count = held.get(&key).copied().unwrap_or_default();
        if self.most > 0 && count >= self.most {
            return None;
        }
        held.insert(key.clone(), count + 1);
        drop(held);
        Some(Slot {
            slots: self.clone(),
            key,
        })
    }

    /// The number of slots that the key holds.
    pub fn held(&self, key: &K) -> u32 {
        self.lock().get(key).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, u32>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> fmt::Debug for Slots<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = &self.most;
        f.debug_struct("Slots").field("most", most).finish()
    }
}

/// A slot. Dropping it releases it.
#[derive(Debug)]
pub struct Slot<K: Hash + Eq + Clone> {
    slots: Arc<Slots<K>>,
    key: K,
}

impl<K: Hash + Eq + Clone> Drop for Slot<K> {
    fn drop(&mut self) {
        let mut held = self.slots.lock();
        if let Some(count) = held.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_holds_no_more_than_it_may_and_leaves_nothing_behind() {
        let slots = Slots::new(2);
        let first = slots.take("a");
        let second = slots.take("a");
        assert!(first.is_some() && second.is_some());
        assert!(slots.take("a").is_none());
        assert!(slots.take("b").is_some(), "another key has its own");
        drop(first);
        assert!(slots.take("a").is_some());
        drop(second);
        assert!(slots.lock().is_empty());
    }

    #[test]
    fn without_a_limit_it_only_counts() {
        let slots = Slots::new(0);
        let taken: Vec<_> = (0..100).map(|_| slots.take(())).collect();
        assert!(taken.iter().all(Option::is_some));
        assert_eq!(slots.held(&()), 100);
    }
}
