//! Adding to the files, and what is needed of them.
//!
//! The thread of checkpoints alone writes. A value is in its file before sled is told where it is, and durable before the
//! checkpoint counts that it is in; until then the journal has it. What a checkpoint has added when it is cut off is behind the end that
//! counts, and is written over.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::Arc,
};

use super::{
    HEADER_BYTES, Place, Record, Values, header,
    inventory::{Contents, Inventory, Noted},
};
use crate::store::{
    StoreId, barrier,
    sled::{OpenError, tables::Cohort},
};

/// Where there is very much, new files are larger: this part of all that there is, up to a limit.
const PARTS: u64 = 256;
const FILE_BYTES_MAX: u32 = 256 << 20;
/// How much is written at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// The files, as they are written.
#[derive(Debug)]
pub(in crate::store::sled) struct Writer {
    pub(super) values: Arc<Values>,
    store: StoreId,
    pub(super) inventory: Inventory,
    /// The inventory that the last checkpoint names.
    noted: (Noted, Inventory),
    /// Sled may lead to what a checkpoint has added that was cut off, and which does not count: until the next one has ended.
    pub(super) has_leftovers: bool,
    /// What is added to.
    pub(super) growing: BTreeMap<Cohort, Growing>,
    /// The files that may have something that is not durable.
    unsynced: BTreeSet<u64>,
    /// The number of the next file.
    next: u64,
    /// Files, and inventories, that the last one has nothing of.
    gone: Vec<u64>,
    gone_inventories: Vec<PathBuf>,
    /// Files that cannot be gone through: they are left as they are.
    pub(super) damaged: BTreeSet<u64>,
    /// What a file has before it gets no more, where there is not very much in all.
    pub(super) file_bytes_min: u32,
    /// Nothing is about to change.
    pub(super) is_at_rest: bool,
}

/// A file that is added to.
#[derive(Debug)]
pub(super) struct Growing {
    pub(super) number: u64,
    file: Arc<File>,
    /// What is to be written at the end.
    buffer: Vec<u8>,
    /// Where that begins.
    at: u32,
    /// It gets no more when it has so much; it may have more by what was added last.
    full: u32,
}

impl Growing {
    fn write_out(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.at.into())?;
        self.at += u32::try_from(self.buffer.len()).expect("a buffer is far smaller");
        self.buffer.clear();
        Ok(())
    }
}

impl Writer {
    /// For a store that has no values yet, with files of about so many bytes.
    pub(in crate::store::sled) fn create(values: Arc<Values>, store: StoreId, file_bytes: u64) -> Self {
        Self {
            values,
            store,
            inventory: Inventory::default(),
            noted: Default::default(),
            has_leftovers: false,
            growing: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            next: 1,
            gone: Vec::new(),
            gone_inventories: Vec::new(),
            damaged: BTreeSet::new(),
            file_bytes_min: u32::try_from(file_bytes).unwrap_or(FILE_BYTES_MAX).clamp(1, FILE_BYTES_MAX),
            is_at_rest: false,
        }
    }

    /// Whether the store is at rest: then files are emptied sooner.
    pub(in crate::store::sled) fn set_at_rest(&mut self, is_at_rest: bool) {
        self.is_at_rest = is_at_rest;
    }

    /// With the files that an inventory names, in the directory of some values that have none yet.
    ///
    /// # Errors
    /// [`OpenError::Unreadable`] names a file that is not what was written; [`OpenError::Io`].
    pub(in crate::store::sled) fn open(
        values: Arc<Values>,
        store: StoreId,
        file_bytes: u64,
        noted: Noted,
    ) -> Result<Self, OpenError> {
        let mut writer = Self::create(values, store, file_bytes);
        let inventory = read_inventory(&writer.values, noted)?;
        for (&number, contents) in &inventory.0 {
            let file = Arc::new(open_file(&writer.values, store, number, contents.end)?);
            writer.values.insert(number, Arc::clone(&file));
            if contents.end < writer.file_bytes_min {
                let full = writer.file_bytes_min;
                let growing = Growing { number, file, buffer: Vec::new(), at: contents.end, full };
                writer.growing.insert(contents.cohort, growing);
            }
            writer.next = number + 1;
        }
        (writer.noted, writer.inventory) = ((noted, inventory.clone()), inventory);
        Ok(writer)
    }

    /// A checkpoint may have been cut off: sled may lead to what it has added, and it did not come to say what is not needed any more. So
    /// what is said to be needed is taken for the most that can be.
    pub(in crate::store::sled) fn doubt(&mut self) {
        self.has_leftovers = true;
        for contents in self.inventory.0.values_mut() {
            contents.is_counted = false;
        }
    }

    /// Removes what the inventory does not name.
    pub(in crate::store::sled) fn remove_others(&self) -> io::Result<()> {
        let named = |name: &str| {
            let number = u64::from_str_radix(name, 16);
            number.is_ok_and(|number| self.inventory.0.contains_key(&number) && name == super::name(number))
                || name == inventory_name(self.noted.0.number)
        };
        for entry in fs::read_dir(&self.values.directory)? {
            let entry = entry?;
            // Some file systems put a directory there by themselves.
            if entry.file_type()?.is_file() && !entry.file_name().to_str().is_some_and(named) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Adds a value, and says where it is. It can be read when it is [written out](Self::write_out).
    pub(in crate::store::sled) fn append(&mut self, key: &[u8], value: &[u8]) -> io::Result<Place> {
        let cohort = Cohort::of(key);
        let record = Record::new(key, value);
        let length = u32::try_from(record.length()).expect("a value is far smaller");
        let growing = self.growing(cohort)?;
        let number = growing.number;
        let buffered = u32::try_from(growing.buffer.len()).expect("a buffer is far smaller");
        let place = Place { file: number, offset: growing.at + buffered, length, sum: record.sum };
        let is_full = place.offset + length >= growing.full;
        record.encode(&mut growing.buffer);
        if growing.buffer.len() >= BUFFER_BYTES {
            growing.write_out()?;
        }
        self.unsynced.insert(number);
        let contents = self.inventory.0.get_mut(&number).expect("it is there while it grows");
        contents.end += length;
        contents.live += length;
        if is_full {
            self.close(cohort)?;
        }
        Ok(place)
    }

    /// What is at a place is not needed any more.
    pub(in crate::store::sled) fn release(&mut self, place: Place) {
        let has_counted = !self.has_leftovers
            || self.noted.1.0.get(&place.file).is_some_and(|noted| place.offset < noted.end);
        if let Some(contents) = self.inventory.0.get_mut(&place.file).filter(|_| has_counted) {
            contents.live = contents.live.saturating_sub(place.length);
        }
    }

    /// Writes what was added, so that it can be read.
    pub(in crate::store::sled) fn write_out(&mut self) -> io::Result<()> {
        self.growing.values_mut().try_for_each(Growing::write_out)
    }

    /// Makes durable what was added, with an inventory of it, and says what a checkpoint is to name. Files of which nothing is needed
    /// are not in it. Sled leads to no leftovers any more.
    pub(in crate::store::sled) fn note(&mut self) -> io::Result<Noted> {
        self.write_out()?;
        for number in std::mem::take(&mut self.unsynced) {
            if let Some(file) = self.values.file(number) {
                file.sync_data()?;
            }
        }
        self.drop_dead();
        self.has_leftovers = false;
        let (noted, inventory) = &self.noted;
        if *inventory == self.inventory {
            return Ok(*noted);
        }
        let text = self.inventory.text();
        let next = Noted { number: noted.number + 1, sum: crc32fast::hash(text.as_bytes()) };
        let mut file = File::create(self.values.directory.join(inventory_name(next.number)))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        barrier::sync_directory(&self.values.directory)?;
        self.gone_inventories.push(self.values.directory.join(inventory_name(noted.number)));
        self.noted = (next, self.inventory.clone());
        Ok(next)
    }

    /// Removes what is not in the inventory any more, when a checkpoint names it durably. Nobody may read a database that it is
    /// not of.
    pub(in crate::store::sled) fn clean(&mut self) {
        let files = std::mem::take(&mut self.gone).into_iter().map(|number| {
            self.values.remove(number);
            self.values.path(number)
        });
        for path in files.chain(std::mem::take(&mut self.gone_inventories)) {
            // What is left is removed at the next start.
            let _ = fs::remove_file(path);
        }
    }

    fn drop_dead(&mut self) {
        let dead: Vec<u64> = self
            .inventory
            .0
            .iter()
            .filter(|(_, contents)| contents.live == 0)
            .map(|(number, _)| *number)
            .collect();
        for number in dead {
            self.inventory.0.remove(&number);
            self.growing.retain(|_, growing| growing.number != number);
            self.gone.push(number);
        }
    }

    /// What grows of a cohort; a new file if there is none.
    fn growing(&mut self, cohort: Cohort) -> io::Result<&mut Growing> {
        use std::collections::btree_map::Entry;

        let entry = match self.growing.entry(cohort) {
            Entry::Occupied(entry) => return Ok(entry.into_mut()),
            Entry::Vacant(entry) => entry,
        };
        let number = self.next;
        let share = u32::try_from(self.inventory.bytes() / PARTS).unwrap_or(u32::MAX);
        let full = share.clamp(self.file_bytes_min, FILE_BYTES_MAX);
        let file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(self.values.path(number))?;
        file.write_all_at(&header(self.store, number), 0)?;
        let file = Arc::new(file);
        self.next += 1;
        self.values.insert(number, Arc::clone(&file));
        let end = u32::try_from(HEADER_BYTES).expect("it is small");
        self.inventory.0.insert(number, Contents { cohort, end, live: 0, is_counted: true });
        Ok(entry.insert(Growing { number, file, buffer: Vec::new(), at: end, full }))
    }

    /// Adds no more to what grows of a cohort.
    pub(super) fn close(&mut self, cohort: Cohort) -> io::Result<()> {
        self.growing.remove(&cohort).map_or(Ok(()), |mut growing| growing.write_out())
    }
}

fn inventory_name(number: u64) -> String {
    format!("inventory-{number}")
}

fn read_inventory(values: &Values, noted: Noted) -> Result<Inventory, OpenError> {
    if noted == Noted::default() {
        return Ok(Inventory::default());
    }
    let path = values.directory.join(inventory_name(noted.number));
    let unreadable = || OpenError::Unreadable { file: path.clone() };
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(unreadable()),
        read => read.map_err(OpenError::io("read", &path))?,
    };
    let text = String::from_utf8(bytes).ok().filter(|text| crc32fast::hash(text.as_bytes()) == noted.sum);
    text.and_then(|text| Inventory::parse(&text)).ok_or_else(unreadable)
}

fn open_file(values: &Values, store: StoreId, number: u64, end: u32) -> Result<File, OpenError> {
    let path = values.path(number);
    let unreadable = || OpenError::Unreadable { file: path.clone() };
    let file = match File::options().read(true).write(true).open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(unreadable()),
        opened => opened.map_err(OpenError::io("open", &path))?,
    };
    let length = file.metadata().map_err(OpenError::io("read", &path))?.len();
    if length < u64::from(end) {
        return Err(unreadable());
    }
    let mut found = [0; HEADER_BYTES];
    file.read_exact_at(&mut found, 0).map_err(OpenError::io("read", &path))?;
    if found == header(store, number) { Ok(file) } else { Err(unreadable()) }
}
