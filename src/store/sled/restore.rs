//! A new data directory from a backup.

use std::{collections::BTreeMap, io::Read, path::Path, sync::Arc};

use bytes::Bytes;
use prost::Message as _;

use super::{
    SledOptions,
    checkpoint::{Checkpoint, Steps},
    directory::{Directory, FIRST_DATABASE},
    entry, failed,
    open::{OpenError, guarded, open_tree},
    tables, value,
    values::{Values, Writer},
};
use crate::store::{
    Error, Result as StoreResult, Sequence, StoreId,
    backup::{BackupError, BackupReader},
    export::{Extent, Item},
};

/// Why no data directory was made. The texts are for an operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// What is there may be needed still.
    #[error("{} is not empty: a data directory is restored into one that is empty or not there", directory.display())]
    NotEmpty {
        /// The directory.
        directory: std::path::PathBuf,
    },
    /// The backup cannot be used.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// It is of a store that had several.
    #[error("the backup has {partitions} partitions, and a data directory has one")]
    Partitions {
        /// How many.
        partitions: u16,
    },
    /// The directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database could not be written.
    #[error("the database cannot be written")]
    Write(#[from] Error),
}

/// What was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The name of the new store.
    pub store: StoreId,
    /// How far its log reaches.
    pub extent: Extent,
    /// How many records and log entries it has.
    pub items: u64,
}

/// Makes a data directory. Until the last step it is one that no server opens.
pub(super) fn restore(
    path: &Path,
    options: &SledOptions,
    mut backup: BackupReader<impl Read>,
) -> Result<Restored, RestoreError> {
    let partitions = backup.info().partitions;
    if partitions != 1 {
        return Err(RestoreError::Partitions { partitions });
    }
    let directory = Directory::hold(path)?;
    if !directory.is_empty().map_err(OpenError::io("read", path))? {
        return Err(RestoreError::NotEmpty { directory: path.to_owned() });
    }
    directory.make_synced(FIRST_DATABASE).map_err(OpenError::io("write in", path))?;
    let id = StoreId(uuid::Uuid::now_v7());
    directory.make_values().map_err(OpenError::io("make", &directory.values()))?;
    let values = Arc::new(Values::new(directory.values()));
    let tree = open_tree(&directory.sled(FIRST_DATABASE), options, Arc::clone(&values))?;
    let values = Writer::create(values, id, options.compaction_bytes_min);
    let mut import = Import { tree: &tree, values, live_bytes: 0, items: 0 };
    let stored = value::encode(tables::STORE_ID, id.0.as_bytes());
    tree.insert(tables::STORE_ID, stored).map_err(failed)?;
    while let Some((_, items)) = backup.read()? {
        guarded(|| &tree, || import.take(items)).unwrap_or_else(|panic| Err(Error::Corrupt(panic)))?;
    }
    let extent = backup.extents()[0];
    if extent.oldest > Sequence(1) {
        let stored = value::encode(tables::OLDEST, &extent.oldest.0.to_be_bytes());
        tree.insert(tables::OLDEST, stored).map_err(failed)?;
    }
    let Import { mut values, live_bytes, items, .. } = import;
    let values = values.note().map_err(OpenError::io("write", &directory.values()))?;
    Checkpoint { number: 0, values, live_bytes }.write(&tree)?;
    tree.flush().map_err(failed)?;
    directory.sync_sled(FIRST_DATABASE).map_err(OpenError::io("sync", path))?;
    directory.begin_witness(0).map_err(OpenError::io("write the witness in", path))?;
    // Now it is one.
    directory.write_format(id, FIRST_DATABASE).map_err(OpenError::io("write FORMAT in", path))?;
    Ok(Restored { store: id, extent, items })
}

struct Import<'a> {
    tree: &'a ::sled::Db,
    values: Writer,
    live_bytes: u64,
    items: u64,
}

impl Import<'_> {
    fn take(&mut self, items: Vec<Item>) -> StoreResult<()> {
        // Of what is said twice of a key, the last: a step does not see what it has itself.
        let mut changes: BTreeMap<Bytes, Option<Bytes>> = BTreeMap::new();
        for item in items {
            self.items += 1;
            let (key, value) = match item {
                Item::Record(key, value) => (key, value),
                Item::Entry(record) => {
                    let key = tables::entry(&record.job, record.sequence);
                    (key.into(), Some(entry::encode(&record).into()))
                }
                Item::Batch(batch) => {
                    let Some(last) = batch.entries.last() else { continue };
                    let key = tables::batch(Sequence(last.sequence));
                    (key.into(), Some(batch.encode_to_vec().into()))
                }
            };
            changes.insert(key, value);
        }
        let mut steps = Steps::new(self.tree, &mut self.values, self.live_bytes);
        for (key, value) in &changes {
            steps.write(key, value.as_ref())?;
        }
        self.live_bytes = steps.finish()?.live_bytes;
        Ok(())
    }
}
