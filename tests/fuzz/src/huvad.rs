//! HuVAD's pickles: read, in order, finite and each person once per frame, or refused with one line.

use alfred_clips::huvad::parse;
use alfred_clips::pose_file::CLIP_FRAMES_MAX;
use alfred_core::limits::PERSONS_MAX;
use alfred_core::pose::KeyPoint;

/// Runs the target.
///
/// # Panics
/// When a promise is broken.
pub fn run(data: &[u8]) {
    match parse(data, "clip".into()) {
        Err(what) => assert!(!what.is_empty() && !what.contains('\n'), "{what:?} is not one line"),
        Ok(clip) => {
            assert!(clip.length() <= CLIP_FRAMES_MAX);
            assert!(clip.frames.is_sorted_by(|a, b| a.frame < b.frame));
            for frame in &clip.frames {
                assert!(!frame.persons.is_empty() && frame.persons.len() <= PERSONS_MAX);
                assert!(frame.persons.is_sorted_by(|a, b| a.id < b.id), "persons in order, each once");
                assert!(frame.persons.iter().flat_map(|person| &person.keypoints).all(KeyPoint::is_finite));
            }
        }
    }
}
