//! Where the parts of a bundle wait until all of them are there: one bundle at a time, in a folder; restarts and power cuts cost time only.
//!
//! `bundle.offer` says what is being fetched, `bundle.part` is what has come: its length is where to go on. Whatever a power cut does to
//! them, the hash of the whole decides.

use alfred_wire::link::{BundleOffer, ENVELOPE_BYTES, HostMessage, decode, encode, read_envelope};
use sha2::{Digest, Sha256};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes of an offer with its envelope, at most.
const OFFER_BYTES_MAX: usize = 256;

/// The spool; holds one bundle at most.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    offer: BundleOffer,
    part: File,
    offset: u32,
}

/// What a part did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More is to come: the next part begins there.
    Next(u32),
    /// All bytes are there.
    Whole,
    /// The part does not go here, or is longer than what was offered: nothing was stored.
    Misplaced,
}

impl Spool {
    /// Opens the spool; makes the folder if need be.
    ///
    /// # Errors
    /// The system's.
    pub fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut spool = Self { folder: folder.to_path_buf(), current: None };
        if let Some(offer) = spool.read_offer() {
            let part = spool.open_part()?;
            let offset = u32::try_from(part.metadata()?.len()).unwrap_or(u32::MAX);
            if offset <= offer.bytes {
                spool.current = Some(Current { offer, part, offset });
            }
        }
        Ok(spool)
    }

    /// What is being fetched.
    #[must_use]
    pub fn offer(&self) -> Option<&BundleOffer> {
        self.current.as_ref().map(|current| &current.offer)
    }

    /// Begins to fetch, or goes on when it is the same offer; returns the bytes that are there.
    ///
    /// # Errors
    /// The system's.
    pub fn begin(&mut self, offer: &BundleOffer) -> io::Result<u32> {
        if let Some(current) = self.current.as_ref().filter(|current| current.offer == *offer) {
            return Ok(current.offset);
        }
        // The old offer goes first: its parts must not be taken for the new one's.
        self.clear()?;
        let part = self.open_part()?;
        part.set_len(0)?;
        self.write_offer(offer)?;
        self.current = Some(Current { offer: *offer, part, offset: 0 });
        Ok(0)
    }

    /// Stores a part.
    ///
    /// # Errors
    /// The system's; then what is stored is unknown, and [`Spool::open`] finds it out.
    pub fn append(&mut self, offset: u32, bytes: &[u8]) -> io::Result<Progress> {
        let Some(current) = self.current.as_mut() else { return Ok(Progress::Misplaced) };
        let end = u32::try_from(bytes.len()).ok().and_then(|length| offset.checked_add(length)).filter(|end| *end <= current.offer.bytes);
        let Some(end) = end.filter(|_| offset == current.offset) else { return Ok(Progress::Misplaced) };
        current.part.seek(SeekFrom::Start(u64::from(offset)))?;
        current.part.write_all(bytes)?;
        current.offset = end;
        Ok(if end == current.offer.bytes { Progress::Whole } else { Progress::Next(end) })
    }

    /// All bytes, if they are the ones that were offered; `None` if not. They stay until [`Spool::clear`].
    ///
    /// # Errors
    /// The system's.
    pub fn whole(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(current) = self.current.as_mut() else { return Ok(None) };
        current.part.sync_data()?;
        current.part.seek(SeekFrom::Start(0))?;
        let mut bytes = Vec::with_capacity(current.offer.bytes as usize);
        (&current.part).take(u64::from(current.offer.bytes) + 1).read_to_end(&mut bytes)?;
        let is_offered = bytes.len() == current.offer.bytes as usize && Sha256::digest(&bytes)[..] == current.offer.sha256;
        Ok(is_offered.then_some(bytes))
    }

    /// Forgets the bundle.
    ///
    /// # Errors
    /// The system's.
    pub fn clear(&mut self) -> io::Result<()> {
        self.current = None;
        for name in ["bundle.offer", "bundle.part"] {
            match fs::remove_file(self.folder.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn open_part(&self) -> io::Result<File> {
        let path = self.folder.join("bundle.part");
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
    }

    fn read_offer(&self) -> Option<BundleOffer> {
        let mut bytes = Vec::new();
        File::open(self.folder.join("bundle.offer")).ok()?.take(OFFER_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).ok()?;
        let (envelope, body) = bytes.split_first_chunk::<ENVELOPE_BYTES>()?;
        let length = read_envelope(envelope, OFFER_BYTES_MAX).ok()?;
        match decode(body.get(..length).filter(|_| length == body.len())?) {
            Ok(HostMessage::BundleOffer(offer)) => Some(offer),
            _ => None,
        }
    }

    fn write_offer(&self, offer: &BundleOffer) -> io::Result<()> {
        let mut buffer = [0; OFFER_BYTES_MAX];
        let bytes = encode(&HostMessage::BundleOffer(*offer), &mut buffer).map_err(io::Error::other)?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(self.folder.join("bundle.offer"))?;
        file.write_all(bytes)?;
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alfred_wire::name::Name;

    fn offer(bytes: &[u8], revision: u64) -> BundleOffer {
        let camera = Name::new("gate").expect("a name");
        BundleOffer { camera, revision, bytes: bytes.len() as u32, fingerprint: 1, sha256: Sha256::digest(bytes).into() }
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("alfred-spool-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn a_bundle_goes_on_after_every_restart() {
        let folder = folder("restart");
        let bytes: Vec<u8> = (0..100).collect();
        let offer = offer(&bytes, 7);
        let mut at = 0;
        while at < bytes.len() {
            let mut spool = Spool::open(&folder).expect("opens");
            assert_eq!(spool.begin(&offer).expect("begins"), at as u32);
            let end = (at + 7).min(bytes.len());
            let progress = spool.append(at as u32, &bytes[at..end]).expect("stores");
            assert_eq!(progress, if end == 100 { Progress::Whole } else { Progress::Next(end as u32) });
            at = end;
        }
        let mut spool = Spool::open(&folder).expect("opens");
        assert_eq!(spool.offer(), Some(&offer));
        assert_eq!(spool.whole().expect("reads"), Some(bytes));
        spool.clear().expect("clears");
        assert_eq!(Spool::open(&folder).expect("opens").offer(), None);
        fs::remove_dir_all(folder).expect("removes");
    }

    #[test]
    fn another_offer_begins_anew_and_wrong_bytes_are_found_out() {
        let folder = folder("another");
        let mut spool = Spool::open(&folder).expect("opens");
        assert_eq!(spool.append(0, &[1]).expect("judges"), Progress::Misplaced, "nothing was offered");
        spool.begin(&offer(&[1, 2, 3], 1)).expect("begins");
        assert_eq!(spool.append(0, &[1, 2]).expect("stores"), Progress::Next(2));
        assert_eq!(spool.append(0, &[1, 2]).expect("judges"), Progress::Misplaced, "a part twice");
        assert_eq!(spool.append(3, &[3]).expect("judges"), Progress::Misplaced, "a gap");
        assert_eq!(spool.append(2, &[3, 4]).expect("judges"), Progress::Misplaced, "beyond the end");
        assert_eq!(spool.append(u32::MAX, &[3, 4]).expect("judges"), Progress::Misplaced);
        assert_eq!(spool.begin(&offer(&[9, 9, 9], 2)).expect("begins"), 0);
        assert_eq!(spool.append(0, &[9, 9, 8]).expect("stores"), Progress::Whole);
        assert_eq!(spool.whole().expect("reads"), None, "one byte differs");
        // What a power cut may leave: an offer that is cut short.
        fs::write(folder.join("bundle.offer"), b"AF\x01\0\x50").expect("writes");
        assert_eq!(Spool::open(&folder).expect("opens").offer(), None);
        fs::remove_dir_all(folder).expect("removes");
    }
}
