//! Windows in memory: cut, normalised and labelled by the same code that runs on the device.

use crate::dataset::alphapose::{self, Tracks};
use crate::dataset::layout::{ClipFiles, Events, read_mask};
use crate::error::HostError;
use alfred_core::limits::{CHANNELS, JOINTS};
use alfred_core::normalise::{PixelScale, normalise};
use alfred_core::scorer::Window;
use alfred_core::track_window::{TrackRing, WindowPolicy};

/// Where a window came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Index of its clip.
    pub clip: u32,
    /// Person.
    pub person: u32,
    /// Frame that its score belongs to.
    pub centre: u32,
}

/// Many windows of one length.
#[derive(Clone, Debug)]
pub struct WindowSet {
    frames: usize,
    values: Vec<f32>,
    labels: Vec<f32>,
    origins: Vec<Origin>,
}

/// One sample of a batch: which window, and whether it is mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Index into the set.
    pub window: u32,
    /// Mirrored left to right (x negated; joints are not exchanged, as published).
    pub mirrored: bool,
}

/// The samples of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'b> {
    /// The samples.
    pub items: &'b [Item],
}

impl WindowSet {
    /// No windows yet, of `frames` detections each.
    #[must_use]
    pub const fn new(frames: usize) -> Self {
        Self { frames, values: Vec::new(), labels: Vec::new(), origins: Vec::new() }
    }

    /// Detections T per window.
    #[must_use]
    pub const fn frames(&self) -> usize {
        self.frames
    }

    /// Number of windows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The `2 * 18 * T` values of a window, [channel][joint][time].
    #[must_use]
    pub fn window(&self, index: u32) -> &[f32] {
        let size = CHANNELS * JOINTS * self.frames;
        &self.values[index as usize * size..][..size]
    }

    /// +1 normal, -1 anomalous.
    #[must_use]
    pub fn label(&self, index: u32) -> f32 {
        self.labels[index as usize]
    }

    /// Where a window came from.
    #[must_use]
    pub fn origin(&self, index: u32) -> Origin {
        self.origins[index as usize]
    }

    /// Adds a window.
    pub fn push(&mut self, values: &[f32], anomalous: bool, origin: Origin) {
        debug_assert_eq!(values.len(), CHANNELS * JOINTS * self.frames);
        self.values.extend_from_slice(values);
        self.labels.push(if anomalous { -1.0 } else { 1.0 });
        self.origins.push(origin);
    }

    /// Adds the windows of a clip's tracks; `is_anomalous(person, frame)` is asked about the frame that each window's
    /// score belongs to. Windows without a
    /// normalised form (all y equal) are left out.
    pub fn push_tracks(
        &mut self,
        clip: u32,
        tracks: &Tracks,
        is_anomalous: impl Fn(u32, u64) -> bool,
        policy: &WindowPolicy,
        scale: &PixelScale,
    ) {
        let mut ring = TrackRing::EMPTY;
        let mut window = Window::EMPTY;
        for (&person, track) in tracks {
            ring.restart();
            for (frame, pose) in track {
                ring.push(*frame, pose);
                let Ok(span) = ring.due_window(policy) else { continue };
                if normalise(ring.window(&span), policy.window_frames, scale, &mut window).is_err() {
                    continue;
                }
                let centre = span.centre.0;
                self.push(window.values(), is_anomalous(person, centre), Origin { clip, person, centre: centre as u32 });
            }
        }
    }
}

/// A clip's mask, and how many frames it has.
#[derive(Clone, Debug)]
pub struct ClipTruth {
    /// `CC_VVVV`.
    pub name: String,
    /// Anomalous frames; all normal when the clip has no mask.
    pub mask: Vec<bool>,
    /// Whether there was a mask file.
    pub has_mask: bool,
}

/// Reads clips and cuts their windows. A window is anomalous when its person is in an event at the frame that its score
/// belongs to (the policy's), or, without `events`, when
/// the clip's mask says so there.
///
/// # Errors
/// [`HostError`] when a file is unreadable, or when no clip holds a whole window.
pub fn read_clips(
    clips: &[ClipFiles],
    events: Option<&Events>,
    policy: &WindowPolicy,
    scale: &PixelScale,
) -> Result<(WindowSet, Vec<ClipTruth>), HostError> {
    let mut set = WindowSet::new(policy.window_frames);
    let mut truths = Vec::new();
    for (index, clip) in clips.iter().enumerate() {
        let tracks = alphapose::read(&clip.poses)?;
        let mask = clip.mask.as_deref().map(read_mask).transpose()?;
        let frames = tracks.values().flatten().map(|(frame, _)| frame.0 as usize + 1).max().unwrap_or(0);
        let persons = events.map(|events| events.get(&clip.key));
        let is_anomalous = |person: u32, frame: u64| match persons {
            Some(persons) => persons
                .and_then(|persons| persons.get(&person.to_string()))
                .is_some_and(|events| events.iter().any(|(first, last, _)| (*first..=*last).contains(&frame))),
            None => mask.as_deref().is_some_and(|mask| mask.get(frame as usize).copied().unwrap_or(false)),
        };
        set.push_tracks(index as u32, &tracks, is_anomalous, policy, scale);
        let has_mask = mask.is_some();
        truths.push(ClipTruth { name: clip.name.clone(), mask: mask.unwrap_or_else(|| vec![false; frames]), has_mask });
    }
    match (set.is_empty(), clips.first()) {
        (true, Some(clip)) => Err(HostError::data(&clip.poses, "no whole window", "give clips with tracks longer than a window")),
        _ => Ok((set, truths)),
    }
}
