//! A vector whose free places are used again, lowest effort first: the index of an entry is its name
//! while it lives.

use alloc::vec::Vec;
use core::ops::{Index, IndexMut};

use crate::record::codec::{Broken, Code, Reader, Writer};

#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    /// How many entries live.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Puts an entry in and gives its index.
    pub(crate) fn insert(&mut self, entry: T) -> u32 {
        if let Some(index) = self.free.pop() {
            self.entries[index as usize] = Some(entry);
            return index;
        }
        let index = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        assert!(index < u32::MAX, "a slab holds fewer than 2^32 - 1 entries");
        self.entries.push(Some(entry));
        index
    }

    /// Takes a living entry out.
    pub(crate) fn remove(&mut self, index: u32) -> T {
        let entry = self.entries[index as usize].take();
        self.free.push(index);
        match entry {
            Some(entry) => entry,
            None => unreachable!("only living entries are removed"),
        }
    }

    /// The living entries with their indices.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let entries = self.entries.iter().enumerate();
        entries.filter_map(|(index, entry)| Some((u32::try_from(index).ok()?, entry.as_ref()?)))
    }

    /// Whether an index names a living entry.
    pub(crate) fn contains(&self, index: u32) -> bool {
        self.entries
            .get(index as usize)
            .is_some_and(Option::is_some)
    }

    /// The living entries.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().flatten()
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        match &self.entries[index as usize] {
            Some(entry) => entry,
            None => unreachable!("an index names a living entry"),
        }
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        match &mut self.entries[index as usize] {
            Some(entry) => entry,
            None => unreachable!("an index names a living entry"),
        }
    }
}

impl<T: Code> Code for Slab<T> {
    fn put(&self, out: &mut Writer) {
        let Self { entries, free } = self;
        entries.put(out);
        free.put(out);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        let (entries, free) = Code::get(from)?;
        Ok(Self { entries, free })
    }
}
