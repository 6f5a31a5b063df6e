//! The store as it is read: what sled has, and over it the changes that are in the journal and not in sled yet.
//!
//! Those are in two layers. Commits go into the upper one. A checkpoint takes it for the lower one, which does not change
//! any more, writes it into sled, and drops it: whatever is read is in one of the three at each moment. Beneath them one
//! database can take the place of another with the same in it.
//!
//! What was read of sled by its key is cached. A value that was read while a checkpoint ended may be the one before it, and is not.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, VecDeque},
    iter::{self, Peekable},
    ops::{Bound, RangeBounds},
    sync::{Arc, PoisonError, RwLock},
};

use bytes::Bytes;

use super::{
    cache::{Cache, Known},
    database::Database,
    failed,
    journal::Change,
};
use crate::store::Result;

/// How many changes a range takes over at once.
const PAGE: usize = 64;

/// The newest changes of some keys, in order; a value, or that there is none.
pub(super) type Layer = BTreeMap<Bytes, Option<Bytes>>;

/// sled, and the layers over it.
pub(super) struct View {
    layers: RwLock<Layers>,
    cache: Cache,
}

struct Layers {
    upper: Layer,
    lower: Arc<Layer>,
    tree: Arc<Database>,
    /// How many checkpoints have ended.
    checkpoints: u64,
}

impl View {
    /// With what the journal has, and a cache of so many bytes.
    pub(super) fn new(tree: Database, recent: Layer, cache_bytes: u64) -> Self {
        let (lower, tree) = (Arc::default(), Arc::new(tree));
        let layers = Layers { upper: recent, lower, tree, checkpoints: 0 };
        Self { layers: RwLock::new(layers), cache: Cache::new(cache_bytes) }
    }

    /// What sled has.
    pub(super) fn tree(&self) -> Arc<Database> {
        self.look(|layers| Arc::clone(&layers.tree))
    }

    /// Goes over to another database with the same in it, and gives the one that it was.
    pub(super) fn replace(&self, tree: Database) -> Arc<Database> {
        self.change(|layers| std::mem::replace(&mut layers.tree, Arc::new(tree)))
    }

    /// Shows changes, all at once.
    pub(super) fn show(&self, changes: Vec<Change>) {
        self.change(|layers| layers.upper.extend(changes));
    }

    /// Whether sled has all that was committed.
    pub(super) fn is_in_sled(&self) -> bool {
        self.look(|layers| layers.upper.is_empty() && layers.lower.is_empty())
    }

    /// Takes the upper layer for the lower one, which must be dropped.
    pub(super) fn freeze(&self) -> Arc<Layer> {
        self.change(|layers| {
            debug_assert!(layers.lower.is_empty(), "one checkpoint at a time");
            layers.lower = Arc::new(std::mem::take(&mut layers.upper));
            Arc::clone(&layers.lower)
        })
    }

    /// Drops the lower layer, which sled has now.
    pub(super) fn thaw(&self) {
        // From here on nobody puts into the cache what was there before.
        let lower = self.change(|layers| {
            layers.checkpoints += 1;
            Arc::clone(&layers.lower)
        });
        for (key, value) in lower.iter() {
            self.cache.replace(key, value.as_ref());
        }
        // Dropped when others can go on.
        let _lower = self.change(|layers| std::mem::take(&mut layers.lower));
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let recent = |layers: &Layers| match layers.upper.get(key).or_else(|| layers.lower.get(key)) {
            Some(recent) => Ok(recent.clone()),
            None => Err((Arc::clone(&layers.tree), layers.checkpoints)),
        };
        let (tree, checkpoints) = match self.look(recent) {
            Ok(recent) => return Ok(recent),
            Err(beneath) => beneath,
        };
        // That may be newer than the layers were, and never older: it is put there before they lose it.
        if let Some(Known(cached)) = self.cache.get(key) {
            return Ok(cached);
        }
        let value = tree.value(key)?;
        self.keep(key, value.as_ref(), checkpoints);
        Ok(value)
    }

    /// Has a value cached that was read out of sled when so many checkpoints had ended, unless one has ended since.
    fn keep(&self, key: &[u8], value: Option<&Bytes>, checkpoints: u64) {
        self.look(|layers| {
            if layers.checkpoints == checkpoints {
                self.cache.put(key, value);
            }
        });
    }

    /// Keys with their values, in order or, where `reverse`, from the last to the first. It is not one moment.
    pub(super) fn range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>, reverse: bool) -> Range<'_> {
        let bound = |bound: Bound<&K>| bound.map(|key| Bytes::copy_from_slice(key.as_ref()));
        let (start, end) = (bound(range.start_bound()), bound(range.end_bound()));
        let is_last_page = is_empty(&start, &end);
        let items: Items = Box::new(iter::empty());
        let (items, page) = (items.peekable(), VecDeque::new());
        Range {
            view: self,
            start,
            end,
            reverse,
            has_values: true,
            page,
            is_last_page,
            tree: None,
            checkpoints: 0,
            items,
        }
    }

    /// The keys of a range, in order, and some that were just removed. No value is read.
    pub(super) fn keys<K: AsRef<[u8]>>(
        &self,
        range: impl RangeBounds<K>,
    ) -> impl Iterator<Item = Result<Bytes>> {
        let range = Range { has_values: false, ..self.range(range, false) };
        range.map(|item| item.map(|(key, _)| key))
    }

    fn look<T>(&self, look: impl FnOnce(&Layers) -> T) -> T {
        look(&self.layers.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Layers) -> T) -> T {
        change(&mut self.layers.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Layers {
    /// The first changes of a range, or the last ones, from its end.
    fn page(&self, start: &Bound<Bytes>, end: &Bound<Bytes>, reverse: bool) -> VecDeque<Change> {
        let range = (start.as_ref(), end.as_ref());
        let (upper, lower) = (self.upper.range::<Bytes, _>(range), self.lower.range::<Bytes, _>(range));
        if reverse { merged(upper.rev(), lower.rev(), true) } else { merged(upper, lower, false) }
    }
}

/// Whether no key can be in a range.
fn is_empty(start: &Bound<Bytes>, end: &Bound<Bytes>) -> bool {
    match (start, end) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
            start >= end
        }
    }
}

/// The first of two sequences in the same order; of what is in both, the upper one.
fn merged<'a>(
    upper: impl Iterator<Item = (&'a Bytes, &'a Option<Bytes>)>,
    lower: impl Iterator<Item = (&'a Bytes, &'a Option<Bytes>)>,
    reverse: bool,
) -> VecDeque<Change> {
    let (mut upper, mut lower) = (upper.peekable(), lower.peekable());
    let mut page = VecDeque::with_capacity(PAGE);
    while page.len() < PAGE {
        let next = match (upper.peek(), lower.peek()) {
            (Some((above, _)), Some((below, _))) if above == below => {
                lower.next();
                upper.next()
            }
            (Some((above, _)), Some((below, _))) if (above < below) != reverse => upper.next(),
            (_, Some(_)) => lower.next(),
            (_, None) => upper.next(),
        };
        let Some((key, value)) = next else { break };
        page.push_back((key.clone(), value.clone()));
    }
    page
}

type Items = Box<dyn Iterator<Item = ::sled::Result<(::sled::IVec, ::sled::IVec)>>>;

/// See [`View::range`].
pub(super) struct Range<'v> {
    view: &'v View,
    /// What is left of it, beyond the page.
    start: Bound<Bytes>,
    end: Bound<Bytes>,
    reverse: bool,
    /// Without them, what sled has comes with empty values.
    has_values: bool,
    /// The next changes of the layers.
    page: VecDeque<Change>,
    /// No more follow on them.
    is_last_page: bool,
    /// What sled has beneath the page.
    tree: Option<Arc<Database>>,
    /// How many checkpoints had ended when `items` were begun. sled reads some ahead.
    checkpoints: u64,
    items: Peekable<Items>,
}

impl Range<'_> {
    /// Takes over the next changes, and goes on in the database that was beneath them at that moment. What was read ahead of
    /// it may lack what layers have lost since.
    fn turn_page(&mut self) {
        let page = |layers: &Layers| {
            let page = layers.page(&self.start, &self.end, self.reverse);
            (page, Arc::clone(&layers.tree), layers.checkpoints)
        };
        let (page, tree, checkpoints) = self.view.look(page);
        let is_same = self.tree.as_ref().is_some_and(|before| Arc::ptr_eq(before, &tree));
        if !is_same || checkpoints != self.checkpoints {
            let items = tree.range::<Bytes, _>((self.start.clone(), self.end.clone()));
            let items: Items = if self.reverse { Box::new(items.rev()) } else { Box::new(items) };
            (self.items, self.tree, self.checkpoints) = (items.peekable(), Some(tree), checkpoints);
        }
        self.is_last_page = page.len() < PAGE;
        if let Some((last, _)) = page.back() {
            let border = if self.reverse { &mut self.end } else { &mut self.start };
            *border = Bound::Excluded(last.clone());
        }
        self.page = page;
    }

    /// The next item that sled has; none where it was removed since.
    fn next_item(&mut self) -> Option<Result<Option<(Bytes, Bytes)>>> {
        let (item, tree) = (self.items.next()?, self.tree.as_ref()?);
        Some(item.map_err(failed).and_then(|(key, raw)| {
            let value = if self.has_values { tree.resolve(&key, raw)? } else { Some(Bytes::new()) };
            Ok(value.map(|value| (Bytes::copy_from_slice(&key), value)))
        }))
    }

    /// Whether sled's next item comes before the next change, in its place, or after it.
    fn item_to_change(&mut self) -> Ordering {
        match (self.items.peek(), self.page.front()) {
            (None, _) => Ordering::Greater,
            (Some(Err(_)), _) | (_, None) => Ordering::Less,
            (Some(Ok((item, _))), Some((change, _))) => {
                let order = (**item).cmp(change);
                if self.reverse { order.reverse() } else { order }
            }
        }
    }
}

impl Iterator for Range<'_> {
    type Item = Result<(Bytes, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.page.is_empty() && !self.is_last_page {
                self.turn_page();
            }
            let order = self.item_to_change();
            if order.is_lt() {
                if let Some(item) = self.next_item()?.transpose() {
                    return Some(item);
                }
                continue;
            }
            if order.is_eq() {
                self.items.next();
            }
            if let (key, Some(value)) = self.page.pop_front()? {
                return Some(Ok((key, value)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{
        super::{SledOptions, open::open_tree, value, values::Values},
        *,
    };

    /// With nothing in it.
    fn view(directory: &Path) -> View {
        let values = Arc::new(Values::new(directory.to_owned()));
        View::new(open_tree(directory, &SledOptions::default(), values).unwrap(), Layer::new(), 1 << 20)
    }

    /// Writes what is committed into sled, as a checkpoint does.
    fn write(view: &View) {
        let layer = view.freeze();
        for (key, value) in layer.iter() {
            view.tree().insert(key, value::encode(key, value.as_ref().unwrap())).unwrap();
        }
    }

    fn checkpoint(view: &View) {
        write(view);
        view.thaw();
    }

    #[test]
    fn a_range_goes_on_in_what_a_checkpoint_wrote_meanwhile() {
        let directory = tempfile::tempdir().unwrap();
        let view = view(directory.path());
        let show = |text: &'static str, keys: &[String]| {
            view.show(keys.iter().map(|key| (key.clone().into(), Some(text.into()))).collect());
        };
        let edges = ["a".to_owned(), "z".to_owned()];
        show("old", &edges);
        checkpoint(&view);
        let keys: Vec<_> = (0..=PAGE).map(|number| format!("k{number:03}")).chain(edges).collect();
        for reverse in [false, true] {
            show("new", &keys);
            let mut range = view.range("a".."zz", reverse);
            // sled has all of its keys in one leaf, and what the layers have is more than a page.
            let first = range.next().unwrap().unwrap();
            checkpoint(&view);
            let rest: Vec<_> = range.map(Result::unwrap).collect();
            assert_eq!(rest.len(), keys.len() - 1, "{reverse}");
            assert!([first].iter().chain(&rest).all(|(_, value)| value == "new"), "{reverse}");
            show("old", &keys);
            checkpoint(&view);
        }
    }

    #[test]
    fn a_value_that_was_read_before_a_checkpoint_ended_is_not_cached_after_it() {
        const KEY: &[u8] = b"Ja";
        let directory = tempfile::tempdir().unwrap();
        let view = view(directory.path());
        let show = |text: &'static str| view.show(vec![(KEY.into(), Some(text.into()))]);
        show("old");
        checkpoint(&view);
        let (before, checkpoints) = (view.get(KEY).unwrap(), view.look(|layers| layers.checkpoints));
        assert_eq!(view.cache.get(KEY).unwrap().0, before, "what was read is cached");

        show("new");
        write(&view);
        assert_eq!(view.cache.get(KEY).unwrap().0, before);
        view.thaw();
        assert_eq!(view.cache.get(KEY).unwrap().0.unwrap(), "new", "and goes with what it was read of");
        view.keep(KEY, before.as_ref(), checkpoints);
        assert_eq!(view.get(KEY).unwrap().unwrap(), "new", "who was slow does not bring it back");
    }
}
