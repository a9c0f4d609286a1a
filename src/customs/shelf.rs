//! Facts of one kind in memory: by key, and by whatever they can be found by. Bounded: what arrived first goes first
//! (it stays in the store). Cloning is cheap; a change copies what it must, so that snapshots never change.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::fact::Keyed;

/// Facts of one kind.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    items: Arc<HashMap<Arc<str>, Arc<T>>>,
    /// Keys by first arrival; may name some that are gone.
    arrivals: Arc<VecDeque<Arc<str>>>,
    by_handle: Arc<HashMap<String, Vec<Arc<str>>>>,
    max: usize,
}

// By hand: a derive would ask for `T: Clone`.
impl<T> Clone for Shelf<T> {
    fn clone(&self) -> Self {
        Self {
            items: Arc::clone(&self.items),
            arrivals: Arc::clone(&self.arrivals),
            by_handle: Arc::clone(&self.by_handle),
            max: self.max,
        }
    }
}

/// What a change did beside adding.
#[derive(Debug)]
pub(super) struct Put<T> {
    /// What had the key before.
    pub replaced: Option<Arc<T>>,
    /// What had to go.
    pub evicted: Vec<Arc<T>>,
}

impl<T: Keyed> Shelf<T> {
    pub(super) fn new(max: usize) -> Self {
        Self { items: Arc::default(), arrivals: Arc::default(), by_handle: Arc::default(), max }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Arc<T>> {
        self.items.get(key)
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.items.values()
    }

    /// All that can be found by this handle, oldest arrival first.
    pub(super) fn found<'a>(&'a self, handle: &str) -> impl Iterator<Item = &'a Arc<T>> + use<'a, T> {
        self.by_handle.get(handle).into_iter().flatten().filter_map(|key| self.items.get(key))
    }

    pub(super) fn put(&mut self, item: Arc<T>) -> Put<T> {
        let key: Arc<str> = self.items.get_key_value(item.key()).map_or_else(|| item.key().into(), |(k, _)| k.clone());
        let replaced = Arc::make_mut(&mut self.items).insert(Arc::clone(&key), Arc::clone(&item));
        match &replaced {
            Some(old) => self.unindex(old),
            None => Arc::make_mut(&mut self.arrivals).push_back(Arc::clone(&key)),
        }
        let index = Arc::make_mut(&mut self.by_handle);
        for handle in item.handles() {
            let keys = index.entry(handle).or_default();
            if !keys.contains(&key) {
                keys.push(Arc::clone(&key));
            }
        }
        let mut evicted = Vec::new();
        while self.items.len() > self.max
            && let Some(oldest) = Arc::make_mut(&mut self.arrivals).pop_front()
        {
            evicted.extend(self.take(&oldest));
        }
        Put { replaced, evicted }
    }

    fn take(&mut self, key: &str) -> Option<Arc<T>> {
        let item = Arc::make_mut(&mut self.items).remove(key)?;
        self.unindex(&item);
        Some(item)
    }

    fn unindex(&mut self, item: &T) {
        let index = Arc::make_mut(&mut self.by_handle);
        for handle in item.handles() {
            if let Some(keys) = index.get_mut(&handle) {
                keys.retain(|k| **k != *item.key());
                if keys.is_empty() {
                    index.remove(&handle);
                }
            }
        }
    }
}
