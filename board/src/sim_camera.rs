//! The simulated board's camera: seeded people, and whatever may go wrong between a camera and a process.

use crate::hal::{Arrival, Clock as _, PoseSource};
use crate::sim::{ORIGIN_NS, SimBoard};
use alfred_core::pose::PoseFrame;
use alfred_core::units::{FrameIndex, MonotonicNs};
use alfred_synth::camera::CameraSpec;
use alfred_synth::director::Events;
use alfred_synth::random::Random;
use alfred_synth::scene::Scene;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

/// Frames that the scene is ahead.
const FRAMES_AHEAD: usize = 4;

/// Longest wait for a frame in one call, of the machine's time.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// What becomes of the frame that is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    /// It comes now.
    Due,
    /// Its successor comes first.
    AfterNext,
}

/// People before a made-up camera; the scene allocates, as no real source may, and needs more stack than whoever asks for frames has: it
/// runs on a thread of its own, some frames ahead, which changes nothing of what comes.
pub(crate) struct SimCamera {
    board: SimBoard,
    scene: Receiver<Box<PoseFrame>>,
    random: Random,
    step_ns: u64,
    made: u64,
    /// When the next frame is there, on the board's clock. A process that takes frames late finds them waiting, with the stamps that they
    /// were captured at.
    due_ns: u64,
    /// A frame that comes after its successor, or once more.
    held_frame: Box<PoseFrame>,
    held: Held,
}

impl SimCamera {
    pub(crate) fn new(board: SimBoard) -> Option<Self> {
        let settings = board.settings();
        let camera = CameraSpec::named(&settings.camera)?;
        let step_ns = (1e9 / camera.rate) as u64;
        let events = if settings.event_share > 0.0 { Events::Share(settings.event_share) } else { Events::Never };
        let (ahead, scene) = sync_channel(FRAMES_AHEAD);
        let seed = settings.seed;
        let thread = std::thread::Builder::new().name("sim camera".into()).spawn(move || {
            let mut frames = Scene::new(&camera, events, seed);
            // Until nobody takes them any more.
            while ahead.send(Box::new(frames.step().poses)).is_ok() {}
        });
        thread.ok()?;
        let held_frame = Box::new(PoseFrame::new(FrameIndex(0), MonotonicNs(0)));
        let random = Random::new(seed ^ 0xfa);
        Some(Self { scene, random, step_ns, made: 0, due_ns: ORIGIN_NS + step_ns, held_frame, held: Held::Nothing, board })
    }

    /// Lets the board's time go on until `due_ns`, or for a while; whether it is there.
    fn wait_until(&self, due_ns: u64) -> bool {
        let clock = self.board.sim_clock();
        let ahead = Duration::from_nanos(due_ns.saturating_sub(clock.now().0));
        let speed = self.board.settings().speed;
        if speed > 0.0 {
            std::thread::sleep(ahead.div_f64(speed).min(WAIT_MAX));
        } else {
            clock.advance(ahead);
        }
        clock.now().0 >= due_ns
    }

    /// A camera that has ended, on a board that goes on.
    fn rest(&self) {
        std::thread::sleep(WAIT_MAX);
        if self.board.settings().speed <= 0.0 {
            self.board.sim_clock().advance(WAIT_MAX);
        }
    }

    /// Writes the frame that is due, with the camera's own stamp.
    fn make(&mut self, poses: &mut PoseFrame) {
        // An ended thread gives frames with nobody in them.
        poses.persons.clear();
        if let Ok(made) = self.scene.recv() {
            poses.persons.extend_from_slice(&made.persons).unwrap_or_default();
        }
        poses.frame = FrameIndex(self.made);
        let settings = self.board.settings();
        let leaps = settings.clock_step_frame > 0 && self.made >= settings.clock_step_frame;
        let leap_ns = if leaps { settings.clock_step_ms.saturating_mul(1_000_000) } else { 0 };
        poses.captured = MonotonicNs(self.due_ns.saturating_add_signed(leap_ns));
        self.made += 1;
        let stalls = settings.stall_every_frames > 0 && self.made.is_multiple_of(settings.stall_every_frames);
        self.due_ns += self.step_ns + if stalls { settings.stall_ms.saturating_mul(1_000_000) } else { 0 };
    }
}

/// Copies a frame without one on the stack.
fn copy(from: &PoseFrame, to: &mut PoseFrame) {
    (to.frame, to.captured) = (from.frame, from.captured);
    to.persons.clear();
    to.persons.extend_from_slice(&from.persons).unwrap_or_default();
}

impl PoseSource for SimCamera {
    fn next(&mut self, frame: &mut PoseFrame) -> Arrival {
        if self.held == Held::Due {
            self.held = Held::Nothing;
            copy(&self.held_frame, frame);
            return Arrival::Frame;
        }
        let settings = self.board.settings();
        let (drop, reorder, duplicate, frames) = (settings.drop, settings.reorder, settings.duplicate, settings.frames);
        if self.made >= frames {
            if !settings.stays {
                return Arrival::Ended;
            }
            self.rest();
            return Arrival::Nothing;
        }
        if !self.wait_until(self.due_ns) {
            return Arrival::Nothing;
        }
        self.make(frame);
        if self.held == Held::AfterNext {
            self.held = Held::Due;
            return Arrival::Frame;
        }
        // Drawn for every frame, so that one fault's probability does not move the others.
        let [dropped, reordered, doubled] = [drop, reorder, duplicate].map(|chance| self.random.chance(chance));
        if dropped {
            return Arrival::Nothing;
        }
        if reordered && self.made < frames {
            copy(frame, &mut self.held_frame);
            self.held = Held::AfterNext;
            return Arrival::Nothing;
        }
        if doubled {
            copy(frame, &mut self.held_frame);
            self.held = Held::Due;
        }
        Arrival::Frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Facts;
    use crate::hal::Board as _;
    use crate::sim::SimSettings;

    fn board(settings: SimSettings) -> SimBoard {
        settings.check().expect("valid");
        SimBoard::new(Facts::named("sim").expect("a board"), settings)
    }

    fn frames(settings: SimSettings) -> Vec<(u64, u64, usize)> {
        let mut source = board(settings).pose_source().expect("it has one");
        let (mut frame, mut found) = (PoseFrame::new(FrameIndex(0), MonotonicNs(0)), Vec::new());
        loop {
            match source.next(&mut frame) {
                Arrival::Frame => found.push((frame.frame.0, frame.captured.0, frame.persons.len())),
                Arrival::Nothing => {}
                Arrival::Ended => return found,
            }
        }
    }

    #[test]
    fn the_same_seed_has_the_same_faults_and_every_fault_happens() {
        let settings = SimSettings {
            frames: 600,
            drop: 0.1,
            reorder: 0.1,
            duplicate: 0.1,
            stall_every_frames: 100,
            stall_ms: 5000,
            clock_step_frame: 300,
            clock_step_ms: -60_000,
            ..SimSettings::default()
        };
        let found = frames(settings.clone());
        assert_eq!(found, frames(settings.clone()));
        assert_eq!(found, frames(SimSettings { speed: 1000.0, ..settings.clone() }), "whatever time does");
        assert_ne!(found, frames(SimSettings { seed: 2, ..settings }));
        let pairs = || found.windows(2).map(|pair| (pair[0], pair[1]));
        assert!(pairs().any(|(a, b)| a == b), "duplicates");
        assert!(pairs().any(|(a, b)| b.0 < a.0), "late frames");
        assert!(pairs().any(|(a, b)| b.0 > a.0 + 1), "missing frames");
        assert!(pairs().any(|(a, b)| b.1 > a.1 + 5_000_000_000), "stalls");
        assert!(pairs().any(|(a, b)| b.1 + 50_000_000_000 < a.1), "a step of the clock");
        assert!(found.iter().any(|(_, _, persons)| *persons > 1), "people");
        let quiet = frames(SimSettings { frames: 100, ..SimSettings::default() });
        assert!(quiet.iter().zip(0..).all(|(frame, number)| frame.0 == number) && quiet.len() == 100, "no fault unless asked for");
    }

    #[test]
    fn the_scene_is_the_one_that_anybody_makes_with_this_seed() {
        let spec = CameraSpec::named("hall").expect("a camera");
        let settings = SimSettings { frames: 60, camera: "hall".into(), event_share: 0.4, seed: 7, ..SimSettings::default() };
        let mut source = board(settings).pose_source().expect("it has one");
        let mut frame = PoseFrame::new(FrameIndex(0), MonotonicNs(0));
        for made in Scene::new(&spec, Events::Share(0.4), 7).take(60) {
            assert_eq!(source.next(&mut frame), Arrival::Frame);
            assert_eq!((frame.frame, &frame.persons), (made.poses.frame, &made.poses.persons));
        }
    }

    #[test]
    fn time_runs_by_itself_at_a_speed_and_frames_are_not_early() {
        let board = board(SimSettings { frames: 30, speed: 50.0, ..SimSettings::default() });
        let (clock, mut source) = (board.clock(), board.pose_source().expect("it has one"));
        let (mut frame, mut last) = (PoseFrame::new(FrameIndex(0), MonotonicNs(0)), 0);
        while source.next(&mut frame) != Arrival::Ended {
            assert!(clock.now() >= frame.captured, "before it was captured");
            last = frame.captured.0;
        }
        assert_eq!(last, ORIGIN_NS + 30 * 33_333_333);
        let ended = clock.now();
        std::thread::sleep(Duration::from_millis(1));
        assert!(clock.now() > ended, "it goes on without frames");
    }

    #[test]
    fn a_silent_camera_leaves_the_board_where_it_is() {
        let board = board(SimSettings { frames: 1, stays: true, ..SimSettings::default() });
        let (mut source, mut frame) = (board.pose_source().expect("it has one"), PoseFrame::new(FrameIndex(0), MonotonicNs(0)));
        assert_eq!(source.next(&mut frame), Arrival::Frame);
        let before = board.clock().now();
        assert_eq!([source.next(&mut frame), source.next(&mut frame)], [Arrival::Nothing; 2]);
        assert!(board.clock().now() > before);
    }
}
