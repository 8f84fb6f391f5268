//! Which clips can be read: the others are named, counted and left out, or, strictly, end the command.

use super::alphapose;
use super::layout::{ClipFiles, read_mask};
use crate::error::HostError;
use indicatif::{ProgressBar, ProgressStyle};

/// Clips that were read once, and how many were left out.
#[derive(Clone, Debug, Default)]
pub struct SoundClips {
    /// Those whose poses and mask can be read, in their order.
    pub clips: Vec<ClipFiles>,
    /// Number of those left out.
    pub skipped: usize,
}

/// Reads every clip once, with a progress bar on a terminal, and names the bad ones on stderr.
///
/// # Errors
/// [`HostError`] of the first bad clip when `is_strict`; of the last one when none can be read.
pub fn sound_clips(clips: Vec<ClipFiles>, is_strict: bool) -> Result<SoundClips, HostError> {
    let bar = ProgressBar::new(clips.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("reading {pos}/{len} clips {wide_bar} {eta}") {
        bar.set_style(style);
    }
    let (all, mut sound, mut last) = (clips.len(), SoundClips::default(), None);
    for clip in clips {
        match check(&clip) {
            Ok(()) => sound.clips.push(clip),
            Err(error) if is_strict => return Err(error),
            Err(error) => {
                bar.suspend(|| eprintln!("alfred-host: skipped {error}"));
                sound.skipped += 1;
                last = Some(error);
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if sound.skipped > 0 {
        eprintln!("alfred-host: {} of {all} clips skipped; --strict stops at the first", sound.skipped);
    }
    match last {
        Some(error) if sound.clips.is_empty() => Err(error),
        _ => Ok(sound),
    }
}

fn check(clip: &ClipFiles) -> Result<(), HostError> {
    alphapose::read(&clip.poses)?;
    clip.mask.as_deref().map(read_mask).transpose()?;
    Ok(())
}
