//! What the system tells: the processor time and the memory of a process, the size of a directory, and how long the disk takes.

use std::{
    fs::{self, File},
    io::{self, Seek as _, Write as _},
    path::Path,
    time::Duration,
};

use tokio::time::Instant;

const BLOCK_BYTES: usize = 1_024;

/// What a process has of the memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    /// Its own, and not the pages of files.
    pub own: u64,
    /// The most that it ever had of all, with the pages of files.
    pub peak: u64,
}

/// The processor time that a process has had, in seconds. Only on Linux.
#[must_use]
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(ticks(&stat)? / ticks_per_second()?)
}

#[cfg(target_os = "linux")]
#[allow(clippy::cast_precision_loss, reason = "it is about a hundred")]
#[allow(clippy::unnecessary_wraps, reason = "elsewhere there is none")]
fn ticks_per_second() -> Option<f64> {
    Some(rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(not(target_os = "linux"))]
fn ticks_per_second() -> Option<f64> {
    None
}

/// What a process has of the memory. Only on Linux.
#[must_use]
pub fn memory(pid: u32) -> Option<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(Memory { own: bytes_of(&status, "RssAnon")?, peak: bytes_of(&status, "VmHWM")? })
}

/// The time in user mode and in the kernel, of the text of `/proc/<pid>/stat`.
fn ticks(stat: &str) -> Option<f64> {
    // The name, in brackets, may hold anything. What follows it begins with the third field; the times are the 14th and 15th.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u32>().ok().map(f64::from);
    Some(next()? + next()?)
}

/// A size out of the text of `/proc/<pid>/status`.
fn bytes_of(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// What the files of a directory take on the disk, in bytes. One that goes away meanwhile is left out.
#[must_use]
pub fn disk_bytes(directory: &Path) -> u64 {
    let (mut bytes, mut directories) = (0, vec![directory.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => directories.push(entry.path()),
                Ok(metadata) => bytes += allocated(&metadata),
                Err(_) => {}
            }
        }
    }
    bytes
}

#[cfg(unix)]
fn allocated(metadata: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;

    const SECTOR_BYTES: u64 = 512;
    metadata.blocks() * SECTOR_BYTES
}

#[cfg(not(unix))]
fn allocated(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}

/// How long the disk takes to keep a kilobyte, so many times one after another: what a tenth of them took at most. The others
/// are not the disk's where processors are busy, but the system's, which does not wake at once who waits. The file has its size
/// before, for a store that makes room ahead need not wait until the disk has noted a new one.
///
/// # Errors
/// The file cannot be written.
pub fn sync_time(directory: &Path, times: usize) -> io::Result<Duration> {
    let path = directory.join("sync-time");
    let mut file = File::create(&path)?;
    file.write_all(&vec![0; times * BLOCK_BYTES])?;
    file.sync_all()?;
    file.rewind()?;
    let mut taken = Vec::with_capacity(times);
    for _ in 0..times {
        file.write_all(&[b'x'; BLOCK_BYTES])?;
        let begin = Instant::now();
        file.sync_data()?;
        taken.push(begin.elapsed());
    }
    fs::remove_file(path)?;
    taken.sort();
    Ok(taken.get(times / 10).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let rows = [
            ("7 (holdpoint) S 1 7 7 0 -1 4194560 900 0 0 0 120 34 0 0 20 0 9 0 55 1 2 3", Some(154.0)),
            ("7 (a) b (c) R 1 7 7 0 -1 4194560 900 0 0 0 1 0 0 0 20 0 9 0", Some(1.0)),
            ("7 (short) S 1 7 7 0 -1 4194560 900 0 0 0 120", None),
            ("nothing", None),
            ("", None),
        ];
        for (stat, expected) in rows {
            assert_eq!(ticks(stat), expected, "{stat}");
        }
    }

    #[test]
    fn sizes_are_found_by_name() {
        let status =
            "Name:\tholdpoint\nVmHWM:\t   12 kB\nVmRSS:\t    9 kB\nRssAnon:\t       3 kB\nRssFile:\t?\n";
        let rows = [("VmHWM", Some(12 << 10)), ("RssAnon", Some(3 << 10)), ("RssFile", None), ("Rss", None)];
        for (name, expected) in rows {
            assert_eq!(bytes_of(status, name), expected, "{name}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_had_time_and_memory() {
        let pid = std::process::id();
        let memory = memory(pid).unwrap();
        assert!(memory.own > 0 && memory.peak >= memory.own, "{memory:?}");
        assert!(cpu_seconds(pid).unwrap() >= 0.0);
        assert_eq!(cpu_seconds(u32::MAX), None);
    }

    #[test]
    fn a_directory_takes_what_its_files_take() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(disk_bytes(directory.path()), 0);
        fs::create_dir(directory.path().join("below")).unwrap();
        let mut file = File::create(directory.path().join("below/file")).unwrap();
        file.write_all(&vec![1; 100_000]).unwrap();
        file.sync_all().unwrap();
        assert!((100_000..200_000).contains(&disk_bytes(directory.path())));
        assert_eq!(disk_bytes(&directory.path().join("none")), 0);
        assert!(sync_time(directory.path(), 3).unwrap() > Duration::ZERO);
    }
}
