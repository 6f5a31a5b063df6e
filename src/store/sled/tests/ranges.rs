//! Ranges beside all that goes on beneath them: commits, checkpoints in pieces, and databases that take the place of others. By seed;
//! `HOLDPOINT_RANGES_SEED` makes others, `HOLDPOINT_RANGES` more.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    env,
    sync::Arc,
};

use bytes::Bytes;

use super::super::{
    SledOptions, StoreId,
    checkpoint::Steps,
    database::Database,
    journal::Change,
    open::open_tree,
    values::{Collected, Values, Writer},
    view::{Layer, View},
};
use crate::chance::Chance;

const KEYS: u64 = 420;

/// A view, and what must be seen of it.
struct Subject {
    place: tempfile::TempDir,
    chance: Chance,
    view: Arc<View>,
    state: BTreeMap<Bytes, Bytes>,
    values: Writer,
    /// A database that was in use before.
    retired: Option<Arc<Database>>,
    /// What a checkpoint that was begun has still to write.
    left: Option<VecDeque<Change>>,
    versions: u64,
    databases: u64,
    checkpoints: u64,
    emptied: u64,
}

fn key(number: u64) -> Bytes {
    format!("J{number:03}").into()
}

impl Subject {
    fn new(seed: u64) -> Self {
        let place = tempfile::tempdir().unwrap();
        let values = Arc::new(Values::new(place.path().to_owned()));
        let tree = open_tree(&place.path().join("0"), &SledOptions::default(), Arc::clone(&values)).unwrap();
        Self {
            place,
            chance: Chance::new(seed),
            view: Arc::new(View::new(tree, Layer::new(), 1 << 16)),
            state: BTreeMap::new(),
            values: Writer::create(values, StoreId(uuid::Uuid::from_u128(7)), 20_000),
            retired: None,
            left: None,
            versions: 0,
            databases: 0,
            checkpoints: 0,
            emptied: 0,
        }
    }

    /// Something happens. Tells what was committed.
    fn go_on(&mut self) -> BTreeMap<Bytes, Option<Bytes>> {
        match self.chance.below(40_u64) {
            0..=17 => return self.commit(),
            18..=24 if self.left.is_none() => {
                let layer = self.view.freeze();
                self.left = Some(layer.iter().map(|(key, value)| (key.clone(), value.clone())).collect());
            }
            25..=37 => self.write(),
            38 if self.left.is_none() => self.collect(),
            39 if self.left.is_none() && self.chance.below(4) == 0 => self.replace(),
            _ => {}
        }
        BTreeMap::new()
    }

    fn commit(&mut self) -> BTreeMap<Bytes, Option<Bytes>> {
        let changes_max = if self.chance.below(3) == 0 { 150 } else { 6 };
        let mut changes = BTreeMap::new();
        for _ in 0..self.chance.below(changes_max) {
            self.versions += 1;
            // Some in sled, some in files.
            let length = if self.chance.below(12) == 0 { 9_000 } else { self.chance.below(300) };
            let value = [&self.versions.to_be_bytes()[..], &vec![b'x'; length]].concat();
            let is_set = self.chance.below(3) > 0;
            changes.insert(key(self.chance.below(KEYS)), is_set.then(|| Bytes::from(value)));
        }
        for (key, value) in changes.clone() {
            match value {
                Some(value) => self.state.insert(key, value),
                None => self.state.remove(&key),
            };
        }
        self.view.show(changes.clone().into_iter().collect());
        changes
    }

    /// A piece of a checkpoint, if one was begun.
    fn write(&mut self) {
        let Some(left) = &mut self.left else { return };
        let tree = self.view.tree();
        let mut steps = Steps::new(&tree, &mut self.values, 0);
        let some = if self.chance.below(3) == 0 { left.len() } else { left.len() / 2 };
        for (key, value) in left.drain(..some) {
            steps.write(&key, value.as_ref()).unwrap();
        }
        steps.finish().unwrap();
        let is_written = left.is_empty();
        if is_written && self.chance.below(2) == 0 {
            self.values.note().unwrap();
            self.clean();
            self.view.thaw();
            self.left = None;
            self.checkpoints += 1;
        }
    }

    /// Empties a file of values, if there is one to be emptied.
    fn collect(&mut self) {
        let tree = self.view.tree();
        if let Some(Collected::Copied { file, moved }) = self.values.collect(&tree, None, || Ok(())).unwrap()
        {
            self.values.note().unwrap();
            let mut steps = Steps::new(&tree, &mut self.values, 0);
            for moved in &moved {
                steps.lead(moved).unwrap();
            }
            steps.finish().unwrap();
            self.values.emptied(file, &moved);
            self.values.note().unwrap();
            self.clean();
            self.emptied += 1;
        }
    }

    /// Removes files that are not needed, unless a range may read a database that still leads to them.
    fn clean(&mut self) {
        self.retired.take_if(|retired| Arc::strong_count(retired) == 1);
        if self.retired.is_none() {
            self.values.clean();
        }
    }

    fn replace(&mut self) {
        self.clean();
        if self.retired.is_some() {
            return;
        }
        self.databases += 1;
        let path = self.place.path().join(self.databases.to_string());
        let values = Arc::clone(self.view.tree().values());
        let tree = open_tree(&path, &SledOptions::default(), values).unwrap();
        for item in self.view.tree().iter() {
            let (key, stored) = item.unwrap();
            tree.insert(key, stored).unwrap();
        }
        self.retired = Some(self.view.replace(tree));
    }

    /// A range has each key as it was when it began, or as it came to be since.
    fn range(&mut self) {
        let [first, second] = [self.chance.below(KEYS), self.chance.below(KEYS)];
        let (start, end) = (first.min(second), first.max(second));
        let reverse = self.chance.below(2) == 0;
        let calm = 1 + self.chance.below(30_u64);
        let mut allowed: BTreeMap<Bytes, BTreeSet<Option<Bytes>>> = (start..end)
            .map(|number| (key(number), BTreeSet::from([self.state.get(&key(number)).cloned()])))
            .collect();
        let view = Arc::clone(&self.view);
        let mut range = view.range(key(start)..key(end), reverse);
        let mut found = Vec::new();
        loop {
            if self.chance.below(calm) == 0 {
                for (key, value) in self.go_on() {
                    allowed.entry(key).or_default().insert(value);
                }
                let any = key(self.chance.below(KEYS));
                assert_eq!(view.get(&any).unwrap(), self.state.get(&any).cloned(), "{any:?}");
            }
            let Some(item) = range.next() else { break };
            found.push(item.unwrap());
        }
        if reverse {
            found.reverse();
        }
        assert!(found.is_sorted_by(|(one, _), (next, _)| one < next), "in order, and each once");
        let found: BTreeMap<_, _> = found.into_iter().collect();
        for number in 0..KEYS {
            let (key, is_within) = (key(number), (start..end).contains(&number));
            let value = found.get(&key).cloned();
            let is_right = if is_within { allowed[&key].contains(&value) } else { value.is_none() };
            assert!(
                is_right,
                "{key:?} of {start}..{end}, reverse {reverse}: {:?}",
                value.map(|value| value.len())
            );
        }
    }
}

#[test]
fn a_range_has_what_was_committed_before_it_whatever_goes_on_beneath() {
    let number = |name, usual| env::var(name).map_or(usual, |text| text.parse::<u64>().unwrap());
    let mut subject = Subject::new(number("HOLDPOINT_RANGES_SEED", 1));
    for _ in 0..number("HOLDPOINT_RANGES", 400) {
        subject.range();
    }
    let Subject { checkpoints, databases, emptied, .. } = subject;
    assert!(
        checkpoints > 50 && databases > 3 && emptied > 3,
        "{checkpoints} checkpoints, {databases} databases, {emptied} files"
    );
}
