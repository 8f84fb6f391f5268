//! `alfred-edge run` with `[bundle]`: real processes, bundles dropped into the inbox while frames flow.

mod support;

use alfred_bundle::fingerprint::of_defaults;
use alfred_bundle::format::{BUNDLE_BYTES_MAX, Bundle, SelfTest, ThresholdPolicy};
use alfred_bundle::signature::SecretKey;
use alfred_bundle::verify::build;
use alfred_core::decision::DecisionRule;
use alfred_core::normalise::PixelScale;
use alfred_core::units::Threshold;
use alfred_models::stg_nf::parameters::StgNfParameters;
use alfred_models::stg_nf::weights_file;
use alfred_wire::name::Name;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::LazyLock;
use support::{Folder, edge, line, text};

/// A threshold that nobody reaches.
const QUIET: f32 = 1e6;
/// One that everybody reaches.
const LOUD: f32 = -1e6;

fn key() -> SecretKey {
    SecretKey::from_bytes(&[3; 32])
}

static FACTORY: LazyLock<StgNfParameters> = LazyLock::new(|| {
    let folder = Folder::new("updates-factory");
    weights_file::read_path(&folder.weights(None)).expect("valid").parameters
});

/// The factory's weights with another prior mean, so that every score is another.
fn bundle(revision: u64, parent: u64, threshold: f32) -> Vec<u8> {
    let mut parameters = *FACTORY;
    parameters.prior_mean += revision as f32;
    let bundle = Bundle {
        camera: Name::new("gate").expect("a name"),
        revision,
        parent,
        fingerprint: of_defaults(24, &PixelScale::PUBLISHED_STG_NF).expect("a length that models have"),
        decision: DecisionRule::new(Threshold::new(threshold).expect("finite"), 0.0).expect("not negative"),
        policy: ThresholdPolicy::Given,
        error_rate: None,
        validation_sha256: [0; 32],
        quantiles: None,
        self_test: SelfTest { seed: revision, expected: 0 },
        parameters,
        max_hop: 8,
        head: b"",
    };
    let mut bytes = [0; BUNDLE_BYTES_MAX];
    let length = build(&bundle, &key(), &mut bytes).expect("valid");
    bytes[..length].to_vec()
}

/// Delivers as a link would: under another name first.
fn deliver(folder: &Folder, name: &str, bytes: &[u8]) {
    let part = folder.write(&format!("inbox/{name}.part"), bytes);
    fs::rename(part, folder.0.join(format!("inbox/{name}.bundle"))).expect("the same folder");
}

/// A process that is fed one frame after the other and whose lines are read in step.
struct Edge {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    first: u64,
    next: u64,
    /// Numbers and scores of all decided frames.
    frames: Vec<(u64, Option<f64>)>,
    bundles: Vec<Value>,
}

impl Edge {
    fn start(folder: &Folder, first: u64, shadow_windows: u64, trial_windows: u64) -> Self {
        folder.weights(Some(QUIET));
        let _ = fs::create_dir(folder.0.join("inbox"));
        let config = format!(
            "camera = \"gate\"\n[model]\nfile = \"weights.safetensors\"\n[output]\nframes = true\nsegments = false\nstats_period_s = 0\n\
             [bundle]\nkeys = [\"{}\"]\ninbox = \"inbox\"\nslots = \"slots.bin\"\nshadow_windows = {shadow_windows}\ntrial_windows = {trial_windows}\npoll_ms = 10\n",
            key().public()
        );
        let config = folder.write("edge.toml", config);
        let mut command = edge();
        command.args(["run", "--config", text(&config)]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("alfred-edge runs");
        let stdin = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, stdin, lines, first, next: first, frames: Vec::new(), bundles: Vec::new() }
    }

    fn take_line(&mut self) -> bool {
        let Some(line) = self.lines.next() else { return false };
        let message: Value = serde_json::from_str(&line.expect("text")).expect("JSON");
        if let Some(frame) = message.get("frame") {
            self.frames.push((frame["frame"].as_u64().expect("a number"), frame["score"].as_f64()));
        }
        if let Some(bundle) = message.get("bundle") {
            self.bundles.push(bundle.clone());
        }
        true
    }

    /// Feeds frames until a bundle has come to this stage.
    fn feed_until(&mut self, revision: u64, stage: &str) -> Value {
        let is_it = |bundle: &&Value| bundle["revision"] == revision && bundle["stage"] == stage;
        for _ in 0..100_000 {
            if let Some(found) = self.bundles.iter().find(is_it) {
                return found.clone();
            }
            writeln!(self.stdin.as_ref().expect("fed"), "{}", line(self.next, 2)).expect("alfred-edge reads");
            self.next += 1;
            // Decisions come with a delay of 23 frames: whatever was fed before that has its line.
            while self.frames.last().map_or(self.first, |(frame, _)| frame + 1) + 60 < self.next {
                assert!(self.take_line(), "alfred-edge ended");
            }
        }
        panic!("no {stage} of {revision} among {:?}", self.bundles);
    }

    fn end(mut self) -> (Vec<(u64, Option<f64>)>, Vec<Value>) {
        self.stdin = None;
        while self.take_line() {}
        assert!(self.child.wait().expect("ends").success());
        let numbers: Vec<u64> = self.frames.iter().map(|(frame, _)| *frame).collect();
        assert_eq!(numbers, (self.first..self.next).collect::<Vec<_>>(), "every frame is decided once, in order");
        (self.frames, self.bundles)
    }

    /// As the power cut or a crash ends it.
    fn kill(mut self) -> u64 {
        self.child.kill().expect("alive");
        self.child.wait().expect("ends");
        self.next
    }
}

/// Frames between the newest frame of a window and the frame that its score belongs to.
const CENTRE_LAG: u64 = 11;

/// Whether the model file scored a frame: then its score is that of a run without bundles.
fn is_factory(frames: &[(u64, Option<f64>)], baseline: &[(u64, Option<f64>)], frame: u64) -> bool {
    let score = frames[frame as usize].1.expect("scored");
    let own = baseline[frame as usize].1.expect("scored");
    (score - own).abs() < 1e-6
}

fn baseline(frames: u64) -> Vec<(u64, Option<f64>)> {
    let folder = Folder::new("updates-baseline");
    let mut edge = Edge::start(&folder, 0, 60, 60);
    for frame in 0..frames {
        writeln!(edge.stdin.as_ref().expect("fed"), "{}", line(frame, 2)).expect("alfred-edge reads");
        while edge.frames.last().map_or(0, |(last, _)| last + 1) + 60 < frame {
            edge.take_line();
        }
    }
    edge.next = frames;
    edge.end().0
}

#[test]
fn bundles_are_tried_confirmed_or_refused_and_no_frame_is_lost() {
    let folder = Folder::new("updates");
    let mut edge = Edge::start(&folder, 0, 60, 60);
    deliver(&folder, "first", &bundle(1, 0, QUIET));
    let trial = edge.feed_until(1, "trial");
    let confirmed = edge.feed_until(1, "confirmed");
    assert_eq!((confirmed["reason"].is_null(), confirmed["flagged"].as_u64()), (true, Some(0)));
    assert!(confirmed["windows"].as_u64() >= Some(60) && trial["windows"].as_u64() >= Some(60), "{trial} {confirmed}");
    let stages: Vec<&str> = edge.bundles.iter().map(|bundle| bundle["stage"].as_str().expect("text")).collect();
    assert_eq!(stages, ["verified", "shadow", "trial", "confirmed"]);
    // Flags everything: it never decides. The file is gone, and so is its number.
    deliver(&folder, "second", &bundle(2, 1, LOUD));
    assert_eq!(edge.feed_until(2, "refused")["reason"], 203);
    deliver(&folder, "again", &bundle(2, 1, QUIET));
    assert_eq!(edge.feed_until(0, "refused")["reason"], 107, "a number that failed does not come back");
    edge.bundles.clear();
    deliver(&folder, "garbage", b"ALFB, or not");
    assert_eq!(edge.feed_until(0, "refused")["reason"], 101);
    deliver(&folder, "third", &bundle(3, 1, QUIET));
    edge.feed_until(3, "confirmed");
    assert_eq!(fs::read_dir(folder.0.join("inbox")).expect("there").count(), 0, "what was taken is removed");
    let (frames, _) = edge.end();
    let baseline = baseline(frames.len() as u64);
    let swap = trial["from_frame"].as_u64().expect("a number");
    assert!(swap > 30 && frames.len() as u64 > swap + 100, "the swap came while frames flowed: {swap}");
    let (before, after) = (swap - CENTRE_LAG - 1, swap - CENTRE_LAG);
    assert!((24..=before).all(|frame| is_factory(&frames, &baseline, frame)), "until the swap the old model scores");
    assert!((after..swap + 50).all(|frame| !is_factory(&frames, &baseline, frame)), "and from that frame on the new one");
}

#[test]
fn a_trial_that_flags_too_much_is_reverted_by_itself() {
    let folder = Folder::new("updates-revert");
    let mut edge = Edge::start(&folder, 0, 0, 1_000_000);
    deliver(&folder, "loud", &bundle(1, 0, LOUD));
    let trial = edge.feed_until(1, "trial")["from_frame"].as_u64().expect("a number");
    // The bound is a share of all the windows of the trial.
    edge.kill();
    let mut edge = Edge::start(&folder, trial, 0, 100);
    let reverted = edge.feed_until(1, "reverted");
    assert_eq!(reverted["reason"], 205);
    let back = reverted["from_frame"].as_u64().expect("a number");
    assert!(back > trial && reverted["flagged"].as_u64() > Some(30), "{reverted}");
    for _ in 0..100 {
        edge.feed_until(1, "reverted");
        writeln!(edge.stdin.as_ref().expect("fed"), "{}", line(edge.next, 2)).expect("alfred-edge reads");
        edge.next += 1;
    }
    let (frames, bundles) = edge.end();
    assert_eq!(bundles[0]["stage"], "trial", "the trial went on at the second start: {bundles:?}");
    let after: Vec<f64> = frames.iter().filter(|(frame, _)| *frame > back).filter_map(|(_, score)| *score).collect();
    assert!(after.len() > 50, "the old model scores again");
}

#[test]
fn a_crash_loop_on_trial_ends_with_the_old_model() {
    let folder = Folder::new("updates-crash");
    let mut edge = Edge::start(&folder, 0, 0, 1_000_000);
    deliver(&folder, "first", &bundle(1, 0, QUIET));
    edge.feed_until(1, "trial");
    let mut next = edge.kill();
    for start in 2..=3 {
        let mut edge = Edge::start(&folder, next, 0, 1_000_000);
        edge.feed_until(1, "trial");
        assert_eq!(edge.bundles.len(), 1, "start {start} goes on with the trial");
        next = edge.kill();
    }
    let mut edge = Edge::start(&folder, next, 0, 1_000_000);
    assert_eq!(edge.feed_until(1, "reverted")["reason"], 207);
    let (_, bundles) = edge.end();
    assert_eq!(bundles.len(), 1, "told once: {bundles:?}");
    // And again: nothing is left to tell.
    let edge = Edge::start(&folder, 0, 0, 1_000_000);
    assert_eq!(edge.end().1, Vec::<Value>::new());
}
