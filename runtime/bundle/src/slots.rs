//! Two slots for bundles: one that is confirmed, one for the next. Whenever the power fails, a confirmed one is there afterwards.
//!
//! Empty → Written → Verified → Shadow → Trial → Confirmed; from every state before Confirmed back to Empty, with a reason. The
//! region holds two copies of the table ([`SlotTable`]) and the slots A and B, each in a block of its own. A bundle is only written into a
//! slot that the table calls empty, and a slot only means something once the table says so; confirming the new one and emptying the old
//! one is one write of the table. Without any confirmed slot the device runs the model file that it was set up with.

use crate::format::{BUNDLE_BYTES_MAX, Bundle, read};
use crate::signature::{PublicKey, check};
pub use crate::slot_table::SlotState;
use crate::slot_table::{Outcome, Slot, SlotTable, TABLE_BYTES};
use crate::verify::{Admission, prove, verify};
use alfred_board::hal::Storage;
use alfred_wire::error_code::{CodeNumber, ErrorCode};
use alfred_wire::link::BundleStage;
use alfred_wire::name::Name;
use std::io;

/// Bytes of one block of the region.
const BLOCK_BYTES: u64 = 4096;
/// Blocks before slot A.
const TABLES: u64 = 2;
/// Bytes of storage that slots need.
pub const SLOTS_BYTES: u64 = (TABLES + 2) * BLOCK_BYTES;

const _: () = assert!(BUNDLE_BYTES_MAX as u64 <= BLOCK_BYTES);

/// Whose slots they are, and whom they trust.
#[derive(Clone, Debug)]
pub struct SlotSettings {
    /// The camera.
    pub camera: Name,
    /// Fingerprint of the data path; see `fingerprint`.
    pub fingerprint: u64,
    /// The host's keys; none: every bundle is refused.
    pub trusted: Vec<PublicKey>,
    /// Starts of the process during one shadow or trial; one more and the bundle goes.
    pub starts_max: u8,
}

/// Why slots could not do something.
#[derive(Debug, thiserror::Error)]
pub enum SlotsError {
    /// The bundle is refused, or is not in the state that was asked for.
    #[error("{0}")]
    Refused(ErrorCode),
    /// Storage failed; the slots are as they were before or after the step.
    #[error("the slots' storage: {0}: check the disk")]
    Storage(#[from] io::Error),
}

impl SlotsError {
    /// The code that the host is told.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(code) => *code,
            Self::Storage(_) => ErrorCode::SlotStorage,
        }
    }
}

/// Which bundle decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The confirmed one.
    Confirmed,
    /// The one on its way.
    Candidate,
}

/// The slots over a region of storage.
#[derive(Debug)]
pub struct Slots<S> {
    storage: S,
    settings: SlotSettings,
    table: SlotTable,
    /// What lies in slot A and B; only the bytes that the table names mean something.
    held: Box<[[u8; BUNDLE_BYTES_MAX]; 2]>,
}

impl<S: Storage> Slots<S> {
    /// Opens the slots and settles what a power cut or a crash left: a stored bundle is verified or goes, one that was tried through too
    /// many starts goes, a confirmed one that storage damaged goes. Each start during a shadow or trial is counted before this returns.
    ///
    /// # Errors
    /// [`SlotsError::Storage`].
    pub fn open(mut storage: S, settings: SlotSettings) -> Result<Self, SlotsError> {
        if storage.bytes() < SLOTS_BYTES {
            return Err(SlotsError::Storage(io::Error::new(io::ErrorKind::InvalidInput, format!("slots need {SLOTS_BYTES} bytes"))));
        }
        let mut table: Option<SlotTable> = None;
        for copy in 0..TABLES {
            let mut bytes = [0; TABLE_BYTES];
            storage.read(copy * BLOCK_BYTES, &mut bytes)?;
            let found = SlotTable::decode(&bytes);
            if found.map(|found| found.generation) > table.map(|table| table.generation) {
                table = found;
            }
        }
        let held = Box::new([[0; BUNDLE_BYTES_MAX]; 2]);
        let mut slots = Self { storage, settings, table: table.unwrap_or(SlotTable::EMPTY), held };
        slots.settle()?;
        Ok(slots)
    }

    fn settle(&mut self) -> Result<(), SlotsError> {
        for place in 0..2 {
            if self.table.slots[place].state != SlotState::Empty && !self.load(place)? {
                self.end(place, ErrorCode::SlotDamaged)?;
            }
        }
        let Some(place) = self.table.candidate() else { return Ok(()) };
        match self.table.slots[place].state {
            SlotState::Written => self.verify_stored(place),
            SlotState::Shadow | SlotState::Trial if self.table.starts >= self.settings.starts_max => {
                self.end(place, ErrorCode::TrialCrashLoop)
            }
            SlotState::Shadow | SlotState::Trial => {
                self.table.starts += 1;
                self.write_table()
            }
            _ => Ok(()),
        }
    }

    /// Reads a slot; whether its bytes are those that were written, from a key that is still trusted, and compute what they should.
    fn load(&mut self, place: usize) -> Result<bool, SlotsError> {
        let slot = self.table.slots[place];
        let Some(bytes) = usize::try_from(slot.bytes).ok().and_then(|bytes| self.held[place].get_mut(..bytes)) else {
            return Ok(false);
        };
        self.storage.read(slot_at(place), bytes)?;
        let is_right = |bytes: &[u8]| {
            let bundle = check(bytes, &self.settings.trusted).and_then(read)?;
            prove(&bundle).map(|()| bundle.fingerprint == self.settings.fingerprint && bundle.camera == self.settings.camera)
        };
        Ok(crc32fast::hash(bytes) == slot.crc && (slot.state == SlotState::Written || is_right(bytes) == Ok(true)))
    }

    /// Takes the bytes of a bundle: verifies them, stores them, reads them back and verifies what is stored. The bundle is `Verified` then,
    /// and its revision returned.
    ///
    /// # Errors
    /// [`SlotsError::Refused`] with the reason: nothing was stored. [`ErrorCode::SlotBusy`]: another bundle is on its way.
    pub fn offer(&mut self, bytes: &[u8]) -> Result<u64, SlotsError> {
        if self.table.candidate().is_some() {
            return Err(SlotsError::Refused(ErrorCode::SlotBusy));
        }
        let revision = verify(bytes, &self.settings.trusted, &self.admission()).map_err(SlotsError::Refused)?.revision;
        // Not the confirmed one; of two empty ones the first.
        let place = usize::from(self.table.confirmed() == Some(0));
        self.storage.write(slot_at(place), bytes)?;
        self.storage.sync()?;
        self.held[place][..bytes.len()].copy_from_slice(bytes);
        self.table.slots[place] = Slot { state: SlotState::Written, bytes: bytes.len() as u32, crc: crc32fast::hash(bytes), revision };
        self.write_table()?;
        if !self.load(place)? {
            self.end(place, ErrorCode::SlotDamaged)?;
            return Err(SlotsError::Refused(ErrorCode::SlotDamaged));
        }
        self.verify_stored(place)?;
        match self.state() {
            Some(SlotState::Verified) => Ok(revision),
            _ => Err(SlotsError::Refused(ErrorCode::SlotDamaged)),
        }
    }

    fn verify_stored(&mut self, place: usize) -> Result<(), SlotsError> {
        let bytes = &self.held[place][..self.table.slots[place].bytes as usize];
        match verify(bytes, &self.settings.trusted, &self.admission()).map(|bundle| bundle.revision) {
            Ok(revision) if revision == self.table.slots[place].revision => {
                self.table.slots[place].state = SlotState::Verified;
                self.write_table()
            }
            Ok(_) => self.end(place, ErrorCode::SlotDamaged),
            Err(code) => self.end(place, code),
        }
    }

    fn admission(&self) -> Admission {
        Admission {
            camera: self.settings.camera,
            fingerprint: self.settings.fingerprint,
            confirmed: self.confirmed_revision(),
            highest_tried: self.table.highest_tried,
        }
    }

    /// Revision that is confirmed; 0: none.
    #[must_use]
    pub fn confirmed_revision(&self) -> u64 {
        self.table.confirmed().map_or(0, |place| self.table.slots[place].revision)
    }

    /// State of the bundle on its way; `None`: there is none.
    #[must_use]
    pub fn state(&self) -> Option<SlotState> {
        self.table.candidate().map(|place| self.table.slots[place].state)
    }

    /// Revision of the bundle on its way; 0: none.
    #[must_use]
    pub fn candidate_revision(&self) -> u64 {
        self.table.candidate().map_or(0, |place| self.table.slots[place].revision)
    }

    /// A bundle by its role; it was verified when it came and whenever the slots were opened.
    #[must_use]
    pub fn bundle(&self, role: Role) -> Option<Bundle<'_>> {
        let place = match role {
            Role::Confirmed => self.table.confirmed(),
            Role::Candidate => self.table.candidate(),
        }?;
        let bytes = self.held[place].get(..self.table.slots[place].bytes as usize)?;
        check(bytes, &self.settings.trusted).and_then(read).ok()
    }

    /// Verified → Shadow. From now on this revision will never be taken again.
    ///
    /// # Errors
    /// [`ErrorCode::LinkUnexpected`] in another state; storage.
    pub fn begin_shadow(&mut self) -> Result<(), SlotsError> {
        self.advance(&[SlotState::Verified], SlotState::Shadow)
    }

    /// Verified or Shadow → Trial.
    ///
    /// # Errors
    /// [`ErrorCode::LinkUnexpected`] in another state; storage.
    pub fn begin_trial(&mut self) -> Result<(), SlotsError> {
        self.advance(&[SlotState::Verified, SlotState::Shadow], SlotState::Trial)
    }

    fn advance(&mut self, from: &[SlotState], to: SlotState) -> Result<(), SlotsError> {
        let place = self.candidate_in(from)?;
        self.table.slots[place].state = to;
        self.table.highest_tried = self.table.highest_tried.max(self.table.slots[place].revision);
        // This start is the first of the new state.
        self.table.starts = 1;
        self.write_table()
    }

    fn candidate_in(&self, states: &[SlotState]) -> Result<usize, SlotsError> {
        let place = self.table.candidate().filter(|place| states.contains(&self.table.slots[*place].state));
        place.ok_or(SlotsError::Refused(ErrorCode::LinkUnexpected))
    }

    /// Trial → Confirmed, and the slot that was confirmed before is empty: one write.
    ///
    /// # Errors
    /// [`ErrorCode::LinkUnexpected`] in another state; storage.
    pub fn confirm(&mut self) -> Result<(), SlotsError> {
        let place = self.candidate_in(&[SlotState::Trial])?;
        self.table.slots[1 - place] = Slot::EMPTY;
        self.table.slots[place].state = SlotState::Confirmed;
        self.table.starts = 0;
        self.table.untold = Some(Outcome { revision: self.table.slots[place].revision, stage: BundleStage::Confirmed, code: 0 });
        self.write_table()
    }

    /// The bundle on its way goes: the confirmed one stays, or decides again.
    ///
    /// # Errors
    /// [`ErrorCode::LinkUnexpected`] when there is none; storage.
    pub fn give_up(&mut self, reason: ErrorCode) -> Result<(), SlotsError> {
        let place = self.table.candidate().ok_or(SlotsError::Refused(ErrorCode::LinkUnexpected))?;
        self.end(place, reason)
    }

    fn end(&mut self, place: usize, reason: ErrorCode) -> Result<(), SlotsError> {
        let has_decided = self.table.slots[place].state >= SlotState::Trial;
        let stage = if has_decided { BundleStage::Reverted } else { BundleStage::Refused };
        let revision = self.table.slots[place].revision;
        self.table.untold = Some(Outcome { revision, stage, code: reason.number().0 });
        self.table.slots[place] = Slot::EMPTY;
        self.table.starts = 0;
        self.write_table()
    }

    /// An outcome that the host may not know of yet: kept until [`Slots::mark_told`], so that a crash or power cut hides none.
    #[must_use]
    pub fn untold(&self) -> Option<(u64, BundleStage, Option<CodeNumber>)> {
        let outcome = self.table.untold?;
        Some((outcome.revision, outcome.stage, (outcome.code != 0).then_some(CodeNumber(outcome.code))))
    }

    /// The outcome is where it will reach the host from.
    ///
    /// # Errors
    /// Storage.
    pub fn mark_told(&mut self) -> Result<(), SlotsError> {
        if self.table.untold.take().is_none() {
            return Ok(());
        }
        self.write_table()
    }

    fn write_table(&mut self) -> Result<(), SlotsError> {
        self.table.generation += 1;
        self.storage.write(self.table.generation % TABLES * BLOCK_BYTES, &self.table.encode())?;
        self.storage.sync()?;
        Ok(())
    }
}

const fn slot_at(place: usize) -> u64 {
    (TABLES + place as u64) * BLOCK_BYTES
}
