//! A training process that is killed, for real, and goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the checkpoint may take to appear.
const PATIENCE: Duration = Duration::from_secs(120);

fn host(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alfred-host"));
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn run(command: &mut Command) {
    let output = command.output().expect("alfred-host starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A training whose epochs are many enough steps, and which are enough of them, that the kill comes before the end.
fn train(options: &[&str], data: &Path, out: &Path) -> Command {
    let mut command = host(&["train", "--checkpoint-seconds", "0", "--batch", "64", "--data"]);
    command.arg(data).arg("--out").arg(out).args(options);
    command
}

/// Kills as `kill -9` does once the checkpoint says that an epoch is half done.
fn kill_within_an_epoch(mut child: Child, checkpoint: &Path) {
    let started = Instant::now();
    while steps_in_epoch(checkpoint).is_none_or(|steps| steps <= 2) {
        assert!(started.elapsed() < PATIENCE, "no checkpoint within an epoch");
        assert!(child.try_wait().expect("its state").is_none(), "training ended before it could be killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("killed");
    let status = child.wait().expect("its end");
    assert!(!status.success());
    println!("killed {} steps into an epoch", steps_in_epoch(checkpoint).unwrap_or(0));
}

/// Steps done in the current epoch, by the checkpoint's header.
fn steps_in_epoch(checkpoint: &Path) -> Option<u64> {
    let bytes = fs::read(checkpoint).ok()?;
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).ok()?;
    header.metadata().as_ref()?.get("epoch_steps")?.parse().ok()
}

/// Trains with `options` to the end, and again with `others` beside them and a kill in between.
fn weights_survive_a_kill(options: &[&str], others: &[&str]) {
    let folder = Folder::new(options[1]);
    let (data, whole, resumed) = (folder.0.join("data"), folder.0.join("whole.safetensors"), folder.0.join("resumed.safetensors"));
    run(host(&["synth", "--seed", "5", "--clips", "2", "--test-clips", "2", "--frames", "300", "--out"]).arg(&data));
    run(&mut train(options, &data, &whole));
    let options = [options, others].concat();
    let child = train(&options, &data, &resumed).spawn().expect("alfred-host starts");
    kill_within_an_epoch(child, &resumed.with_extension("checkpoint.safetensors"));
    assert!(!resumed.exists(), "weights are written at the end only");
    run(train(&options, &data, &resumed).arg("--resume"));
    assert!(fs::read(&whole).expect("weights") == fs::read(&resumed).expect("weights"), "{}: the resumed run's weights differ", options[1]);
}

/// The undisturbed run has one thread, the other two: STG-NF's bits do not depend on it.
#[test]
fn a_killed_training_of_stg_nf_resumes_to_the_same_weights_on_other_threads() {
    weights_survive_a_kill(&["--arch", "stg-nf", "--epochs", "40"], &["--threads", "2"]);
}

#[test]
fn a_killed_training_of_sparta_resumes_to_the_same_weights() {
    weights_survive_a_kill(&["--arch", "sparta", "--epochs", "4", "--stride", "4", "--threads", "2"], &[]);
}

#[test]
fn a_killed_training_of_ga_vae_resumes_to_the_same_weights() {
    weights_survive_a_kill(&["--arch", "gavae", "--epochs", "2", "--stride", "12"], &[]);
}

/// A folder that goes away with its value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("alfred-kill-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
