//! The library that is preloaded into the server: it writes down what the server does to its disk, makes that fail, and
//! moves the clock. It is C, since only a library of that kind can stand before the system's own; Linux only.

use std::{
    ffi::OsString,
    fs::File,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

const SOURCES: [&str; 3] =
    [include_str!("shim/shim.h"), include_str!("shim/disk.c"), include_str!("shim/clock.c")];

/// The library, made once in a process. None where the system is not one that it is for.
fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    LIBRARY.get_or_init(|| cfg!(target_os = "linux").then(compile)).as_deref()
}

fn compile() -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/shim");
    // Named after what it is made of: other runs may use it, or an older one, at this time.
    let name = format!("shim-{:016x}", hash_of(&SOURCES));
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name).with_extension("so");
    if library.exists() {
        return library;
    }
    let made = library.with_extension(std::process::id().to_string());
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"])
        .arg(&made)
        .args(["disk.c", "clock.c"].map(|name| sources.join(name)))
        .output()
        .expect("cc is there, where Rust has it for linking");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    std::fs::rename(&made, &library).unwrap();
    library
}

fn hash_of(sources: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    sources.hash(&mut hasher);
    hasher.finish()
}

/// A shim, set for the processes that are started with it, one after another.
pub struct Shim {
    library: &'static Path,
    directory: PathBuf,
    control: File,
}

/// What of the shim can be set while a server runs, by its place in the file that the two share.
#[derive(Clone, Copy)]
pub enum Control {
    /// Added to the wall clock.
    ClockNanoseconds,
    /// At so many calls from now the power is cut, while the server has not said that it listens. 0: it is not.
    OpeningCallsUntilCut,
    /// The same, once it listens.
    CallsUntilCut,
    /// What can still be written. Below 0: there is no end.
    BytesFree,
    /// What writes and changes of names fail with. 0: they do not.
    WriteErrno,
    /// What `fsync` fails with.
    SyncErrno,
    /// What `fdatasync` fails with.
    DataSyncErrno,
    /// What reads fail with.
    ReadErrno,
    /// Which reads: those of the byte at this place, of a file that has it. Below 0: all.
    ReadPlace,
    /// So many calls are let through before those four count.
    CallsUntilErrors,
    /// So many calls fail by those four, and then no more. Below 0: there is no end.
    ErrorsLeft,
    /// Which syncs fail: those of the file with this inode. 0: all.
    SyncInode,
    /// Told by the shim: how many calls failed.
    Failed,
}

impl Shim {
    /// One whose files are in the directory. None, and a word about it, where the system has none.
    pub fn new(directory: &Path) -> Option<Self> {
        let Some(library) = library() else {
            println!("skipped: this needs a library that is preloaded, as Linux has it");
            return None;
        };
        let mut options = File::options();
        options.create(true).truncate(true).read(true).write(true);
        let control = options.open(directory.join("control")).unwrap();
        let shim = Self { library, directory: directory.to_owned(), control };
        shim.reset();
        Some(shim)
    }

    /// What a server is started with, so that what it does below a directory is seen. The journal begins anew.
    pub fn environment(&self, root: &Path) -> Vec<(&'static str, OsString)> {
        vec![
            ("LD_PRELOAD", self.library.into()),
            ("SHIM_CONTROL", self.directory.join("control").into()),
            ("SHIM_JOURNAL", self.journal().into()),
            ("SHIM_ROOT", root.canonicalize().unwrap().into()),
        ]
    }

    pub fn journal(&self) -> PathBuf {
        self.directory.join("journal")
    }

    pub fn set(&self, control: Control, value: i64) {
        self.control.write_all_at(&value.to_ne_bytes(), place(control)).unwrap();
    }

    pub fn get(&self, control: Control) -> i64 {
        let mut bytes = [0; 8];
        self.control.read_exact_at(&mut bytes, place(control)).unwrap();
        i64::from_ne_bytes(bytes)
    }

    /// Nothing fails, nothing is moved.
    pub fn reset(&self) {
        for control in [
            Control::ClockNanoseconds,
            Control::OpeningCallsUntilCut,
            Control::CallsUntilCut,
            Control::WriteErrno,
            Control::SyncErrno,
            Control::DataSyncErrno,
            Control::ReadErrno,
            Control::CallsUntilErrors,
            Control::SyncInode,
            Control::Failed,
        ] {
            self.set(control, 0);
        }
        self.set(Control::BytesFree, -1);
        self.set(Control::ReadPlace, -1);
        self.set(Control::ErrorsLeft, -1);
    }
}

fn place(control: Control) -> u64 {
    8 * control as u64
}
