//! That what is called durable has reached the disk.
//!
//! On Linux, sled ends each flush with `sync_file_range`, which neither waits for the disk's cache nor writes the file's
//! metadata: after a power cut, acknowledged data is gone, or the database cannot be opened. An `fdatasync` of our own
//! after the flush comes too late, since sled reuses parts of its file in between. So this module defines the symbol
//! itself, and the linker takes ours before the one of the C library: each barrier of sled becomes an `fdatasync`.
//! Elsewhere sled calls `fsync`, and there is nothing to replace.
//!
//! The system tells of data that it could not write once, and takes it for written then. It may tell sled's own thread, which
//! calls `fsync` now and then and only logs that it failed; the barrier that follows would succeed. So `fsync` is replaced as
//! well, and once a sync has failed, all that follow in the process fail. The next process does not know of it: so files that
//! say that no sync has failed go then ([`mark`]).
//!
//! Whether the linker did so is not left to faith: calls are counted, and opening a store proves that a flush is one.
//! This is the only module of the library with unsafe code: symbols without mangling, and calls into the C library.
#![allow(unsafe_code, reason = "the symbol that sled's barrier is linked to can be replaced in no other way")]

use std::{fs::File, io, path::Path};

/// Proves that a flush reaches the disk.
pub(super) struct Barrier {
    /// How often the barrier was called so far; none where there is nothing to prove.
    calls: Option<fn() -> u64>,
}

impl Barrier {
    /// The barrier of this process.
    pub(super) fn of_process() -> Self {
        Self { calls: replacement::CALLS }
    }

    /// A barrier that is never reached.
    #[cfg(test)]
    pub(super) fn unreached() -> Self {
        Self { calls: Some(|| 0) }
    }

    /// Runs a flush, and says whether the barrier was called in it.
    ///
    /// # Errors
    /// Those of the flush.
    pub(super) fn is_reached_by<E>(&self, flush: impl FnOnce() -> Result<(), E>) -> Result<bool, E> {
        let before = self.calls.map(|calls| calls());
        flush()?;
        let after = self.calls.map(|calls| calls());
        Ok(before.is_none() || before != after)
    }
}

/// Makes a file that is there until a sync of this process fails; where one has failed, it is not made. It need not be durable: what
/// the system takes for written without reason it forgets with its power. Where syncs are not replaced it stays.
///
/// # Errors
/// Those of the file system.
pub(super) fn mark(path: &Path) -> io::Result<()> {
    replacement::mark(path)
}

/// Makes a file's content durable.
///
/// # Errors
/// Those of the file system.
pub(super) fn sync_file(path: &Path) -> io::Result<()> {
    // Windows flushes only what is open for writing.
    File::options().read(true).write(cfg!(windows)).open(path)?.sync_all()
}

/// Makes the names in a directory durable, where a directory can be opened for that.
///
/// # Errors
/// Those of the file system.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

#[cfg(target_os = "linux")]
mod replacement {
    use std::{
        collections::BTreeSet,
        ffi::CStr,
        fs::{self, File},
        io,
        path::{Path, PathBuf},
        sync::{
            Mutex, MutexGuard, OnceLock, PoisonError,
            atomic::{AtomicU64, Ordering},
        },
    };

    use libc::{c_int, c_long};

    static COUNT: AtomicU64 = AtomicU64::new(0);
    /// Held during each sync, so that none succeeds while another is about to say that it failed.
    static SYNCS: Mutex<Syncs> = Mutex::new(Syncs { has_failed: false, marks: BTreeSet::new() });

    struct Syncs {
        has_failed: bool,
        /// The files that say that none has.
        marks: BTreeSet<PathBuf>,
    }

    pub(super) const CALLS: Option<fn() -> u64> = Some(|| COUNT.load(Ordering::SeqCst));

    /// Takes the place of the C library's function of the same name and shape: makes the whole file durable, not a
    /// range of it, and returns 0, or -1 with `errno` set.
    #[unsafe(no_mangle)]
    pub extern "C" fn sync_file_range(
        file: c_int,
        _offset: i64,
        _length: i64,
        _flags: libc::c_uint,
    ) -> c_int {
        COUNT.fetch_add(1, Ordering::SeqCst);
        // SAFETY: `fdatasync` takes any number for a descriptor and touches no memory of ours.
        sync(|| unsafe { libc::fdatasync(file) })
    }

    /// Takes the place of the C library's function of the same name and shape, and does the same; but after a sync that
    /// has failed it fails.
    #[unsafe(no_mangle)]
    pub extern "C" fn fsync(file: c_int) -> c_int {
        // SAFETY: as the C library's, it takes any number for a descriptor and touches no memory of ours.
        sync(|| unsafe { next_fsync()(file) })
    }

    type Fsync = unsafe extern "C" fn(c_int) -> c_int;

    /// The function that ours takes the place of.
    fn next_fsync() -> Fsync {
        const NAME: &CStr = c"fsync";
        static NEXT: OnceLock<Fsync> = OnceLock::new();
        *NEXT.get_or_init(|| {
            // SAFETY: the name ends with a zero, and nothing else is read.
            let found = unsafe { libc::dlsym(libc::RTLD_NEXT, NAME.as_ptr()) };
            if found.is_null() {
                return call_system;
            }
            // SAFETY: it is what the C library's headers declare under this name.
            unsafe { std::mem::transmute::<*mut libc::c_void, Fsync>(found) }
        })
    }

    /// For a binary that has its C library in itself.
    unsafe extern "C" fn call_system(file: c_int) -> c_int {
        // SAFETY: the call takes any number for a descriptor and touches no memory of ours.
        let outcome: c_long = unsafe { libc::syscall(libc::SYS_fsync, file) };
        if outcome == 0 { 0 } else { -1 }
    }

    fn sync(call: impl FnOnce() -> c_int) -> c_int {
        let mut syncs = syncs();
        if syncs.has_failed {
            return fail_with(libc::EIO);
        }
        let outcome = call();
        if outcome == 0 {
            return outcome;
        }
        let error = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        if !is_of_call(error) {
            syncs.has_failed = true;
            for mark in &syncs.marks {
                // It may be gone with its directory. Where names cannot be changed any more, nobody opens a store either.
                let _ = fs::remove_file(mark);
            }
        }
        fail_with(error)
    }

    /// Whether an error is of the call alone: it syncs nothing, or is to be made again. All others may be of data that was not
    /// written, since Linux hands on what a device or a file server answers.
    fn is_of_call(error: c_int) -> bool {
        matches!(error, libc::EBADF | libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS | libc::EINTR)
    }

    /// What a function of the C library returns that has failed.
    fn fail_with(error: c_int) -> c_int {
        // SAFETY: it is this thread's, and always there.
        unsafe { *libc::__errno_location() = error };
        -1
    }

    pub(super) fn mark(path: &Path) -> io::Result<()> {
        let mut syncs = syncs();
        if !syncs.has_failed {
            File::create(path)?;
            syncs.marks.insert(path.to_owned());
        }
        Ok(())
    }

    fn syncs() -> MutexGuard<'static, Syncs> {
        SYNCS.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(not(target_os = "linux"))]
mod replacement {
    use std::{fs::File, io, path::Path};

    pub(super) const CALLS: Option<fn() -> u64> = None;

    pub(super) fn mark(path: &Path) -> io::Result<()> {
        File::create(path).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// A call as any other crate would make it, through the declaration in the C library's bindings.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_replacement_wins_over_the_c_library() {
        use std::os::fd::AsRawFd as _;

        let file = tempfile::tempfile().unwrap();
        let reached = Barrier::of_process().is_reached_by(|| {
            // SAFETY: the descriptor is open, and the call touches no memory of ours.
            match unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, 0) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
        assert!(reached.unwrap());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_failed_sync_is_reported() {
        // SAFETY: no descriptor has this number, and the call touches no memory of ours.
        assert_eq!(unsafe { libc::sync_file_range(-1, 0, 0, 0) }, -1);
        assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn a_flush_without_the_barrier_is_noticed() {
        let Ok(reached) = Barrier::unreached().is_reached_by(|| Ok::<_, Infallible>(()));
        assert!(!reached);
    }
}
