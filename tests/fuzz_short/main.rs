//! A short fuzz on every toolchain: each target of `tests/fuzz`, and the configuration, on seeded changes of their corpora.
//!
//! Always the same inputs, unless `ALFRED_FUZZ_SEED=n` asks for others; `ALFRED_FUZZ_RUNS=n` sets how many per target. A failure names
//! the seed and keeps the input in a file. `ALFRED_FUZZ_KEEP=1` writes each input before it runs (slow): what aborts the process, such as
//! a full stack, leaves no time afterwards.

mod config;

mod mutator;

#[path = "../fuzz/src/lib.rs"]
mod targets;

use alfred_testkit::golden::announce;
use mutator::Mutator;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};
use std::{env, fs};

/// Environment variable with the seed.
const SEED_VARIABLE: &str = "ALFRED_FUZZ_SEED";
/// Environment variable with the number of inputs per target.
const RUNS_VARIABLE: &str = "ALFRED_FUZZ_RUNS";
/// Environment variable that has every input kept.
const KEEP_VARIABLE: &str = "ALFRED_FUZZ_KEEP";
/// Inputs per target without [`RUNS_VARIABLE`]: a few seconds for all.
const RUNS: u64 = 20_000;
/// One input may not take longer, even on a busy machine: a reader that hangs is broken too.
const INPUT_TIME_MAX: Duration = Duration::from_secs(10);

fn setting<T: FromStr>(variable: &str, default: T) -> T {
    let Ok(text) = env::var(variable) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{variable} = {text:?}: a whole number is needed"))
}

/// The committed seeds of a target, in the order of their names.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable folder").path()).collect();
    paths.sort();
    let seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).expect("readable seed")).collect();
    assert!(!seeds.is_empty(), "{}: no seeds", folder.display());
    seeds
}

fn fuzz(target: &str, run: fn(&[u8])) {
    let (seed, runs) = (setting(SEED_VARIABLE, 1_u64), setting(RUNS_VARIABLE, RUNS));
    let seeds = corpus(target);
    let last = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz_{target}_input.bin"));
    let keeps_all = env::var_os(KEEP_VARIABLE).is_some();
    let mut mutator = Mutator::new(seed);
    let (start, mut slowest) = (Instant::now(), Duration::ZERO);
    announce(&format!("fuzz {target}: {runs} inputs from {} seeds, {SEED_VARIABLE}={seed}", seeds.len()));
    for round in 0..seeds.len() as u64 + runs {
        // The seeds themselves come first, unchanged.
        let input = seeds.get(round as usize).cloned().unwrap_or_else(|| mutator.change(&seeds));
        if keeps_all {
            fs::write(&last, &input).expect("a writable target folder");
        }
        let begin = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| run(&input)));
        slowest = slowest.max(begin.elapsed());
        if outcome.is_err() || slowest > INPUT_TIME_MAX {
            fs::write(&last, &input).expect("a writable target folder");
            let what = if outcome.is_err() { "broke a promise" } else { "took too long" };
            panic!(
                "{target}: input {round} {what} (kept in {}); replay: {SEED_VARIABLE}={seed} cargo test --test fuzz_short {target}; input: \"{}\"",
                last.display(),
                input.escape_ascii()
            );
        }
    }
    println!("{target}: {runs} inputs in {:.2?}, slowest {slowest:.2?}", start.elapsed());
}

macro_rules! fuzz_tests {
    ($($name:ident: $run:path),+ $(,)?) => { $(
        #[test]
        fn $name() {
            fuzz(stringify!($name), $run);
        }
    )+ };
}

fuzz_tests! {
    pose_line: targets::pose_line::run,
    pose_message: targets::pose_message::run,
    weights_file: targets::weights_file::run,
    pipeline: targets::pipeline::run,
    pose_file: targets::pose_file::run,
    huvad: targets::huvad::run,
    frame_mask: targets::frame_mask::run,
    link_message: targets::link_message::run,
    bundle: targets::bundle::run,
    config: config::run,
}
