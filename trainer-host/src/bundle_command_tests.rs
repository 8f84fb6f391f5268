//! keygen, build, inspect and verify, on weights of our own.

use super::*;
use clap::Parser;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    arguments: BundleArguments,
}

fn command(arguments: &[&str]) -> Result<(), HostError> {
    let arguments = std::iter::once("bundle").chain(arguments.iter().copied());
    run(&Command::try_parse_from(arguments).expect("known arguments").arguments)
}

#[test]
fn a_bundle_is_built_verified_and_refused_with_its_code() {
    let folder = std::env::temp_dir().join(format!("alfred-bundle-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    let path = |name: &str| folder.join(name).to_str().expect("ASCII").to_owned();
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/pretrained/stg_nf_synthetic/weights.safetensors");
    let weights = weights.to_str().expect("ASCII");
    let (key, out) = (path("host.key"), path("gate-7.bundle"));
    command(&["keygen", "--out", &key]).expect("a key");
    assert!(command(&["keygen", "--out", &key]).is_err(), "a key is never overwritten");
    let build = ["build", "--weights", weights, "--key", &key, "--camera", "gate", "--revision", "7", "--out", &out];
    command(&build).expect("valid weights");
    let bytes = fs::read(&out).expect("written");
    assert!(bytes.len() <= 4096, "{} bytes", bytes.len());
    command(&["inspect", &out, "--json"]).expect("a bundle");
    let trust = read_key(Path::new(&key)).expect("a key").public().to_string();
    let verify = |file: &str, more: &[&str]| {
        let arguments: Vec<&str> = ["verify", file, "--trust", &trust, "--camera", "gate"].iter().chain(more).copied().collect();
        command(&arguments).map_err(|error| error.to_string())
    };
    verify(&out, &[]).expect("valid");
    assert!(verify(&out, &["--confirmed", "7"]).expect_err("old").contains("BundleDowngrade (107)"));
    assert!(verify(&out, &["--fingerprint", "00000000000000ff"]).expect_err("other windows").contains("BundleFingerprint (108)"));
    assert!(verify(&out, &["--fingerprint", "+f"]).expect_err("no number").contains("--fingerprint"));
    fs::write(path("cut"), &bytes[..900]).expect("writable");
    assert!(verify(&path("cut"), &[]).expect_err("cut").contains("BundleTruncated (100)"));
    let mut changed = bytes.clone();
    changed[300] ^= 1;
    fs::write(path("changed"), changed).expect("writable");
    assert!(verify(&path("changed"), &[]).expect_err("changed").contains("BundleSignature (103)"));
    assert!(command(&["inspect", weights]).expect_err("no bundle").to_string().contains("BundleNotABundle (102)"));
    let _ = fs::remove_dir_all(&folder);
}
