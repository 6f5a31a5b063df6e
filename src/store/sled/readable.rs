//! That sled's files can be read, found out before sled opens them: it takes what it cannot read for what was never
//! written, and then writes over it.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

use super::OpenError;

const BUFFER_BYTES: usize = 1 << 20;

/// Reads every file in the directory, if it is there, to its end.
pub(super) fn check(directory: &Path) -> Result<(), OpenError> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(OpenError::io("list", directory))?,
    };
    for entry in entries {
        let path = entry.map_err(OpenError::io("list", directory))?.path();
        if path.is_file() {
            read(&path, &mut buffer).map_err(OpenError::io("read", &path))?;
        }
    }
    Ok(())
}

fn read(path: &Path, buffer: &mut [u8]) -> io::Result<()> {
    let mut file = File::open(path)?;
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
