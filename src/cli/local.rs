//! What the binary does to a data directory that no server has open.

use std::{
    fs::File,
    io::{self, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    engine::{Findings, check},
    store::{
        BackupError, BackupInfo, BackupReader, ExportError, OpenError, RestoreError, Restored, SledOptions,
        SledStore, Store as _,
    },
};

/// What is looked at or made here is read in many places at once, and nobody else needs the memory.
const CACHE_BYTES: u64 = 256 << 20;

fn options() -> SledOptions {
    SledOptions { cache_bytes: CACHE_BYTES, ..SledOptions::default() }
}

/// Why it was not done. The texts are for an operator.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The backup cannot be used.
    #[error("cannot use {}", path.display())]
    Backup {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: BackupError,
    },
    /// It cannot be restored.
    #[error("cannot restore {}", path.display())]
    Restore {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: RestoreError,
    },
    /// The data directory cannot be opened.
    #[error("cannot open the store")]
    Open(#[from] OpenError),
    /// It was opened and cannot be read.
    #[error("cannot read the store")]
    Export(#[from] ExportError),
    /// There is none.
    #[error("there is no data directory at {}", path.display())]
    NoDirectory {
        /// Where it was looked for.
        path: PathBuf,
    },
}

/// Makes a data directory from a backup.
///
/// # Errors
/// See [`LocalError`].
pub fn restore(file: &Path, data_dir: &Path) -> Result<(BackupInfo, Restored), LocalError> {
    let backup = open_backup(file)?;
    let info = backup.info().clone();
    let restored = SledStore::restore(data_dir, &options(), backup)
        .map_err(|source| LocalError::Restore { path: file.to_owned(), source })?;
    Ok((info, restored))
}

/// Looks whether a backup is whole: what it says of itself, and how many items it has.
///
/// # Errors
/// See [`LocalError`]: it is not, among others.
pub fn check_backup(file: &Path) -> Result<(BackupInfo, u64), LocalError> {
    let mut backup = open_backup(file)?;
    let mut count = 0;
    let broken = |source| LocalError::Backup { path: file.to_owned(), source };
    while let Some((_, items)) = backup.read().map_err(broken)? {
        count += items.len() as u64;
    }
    Ok((backup.info().clone(), count))
}

/// Looks whether a data directory is in order.
///
/// # Errors
/// See [`LocalError`].
pub async fn check_directory(data_dir: &Path) -> Result<Findings, LocalError> {
    // Opening would make one.
    if !data_dir.join("FORMAT").exists() && !data_dir.join("sled").exists() {
        return Err(LocalError::NoDirectory { path: data_dir.to_owned() });
    }
    let store = Arc::new(SledStore::open(data_dir, &options())?);
    let findings = check(Arc::clone(&store) as _).await;
    if findings.as_ref().is_ok_and(Findings::is_in_order) {
        // It is only looked at once more where that cannot be noted.
        let _ = store.trust();
    }
    // It was looked at, and nothing else: however it closes, what was found stands.
    let _ = store.close().await;
    Ok(findings?)
}

fn open_backup(file: &Path) -> Result<BackupReader<BufReader<File>>, LocalError> {
    let opened = File::open(file).map_err(|source| LocalError::Read { path: file.to_owned(), source })?;
    BackupReader::open(BufReader::with_capacity(1 << 20, opened))
        .map_err(|source| LocalError::Backup { path: file.to_owned(), source })
}
