//! The least that any server does which keeps what it is sent: requests that come while the disk works go into the next write, and
//! each is told when that is durable.
//!
//! The file has its whole size from the start, and is written over from its beginning when it is full: a file that grows takes a
//! disk longer to make durable.

use std::{
    fs::File,
    io::{self, Seek as _, Write as _},
    path::Path,
    sync::mpsc::{self, Receiver},
    thread,
};

use bytes::Bytes;
use tokio::sync::oneshot;

const FILE_BYTES: usize = 16 << 20;

/// What is to be kept, and who waits for it.
type Kept = (Bytes, oneshot::Sender<()>);

/// A file, and the thread that writes it. That ends when nobody can ask it any more.
#[derive(Clone, Debug)]
pub struct Keeper(mpsc::Sender<Kept>);

impl Keeper {
    /// Makes the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn start(path: &Path) -> io::Result<Self> {
        let mut file = File::create(path)?;
        file.write_all(&vec![0; FILE_BYTES])?;
        file.sync_all()?;
        file.rewind()?;
        let (sender, waiting) = mpsc::channel();
        thread::Builder::new().name("keeper".to_owned()).spawn(move || keep(&mut file, &waiting))?;
        Ok(Self(sender))
    }

    /// Waits until some bytes are durable; `None` where the disk has failed.
    pub async fn keep(&self, bytes: Bytes) -> Option<()> {
        let (done, kept) = oneshot::channel();
        self.0.send((bytes, done)).ok()?;
        kept.await.ok()
    }
}

/// Whoever waits when the disk fails is not told that it has.
fn keep(file: &mut File, waiting: &Receiver<Kept>) {
    let (mut at, mut block, mut told) = (0, Vec::new(), Vec::new());
    while let Ok(first) = waiting.recv() {
        for (bytes, done) in std::iter::once(first).chain(waiting.try_iter()) {
            block.extend_from_slice(&bytes);
            told.push(done);
        }
        if at + block.len() > FILE_BYTES {
            at = 0;
        }
        let written = if at == 0 { file.rewind() } else { Ok(()) };
        if written.and_then(|()| file.write_all(&block)).and_then(|()| file.sync_data()).is_err() {
            return;
        }
        at += block.len();
        block.clear();
        for done in told.drain(..) {
            // Whoever asked may be gone.
            let _ = done.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_kept_is_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kept");
        let keeper = Keeper::start(&path).unwrap();
        let piece = |byte: u8| Bytes::from(vec![byte; FILE_BYTES / 4]);
        for byte in 1..=4 {
            assert_eq!(keeper.keep(piece(byte)).await, Some(()));
        }
        let begins_with = |expected: u8| std::fs::read(&path).unwrap().first() == Some(&expected);
        assert!(begins_with(1));
        assert_eq!(keeper.keep(piece(5)).await, Some(()));
        assert!(begins_with(5), "it goes on at the beginning");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), FILE_BYTES as u64, "it has not grown");
    }
}
