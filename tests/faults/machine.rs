//! A server whose disk can fail and whose power can be cut.

use std::path::PathBuf;

use super::{
    chance::Chance,
    disk_image::{Disk, Lies, Unsynced},
    journal::{self, Operation},
    kit::{Ended, Server},
    load,
    shim::Shim,
};

/// A disk, and the shim that stands between it and the servers that are started on it, one after another.
pub struct Machine {
    /// The disk is a directory in it, and beside it is what the shim writes.
    _directory: tempfile::TempDir,
    pub root: PathBuf,
    pub shim: Shim,
}

impl Machine {
    /// None, and a word about it, where there is no shim.
    pub fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("disk");
        std::fs::create_dir(&root).unwrap();
        let root = root.canonicalize().unwrap();
        Some(Self { shim: Shim::new(directory.path())?, root, _directory: directory })
    }

    /// Starts a server. What it does is recorded from here on.
    pub async fn start(&self) -> Result<Server, Ended> {
        Server::launch(&self.root, &load::SETTINGS, self.shim.environment(&self.root)).await
    }

    /// What the last server did to the disk.
    pub fn journal(&self) -> Vec<Operation> {
        journal::read(&self.shim.journal())
    }

    /// Puts on the disk what it can hold when the power is cut after the last thing that the server did.
    pub fn cut(&self, before: &Disk, unsynced: Unsynced, lies: Lies, chance: &mut Chance) {
        before.after(&self.journal(), unsynced, lies, chance).write(&self.root);
    }
}
