//! A bundle on its way to the device: judged by its offer, fetched part by part, checked as a whole.

use crate::fault::LinkFault;
use crate::limits::TRANSFERS_FAILED_MAX;
use crate::spool::{Progress, Spool};
use alfred_wire::error_code::ErrorCode;
use alfred_wire::link::{BundleAsk, BundleChunk, BundleOffer, BundleStage, BundleState};
use alfred_wire::name::Name;

/// What the device accepts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) camera: Name,
    pub(crate) fingerprint: u64,
    pub(crate) revision: u64,
    pub(crate) bytes_max: u32,
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Ask for the part from there.
    Ask(BundleAsk),
    /// Tell the host, and nothing more.
    Tell(BundleState),
    /// All bytes are there and are the offered ones.
    Whole(u64, Vec<u8>),
    /// It was about something that is not being fetched any more.
    Ignore,
}

/// The transfer's state.
#[derive(Debug)]
pub(crate) struct Transfer {
    spool: Spool,
    /// What was asked for and has not come.
    asked: Option<BundleAsk>,
    failures: u32,
}

impl Transfer {
    pub(crate) const fn new(spool: Spool) -> Self {
        Self { spool, asked: None, failures: 0 }
    }

    /// A new connection: what was asked for will not come.
    pub(crate) const fn reconnect(&mut self) {
        (self.asked, self.failures) = (None, 0);
    }

    pub(crate) const fn is_waiting(&self) -> bool {
        self.asked.is_some()
    }

    pub(crate) fn offered(&mut self, offer: &BundleOffer, wanted: &Wanted) -> Result<Step, LinkFault> {
        let refusal = match () {
            () if offer.camera != wanted.camera => Some(ErrorCode::BundleWrongCamera),
            () if offer.fingerprint != wanted.fingerprint => Some(ErrorCode::BundleFingerprint),
            () if offer.revision <= wanted.revision => Some(ErrorCode::BundleDowngrade),
            () if offer.bytes > wanted.bytes_max => Some(ErrorCode::BundleTooLarge),
            () if offer.bytes == 0 => Some(ErrorCode::BundleTruncated),
            () => None,
        };
        if let Some(code) = refusal {
            return Ok(Step::Tell(state(offer.revision, BundleStage::Refused, Some(code))));
        }
        let offset = self.spool.begin(offer).map_err(LinkFault::Spool)?;
        if offset == offer.bytes {
            return self.whole();
        }
        Ok(self.ask(offer.revision, offset))
    }

    pub(crate) fn part(&mut self, chunk: &BundleChunk<'_>) -> Result<Step, LinkFault> {
        let Some(asked) = self.asked.filter(|asked| asked.revision == chunk.revision) else { return Ok(Step::Ignore) };
        if asked.offset != chunk.offset {
            return Err(LinkFault::Refusing(ErrorCode::BundleChunk));
        }
        self.asked = None;
        if chunk.bytes.get().is_empty() {
            // The host has no such bytes: its bundle is shorter than its offer.
            return self.failed(chunk.revision, ErrorCode::BundleTruncated);
        }
        match self.spool.append(chunk.offset, chunk.bytes.get()).map_err(LinkFault::Spool)? {
            Progress::Next(offset) => Ok(self.ask(chunk.revision, offset)),
            Progress::Whole => self.whole(),
            Progress::Misplaced => self.failed(chunk.revision, ErrorCode::BundleChunk),
        }
    }

    /// The bundle has been judged, or is not wanted any more.
    pub(crate) fn done(&mut self) -> Result<(), LinkFault> {
        self.asked = None;
        self.spool.clear().map_err(LinkFault::Spool)
    }

    /// The host takes an offer back.
    pub(crate) fn withdrawn(&mut self, revision: u64) -> Result<(), LinkFault> {
        if self.spool.offer().is_some_and(|offer| offer.revision == revision) { self.done() } else { Ok(()) }
    }

    fn ask(&mut self, revision: u64, offset: u32) -> Step {
        let ask = BundleAsk { revision, offset };
        self.asked = Some(ask);
        Step::Ask(ask)
    }

    fn whole(&mut self) -> Result<Step, LinkFault> {
        let revision = self.spool.offer().map_or(0, |offer| offer.revision);
        match self.spool.whole().map_err(LinkFault::Spool)? {
            Some(bytes) => Ok(Step::Whole(revision, bytes)),
            None => self.failed(revision, ErrorCode::BundleHash),
        }
    }

    fn failed(&mut self, revision: u64, code: ErrorCode) -> Result<Step, LinkFault> {
        self.done()?;
        self.failures += 1;
        if self.failures >= TRANSFERS_FAILED_MAX {
            return Err(LinkFault::Refusing(code));
        }
        Ok(Step::Tell(state(revision, BundleStage::Refused, Some(code))))
    }
}

pub(crate) fn state(revision: u64, stage: BundleStage, reason: Option<ErrorCode>) -> BundleState {
    let reason = reason.map(ErrorCode::number);
    BundleState { revision, stage, reason, windows: 0, flagged: 0, live_flagged: 0, disagreements: 0, faults: 0, from_frame: 0 }
}
