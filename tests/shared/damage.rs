//! What can happen to the files of a data directory.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

/// What is done to a file.
#[derive(Clone, Debug)]
pub enum Damage {
    /// A bit of a byte is another.
    Flip(u64, u8),
    /// From a place on, so many bytes are zeros.
    Zero(u64, u64),
    /// Only so many bytes are left.
    Cut(u64),
    Remove,
    /// An older copy of it, or of its kind, takes its place; none where there was none.
    Older,
}

impl Damage {
    /// Chooses a file of a data directory, and what to do to it. `below` gives numbers below a bound.
    pub fn choose(below: &mut impl FnMut(u64) -> u64, directory: &Path, has_older: bool) -> (PathBuf, Self) {
        // A piece of sled's file, as sled takes and gives up space.
        const SEGMENT: u64 = 512 << 10;
        let files = files(directory);
        let other = usize::try_from(below(files.len() as u64)).unwrap();
        let file = if below(5) > 0 { PathBuf::from("sled/db") } else { files[other].clone() };
        let length = fs::metadata(directory.join(&file)).unwrap().len();
        let damage = match below(20) {
            0 => Self::Remove,
            _ if length == 0 => Self::Remove,
            1 if has_older => Self::Older,
            2 | 3 => Self::Cut(below(length)),
            4 => Self::Cut(below(length) / SEGMENT * SEGMENT),
            5..=7 => Self::Zero(below(length) / 512 * 512, 512),
            8 | 9 => Self::Zero(below(length) / 4096 * 4096, 4096),
            10 => Self::Zero(below(length) / SEGMENT * SEGMENT, SEGMENT),
            11 => Self::Zero(below(length), 1 + below(20)),
            _ => Self::Flip(below(length), u8::try_from(below(8)).unwrap()),
        };
        (file, damage)
    }

    /// Does it. `older` is an older copy of the directory.
    pub fn apply(&self, directory: &Path, older: &Path, file: &Path) {
        let path = directory.join(file);
        match *self {
            Self::Flip(at, bit) => {
                let mut byte = [0];
                let mut file = open_at(&path, at);
                file.read_exact(&mut byte).unwrap();
                open_at(&path, at).write_all(&[byte[0] ^ (1 << bit)]).unwrap();
            }
            Self::Zero(at, count) => {
                let count = count.min(fs::metadata(&path).unwrap().len() - at);
                open_at(&path, at).write_all(&vec![0; usize::try_from(count).unwrap()]).unwrap();
            }
            Self::Cut(length) => open_at(&path, 0).set_len(length).unwrap(),
            Self::Remove => fs::remove_file(&path).unwrap(),
            Self::Older => {
                fs::remove_file(&path).unwrap();
                // Snapshots are named after what they cover.
                let kind = |file: &Path| file.to_string_lossy().split(".0").next().unwrap().to_owned();
                for copy in files(older).into_iter().filter(|copy| kind(copy) == kind(file)) {
                    fs::copy(older.join(&copy), directory.join(&copy)).unwrap();
                }
            }
        }
    }
}

/// Copies a data directory that no process has open.
pub fn copy(from: &Path, to: &Path) {
    for place in directories(from) {
        fs::create_dir_all(to.join(place)).unwrap();
    }
    for file in files(from) {
        fs::copy(from.join(&file), to.join(&file)).unwrap();
    }
}

/// The files of a directory, relative to it, in order.
fn files(directory: &Path) -> Vec<PathBuf> {
    below(directory).into_iter().filter(|path| directory.join(path).is_file()).collect()
}

/// The directories of a directory, relative to it.
fn directories(directory: &Path) -> Vec<PathBuf> {
    below(directory).into_iter().filter(|path| directory.join(path).is_dir()).collect()
}

fn below(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    let mut left = vec![directory.to_owned()];
    while let Some(place) = left.pop() {
        for item in fs::read_dir(&place).unwrap() {
            let path = item.unwrap().path();
            found.push(path.strip_prefix(directory).unwrap().to_owned());
            if path.is_dir() {
                left.push(path);
            }
        }
    }
    found.sort();
    found
}

fn open_at(path: &Path, at: u64) -> File {
    let mut file = File::options().read(true).write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file
}
