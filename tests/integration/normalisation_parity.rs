//! Key-points in pixels to normalised windows, against the published preprocessing in f64.

use alfred_core::limits::{CHANNELS, JOINTS};
use alfred_core::normalise::{PixelScale, normalise};
use alfred_core::pose::{KeyPoint, PersonPose};
use alfred_core::scorer::Window;
use alfred_core::track_window::{TrackRing, WindowPolicy};
use alfred_core::units::{FrameIndex, PersonId};
use alfred_testkit::golden::GoldenFile;
use alfred_testkit::tolerance::Tolerance;

/// f32 rounding of values whose largest is about 20, from f32 key-points.
const NORMALISED_TOLERANCE: Tolerance = Tolerance { name: "2e-6 + 2e-6 rel", absolute: 2e-6, relative: 2e-6 };

fn check(file: &str, scale: PixelScale) {
    let Some(golden) = GoldenFile::find(file) else { return };
    let (raw, expected) = (golden.tensor("raw_coco17"), golden.tensor("normalized_f64"));
    let frames = raw.shape[1];
    let mut worst = 0.0_f64;
    for (number, (raw, expected)) in raw.rows().zip(expected.rows()).enumerate() {
        let mut ring = TrackRing::EMPTY;
        for (frame, keypoints) in raw.chunks_exact(17 * 3).enumerate() {
            let mut pose = PersonPose { id: PersonId(1), ..PersonPose::EMPTY };
            for (keypoint, numbers) in pose.keypoints.iter_mut().zip(keypoints.chunks_exact(3)) {
                *keypoint = KeyPoint { x: numbers[0] as f32, y: numbers[1] as f32, confidence: numbers[2] as f32 };
            }
            ring.push(FrameIndex(frame as u64), &pose);
        }
        let span = ring.due_window(&WindowPolicy::live(frames)).expect("complete");
        let mut window = Window::EMPTY;
        normalise(ring.window(&span), frames, &scale, &mut window).expect("golden windows are no degenerate ones");
        let mut ours = vec![0.0; CHANNELS * frames * JOINTS];
        window.copy_time_major(&mut ours);
        for (place, (ours, expected)) in ours.iter().zip(expected).enumerate() {
            worst = worst.max((f64::from(*ours) - expected).abs());
            assert!(NORMALISED_TOLERANCE.allows(f64::from(*ours), *expected), "{file} window {number}, value {place}: {ours} {expected}");
        }
    }
    println!("{file}: largest difference {worst:.1e}");
}

#[test]
fn stg_nf_windows_are_the_published_ones() {
    for model in ["shanghaitech", "ubnormal_unsup", "ubnormal_sup"] {
        check(&format!("vectors/stgnf_{model}.safetensors"), PixelScale::PUBLISHED_STG_NF);
    }
}

#[test]
fn sparta_windows_are_the_published_ones() {
    check("vectors/sparta_ftd_sht.safetensors", PixelScale::PUBLISHED_SPARTA);
}
