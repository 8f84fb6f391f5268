//! The device's data path links without an allocator, and the same build fails once anything names `alloc`.

use std::env;
use std::path::Path;
use std::process::{Command, Output};

/// What rustc says when a program without `#[global_allocator]` names `alloc`.
const NO_ALLOCATOR: &str = "no global memory allocator found";

/// Builds `tests/no_alloc_proof` with the toolchain that runs this test. Its lock file names versions that the workspace has fetched
/// already (`tidy.rs` checks that), so that this works without a network.
fn build(features: &[&str]) -> Output {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/no_alloc_proof");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_alloc_proof");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--locked", "--color", "never", "--target-dir"]).arg(target).args(features).current_dir(package);
    // A build for another target or with instrumentation is no concern of the proof, and would break its `panic = "abort"`.
    for variable in ["CARGO_BUILD_TARGET", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "CLIPPY_ARGS"] {
        command.env_remove(variable);
    }
    command.output().unwrap_or_else(|error| panic!("cargo cannot be started: {error}"))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_data_path_links_without_an_allocator_and_the_proof_can_fail() {
    let proof = build(&[]);
    assert!(proof.status.success(), "something on the device's data path needs a heap:\n{}", text(&proof));
    let control = build(&["--features", "must_fail"]);
    assert!(!control.status.success(), "naming alloc did not break the build: the proof proves nothing");
    assert!(text(&control).contains(NO_ALLOCATOR), "the control failed for another reason:\n{}", text(&control));
}
