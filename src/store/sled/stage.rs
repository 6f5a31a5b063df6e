//! Commits that are too large for one atomic step of sled.
//!
//! All changes are written first under keys that nothing reads, then one small step makes them count, and then they are
//! applied piece by piece. A crash before that step leaves parts to sweep; one after it, changes to apply again, which
//! comes to the same, since each only sets or removes a key.

use ::sled::Tree;

use super::{failed, tables, value};
use crate::store::{Error, Result};

/// The most that one atomic step of sled holds.
pub(super) const STEP_BYTES_MAX: usize = 256 * 1024;
/// What sled adds to each key in its log, about.
const OVERHEAD_BYTES: usize = 32;

const REMOVE: u8 = 0;
const SET: u8 = 1;

/// Changes of sled's tree, each key once: a stored value to set, or none to remove.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    list: Vec<Change>,
    bytes: usize,
}

type Change = (Vec<u8>, Option<Vec<u8>>);

impl Changes {
    pub(super) fn set(&mut self, key: Vec<u8>, stored: Vec<u8>) {
        self.push((key, Some(stored)));
    }

    pub(super) fn remove(&mut self, key: Vec<u8>) {
        self.push((key, None));
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether they can be applied in one step.
    pub(super) fn fit_one_step(&self) -> bool {
        self.bytes <= STEP_BYTES_MAX
    }

    fn push(&mut self, change: Change) {
        self.bytes += weight(&change);
        self.list.push(change);
    }

    /// Applies them in one step.
    pub(super) fn apply(self, tree: &Tree) -> Result<()> {
        apply(tree, &self.list)
    }

    /// Applies them in as many steps as they need.
    pub(super) fn apply_in_steps(&self, tree: &Tree) -> Result<()> {
        let mut start = 0;
        let mut bytes = 0;
        for (index, change) in self.list.iter().enumerate() {
            bytes += weight(change);
            if bytes > STEP_BYTES_MAX && index > start {
                apply(tree, &self.list[start..index])?;
                start = index;
                bytes = weight(change);
            }
        }
        apply(tree, &self.list[start..])
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes);
        for (key, stored) in &self.list {
            bytes.push(if stored.is_some() { SET } else { REMOVE });
            put(&mut bytes, key);
            if let Some(stored) = stored {
                put(&mut bytes, stored);
            }
        }
        bytes
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut changes = Self::default();
        while let Some((&flag, rest)) = bytes.split_first() {
            bytes = rest;
            let key = take(&mut bytes)?;
            match flag {
                REMOVE => changes.remove(key),
                SET => changes.set(key, take(&mut bytes)?),
                _ => return None,
            }
        }
        Some(changes)
    }
}

/// Writes the changes beside the store, without effect yet, and says in how many parts.
pub(super) fn write(tree: &Tree, changes: &Changes) -> Result<u32> {
    let mut parts = Changes::default();
    let mut indexes = 0..;
    for (part, index) in changes.encode().chunks(value::PAYLOAD_BYTES_MAX).zip(&mut indexes) {
        let key = tables::stage(index);
        let stored = value::encode(&key, part);
        parts.set(key, stored);
    }
    parts.apply_in_steps(tree)?;
    Ok(indexes.start)
}

/// Makes the written changes count, once it is flushed.
pub(super) fn mark(tree: &Tree, parts: u32) -> Result<()> {
    let stored = value::encode(tables::STAGED, &parts.to_be_bytes());
    tree.insert(tables::STAGED, stored).map_err(failed)?;
    Ok(())
}

/// Applies the changes that count, then forgets the stage.
pub(super) fn apply_marked(tree: &Tree, changes: &Changes) -> Result<()> {
    changes.apply_in_steps(tree)?;
    tree.remove(tables::STAGED).map_err(failed)?;
    sweep(tree)
}

/// Ends what a crash left: applies a stage that counts, removes one that does not.
///
/// # Errors
/// [`Error::Corrupt`] when a stage that counts is not whole.
pub(super) fn recover(tree: &Tree) -> Result<()> {
    let Some(raw) = tree.get(tables::STAGED).map_err(failed)? else { return sweep(tree) };
    let parts = value::inline(tables::STAGED, &raw)?;
    let mut bytes = Vec::new();
    let mut indexes = 0_u32..;
    for item in tree.range(tables::stages()) {
        let (key, raw) = item.map_err(failed)?;
        if indexes.next() != Some(part_index(&key)?) {
            return Err(incomplete());
        }
        bytes.extend_from_slice(value::inline(&key, &raw)?);
    }
    if indexes.start.to_be_bytes() != parts {
        return Err(incomplete());
    }
    apply_marked(tree, &Changes::decode(&bytes).ok_or_else(incomplete)?)
}

fn sweep(tree: &Tree) -> Result<()> {
    let mut removals = Changes::default();
    for item in tree.range(tables::stages()) {
        removals.remove(item.map_err(failed)?.0.to_vec());
    }
    removals.apply_in_steps(tree)
}

fn part_index(key: &[u8]) -> Result<u32> {
    let index = key.get(1..).and_then(|index| index.try_into().ok()).ok_or_else(incomplete)?;
    Ok(u32::from_be_bytes(index))
}

fn incomplete() -> Error {
    Error::Corrupt("a commit that counts lacks some of its parts".to_owned())
}

fn apply(tree: &Tree, changes: &[Change]) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut step = ::sled::Batch::default();
    for (key, stored) in changes {
        match stored {
            Some(stored) => step.insert(key.as_slice(), stored.as_slice()),
            None => step.remove(key.as_slice()),
        }
    }
    tree.apply_batch(step).map_err(failed)
}

fn weight((key, stored): &Change) -> usize {
    key.len() + stored.as_ref().map_or(0, Vec::len) + OVERHEAD_BYTES
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    let length = u32::try_from(part.len()).expect("keys and stored values are small");
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(part);
}

fn take(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (part, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(part.to_vec())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn changes_survive_encoding(list: Vec<(Vec<u8>, Option<Vec<u8>>)>) {
            let mut changes = Changes::default();
            for change in list {
                changes.push(change);
            }
            prop_assert_eq!(Changes::decode(&changes.encode()), Some(changes));
        }

        #[test]
        fn decoding_never_panics(bytes: Vec<u8>) {
            let _ = Changes::decode(&bytes);
        }
    }
}
