//! A storage region in a file whose space is taken once and for all.

use crate::hal::Storage;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes written at once while the file is filled.
const FILL_BYTES: usize = 16 * 1024;

/// A file of fixed size, locked against other processes while it is open.
#[derive(Debug)]
pub struct FileStorage {
    file: File,
    bytes: u64,
}

impl FileStorage {
    /// Opens the file. One that is not there is made and filled with zeros, so that its space can never run out later. One that was not
    /// filled to its end (the power went) is filled now.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::InvalidInput`] when the file is longer than `bytes` (its size was changed in the configuration);
    /// [`io::ErrorKind::WouldBlock`] when another process has it open.
    pub fn open(path: &Path, bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock().map_err(io::Error::from)?;
        let length = file.metadata()?.len();
        if length > bytes {
            let what = format!("the file has {length} bytes instead of {bytes}: give its size, or move it away");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        if length < bytes {
            fill(&file, length, bytes)?;
            // The name in its folder must be there for good, too.
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                File::open(folder)?.sync_all()?;
            }
        }
        Ok(Self { file, bytes })
    }

    fn check(&self, at: u64, length: usize) -> io::Result<()> {
        match at.checked_add(length as u64) {
            Some(end) if end <= self.bytes => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn fill(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = [0; FILL_BYTES];
    let mut at = from;
    while at < to {
        let length = usize::try_from(to - at).map_or(FILL_BYTES, |left| left.min(FILL_BYTES));
        file.write_all_at(&zeros[..length], at)?;
        at += length as u64;
    }
    (&*file).flush()?;
    file.sync_all()
}

impl Storage for FileStorage {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.check(at, buffer.len())?;
        self.file.read_exact_at(buffer, at)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.check(at, bytes.len())?;
        self.file.write_all_at(bytes, at)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_filled_kept_and_locked() {
        let path = std::env::temp_dir().join(format!("alfred-storage-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let mut storage = FileStorage::open(&path, 100_000).expect("made");
        assert_eq!(FileStorage::open(&path, 100_000).expect_err("locked").kind(), io::ErrorKind::WouldBlock);
        storage.write(99_998, b"ab").expect("inside");
        assert!(storage.write(99_999, b"ab").is_err() && storage.write(u64::MAX, b"ab").is_err());
        storage.sync().expect("a disk");
        drop(storage);
        assert_eq!(FileStorage::open(&path, 99_999).expect_err("shorter").kind(), io::ErrorKind::InvalidInput);
        let mut storage = FileStorage::open(&path, 100_002).expect("grown");
        let mut end = [9; 4];
        storage.read(99_998, &mut end).expect("inside");
        assert_eq!((&end, storage.bytes()), (b"ab\0\0", 100_002));
        assert!(storage.read(100_000, &mut end).is_err());
        let _ = std::fs::remove_file(&path);
    }
}
