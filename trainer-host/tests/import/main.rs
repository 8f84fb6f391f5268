//! Importing checkpoints of others: the published ones bit for bit where they are at hand, and hand-made sound, broken and hostile ones.

mod checkpoint_kit;

use alfred_models::sparta;
use alfred_models::stg_nf::parameters::{StgNfParameters, StgNfShape};
use alfred_models::stg_nf::weights_file;
use alfred_synth::random::Random;
use alfred_trainer_host::import::command::{ImportArchitecture, ImportArguments, run};
use alfred_trainer_host::import::tensors::{Tensor, TensorFile, read_bytes, read_tensors};
use checkpoint_kit::{Named, PickleWriter, View, checkpoint, one_tensor, zip_file};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A folder that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("alfred-import-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn read(bytes: &[u8]) -> Result<TensorFile, String> {
    read_tensors(Path::new("given.pth"), bytes).map_err(|error| error.to_string())
}

fn refusal(bytes: &[u8]) -> String {
    let message = read(bytes).expect_err("refused");
    assert!(!message.contains('\n') && message.starts_with("given.pth: "), "{message:?}");
    message
}

/// Imports bytes by the command; the written file's bytes, or the message.
fn import(name: &str, bytes: &[u8], arch: ImportArchitecture) -> Result<Vec<u8>, String> {
    let scratch = Scratch::new(name);
    let (file, out) = (scratch.0.join("given.pth"), scratch.0.join("out.safetensors"));
    std::fs::write(&file, bytes).expect("writes");
    let result = run(&ImportArguments { file, arch, out: out.clone(), json: false });
    assert_eq!(result.is_ok(), out.exists(), "writes the file or nothing");
    result.map(|()| std::fs::read(out).expect("the written file")).map_err(|error| error.to_string())
}

/// Parameters with a value of its own everywhere, running variances positive.
fn parameters(frames: usize) -> StgNfParameters {
    let mut parameters = StgNfParameters::zero(StgNfShape::new(frames).expect("a length"));
    let mut random = Random::new(5);
    parameters.visit_mut(|tensor| tensor.values.iter_mut().for_each(|value| *value = random.between(0.1, 0.9) as f32));
    parameters
}

/// A model's tensors as a checkpoint has them, prior buffers included.
fn tensors(parameters: &StgNfParameters, prefix: &str) -> Vec<Named> {
    let frames = parameters.shape.frames();
    let plane = 2 * frames * 18;
    let prior = |mean: f32| [vec![mean; plane], vec![0.0; plane]].concat();
    let mut out = vec![
        (format!("{prefix}prior_h"), vec![1, 4, frames, 18], prior(0.0)),
        (format!("{prefix}prior_h_normal"), vec![4, frames, 18], prior(parameters.prior_mean)),
        (format!("{prefix}prior_h_abnormal"), vec![4, frames, 18], prior(-parameters.prior_mean)),
    ];
    let list = parameters.tensors();
    out.extend(list.map(|tensor| (format!("{prefix}{}", tensor.name), tensor.shape.dimensions().to_vec(), tensor.values.to_vec())));
    out
}

#[test]
fn a_checkpoint_becomes_the_same_model_and_the_same_bytes_each_time() {
    for (frames, prefix) in [(24, ""), (16, "module.")] {
        let parameters = parameters(frames);
        let bytes = checkpoint(&tensors(&parameters, prefix), &[("seg_len", frames as i64), ("max_hop", 3), ("seed", -1)]);
        let written = import("sound", &bytes, ImportArchitecture::StgNf).expect("imports");
        assert_eq!(written, import("again", &bytes, ImportArchitecture::StgNf).expect("imports"));
        let weights = weights_file::read(&written).expect("the devices' reader takes it");
        assert_eq!(weights.parameters, parameters);
        assert_eq!((weights.metadata.max_hop, weights.metadata.preprocessing.as_deref()), (3, Some("openpose18-856x480")));
        assert_eq!(weights.metadata.other["source_sha256"].len(), 64);
        // What was written can be imported again.
        let again = import("normalised", &written, ImportArchitecture::StgNf).expect("imports");
        assert_eq!(weights_file::read(&again).expect("reads").parameters, parameters);
    }
}

#[test]
fn arguments_that_contradict_the_tensors_are_named() {
    let tensors = tensors(&parameters(24), "");
    for (key, value, named) in [("seg_len", 16, "seg_len"), ("R", 10, "R"), ("L", 2, "args L = 2"), ("K", 4, "K")] {
        let message = import(key, &checkpoint(&tensors, &[(key, value)]), ImportArchitecture::StgNf).expect_err("refused");
        assert!(message.contains(named), "{message}");
    }
}

#[test]
fn missing_and_unexpected_tensors_are_named_up_to_five() {
    let mut list = tensors(&parameters(24), "");
    list.retain(|(name, ..)| !name.starts_with("flow.layers.3.block.0.residual.1"));
    list.push(("edge_importance.0".into(), vec![1], vec![1.0]));
    let message = import("few", &checkpoint(&list, &[]), ImportArchitecture::StgNf).expect_err("refused");
    assert!(message.contains("missing tensors: flow.layers.3.block.0.residual.1.bias, "), "{message}");
    assert!(message.contains("unexpected tensors: edge_importance.0: "), "{message}");
    list.retain(|(name, ..)| !name.starts_with("flow.layers.4"));
    let message = import("many", &checkpoint(&list, &[]), ImportArchitecture::StgNf).expect_err("refused");
    assert!(message.contains(" and 19 more"), "{message}");
    let message = import("other", &checkpoint(&list, &[]), ImportArchitecture::Sparta).expect_err("refused");
    assert!(message.contains("decoder.layers.0.linear1.bias") && message.contains(" and 115 more"), "{message}");
}

#[test]
fn sparta_is_checked_tensor_by_tensor() {
    let mut list: Vec<Named> = sparta::weights_file::HeapParameters::zero()
        .tensors()
        .map(|tensor| (tensor.name.to_string(), tensor.shape.dimensions().to_vec(), vec![0.5; tensor.values.len()]))
        .collect();
    assert_eq!((list.len(), list.iter().map(|(_, _, values)| values.len()).sum::<usize>()), (120, 329_984));
    let written = import("sparta", &checkpoint(&list, &[("seg_len", 24)]), ImportArchitecture::Sparta).expect("imports");
    let weights = sparta::weights_file::read(&written).expect("the devices' reader takes it");
    assert!(weights.parameters.values().iter().all(|&value| value == 0.5));
    assert_eq!(weights.metadata.preprocessing.as_deref(), Some("openpose18-1280x720"));
    let message = import("length", &checkpoint(&list, &[("seg_len", 30)]), ImportArchitecture::Sparta).expect_err("refused");
    assert!(message.contains("seg_len"), "{message}");
    let message = import("heads", &checkpoint(&list, &[("model_num_heads", 8)]), ImportArchitecture::Sparta).expect_err("refused");
    assert!(message.contains("model_num_heads = 8"), "{message}");
    let place = list.iter().position(|(name, ..)| name == "decoder.layers.0.linear1.weight").expect("in the list");
    list[place].1 = vec![64, 72, 1];
    let message = import("shape", &checkpoint(&list, &[]), ImportArchitecture::Sparta).expect_err("refused");
    assert!(message.contains("tensor decoder.layers.0.linear1.weight has shape [64, 72, 1] instead of [64, 72]"), "{message}");
}

#[test]
fn views_are_gathered_by_their_strides_and_may_not_leave_their_storage() {
    let view = View { storage: "FloatStorage", key: "0", elements: 12, offset: 1, shape: &[2, 3], strides: &[1, 4] };
    let file = read(&one_tensor(&view, 12)).expect("reads");
    assert_eq!(file.tensors["weight"], Tensor { shape: vec![2, 3], values: vec![1.0, 5.0, 9.0, 2.0, 6.0, 10.0] });
    let beyond: [(i64, &[i64], &[i64]); 6] = [
        (3, &[2, 3], &[1, 4]),
        (-1, &[2], &[1]),
        (0, &[2, 3], &[-1, 4]),
        (0, &[i64::MAX, i64::MAX], &[1, 1]),
        (0, &[2, 3], &[i64::MAX, i64::MAX]),
        // No storage is left, but far too many values are claimed.
        (0, &[1 << 40], &[0]),
    ];
    for (offset, shape, strides) in beyond {
        let message = refusal(&one_tensor(&View { offset, shape, strides, ..view }, 12));
        assert!(message.contains("tensor weight") && message.contains("reach beyond"), "{message}");
    }
    let message = refusal(&one_tensor(&View { elements: i64::MAX, ..view }, 12));
    assert!(message.contains("tensor weight"), "{message}");
    let message = refusal(&one_tensor(&View { elements: 13, ..view }, 12));
    assert!(message.contains("archive/data/0: 48 bytes instead of 52"), "{message}");
    let message = refusal(&one_tensor(&View { key: "7", ..view }, 12));
    assert!(message.contains("data/7 is missing"), "{message}");
    let message = refusal(&one_tensor(&View { storage: "HalfStorage", ..view }, 6));
    assert!(message.contains("tensor weight has type float16"), "{message}");
}

#[test]
fn names_that_no_checkpoint_needs_are_refused_where_they_stand() {
    let call = |pickle: PickleWriter| pickle.text("id").raw(b"\x85Rs.");
    let start = || PickleWriter::new().raw(b"}").text("state_dict");
    let stacked = start().raw(b"\x8c\x05posix\x8c\x06system\x93");
    let hostile = [
        ("os.system", call(start().global("os", "system")).0),
        ("posix.system", call(stacked).0),
        ("builtins.eval", call(start().global("builtins", "eval")).0),
        ("torch.load", call(start().global("torch", "load")).0),
        // Never called.
        ("numpy.core.multiarray.scalar", start().global("numpy.core.multiarray", "scalar").raw(b"s.").0),
        ("subprocess.Popen", start().global("subprocess", "Popen").raw(b"0Ns.").0),
    ];
    for (name, pickle) in hostile {
        let message = refusal(&zip_file(&pickle, &[]));
        assert!(message.contains(&format!("names {name}, which is refused")), "{message}");
    }
    // A known name, called with what it does not take.
    let message = refusal(&zip_file(&call(start().global("argparse", "Namespace")).0, &[]));
    assert!(message.contains("another kind"), "{message}");
}

#[test]
fn pickles_that_ask_for_too_much_end_early() {
    let bombs: [(&str, Vec<u8>); 5] = [
        ("ends early", PickleWriter::new().raw(b"X\xff\xff\xff\xff").0),
        ("ends early", PickleWriter::new().raw(&[0x8d, 255, 255, 255, 255, 255, 255, 255, 255]).0),
        ("nested collections", PickleWriter::new().raw(&[b'('; 1000]).0),
        ("instructions", PickleWriter::new().raw(&vec![b'N'; 2_000_000]).0),
        ("instruction 0x46", PickleWriter::new().raw(b"F1.5\n.").0),
    ];
    for (what, pickle) in bombs {
        let message = refusal(&zip_file(&pickle, &[]));
        assert!(message.contains(what), "{message}");
    }
    // A list of ten of the list before, nine times over, and a list that holds itself: numbers only, so nothing grows.
    let mut laughs = PickleWriter::new().raw(b"]q\x00");
    for level in 0..9 {
        laughs = laughs.raw(b"(").raw(&[b'h', level].repeat(10)).raw(b"lq").raw(&[level + 1]);
    }
    let message = refusal(&zip_file(&laughs.raw(b"]q\x20h\x20a.").0, &[]));
    assert!(message.contains("no tensor under state_dict"), "{message}");
}

#[test]
fn files_of_other_kinds_are_named() {
    assert!(refusal(b"").contains("neither a zip file nor safetensors"));
    assert!(refusal(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.").contains("PyTorch before 1.6"));
    assert!(refusal(b"PK\x03\x04").contains("zip file"));
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("readme.txt", zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored))
        .expect("entry");
    zip.write_all(b"hello").expect("bytes");
    assert!(refusal(&zip.finish().expect("zip").into_inner()).contains("no data.pkl"));
    let message = run(&ImportArguments {
        file: "nowhere.tar".into(),
        arch: ImportArchitecture::StgNf,
        out: std::env::temp_dir().join("alfred-import-nothing.safetensors"),
        json: false,
    });
    assert!(message.expect_err("refused").to_string().starts_with("nowhere.tar: "));
}

#[test]
fn cut_and_altered_files_give_an_error_or_tensors_but_never_a_panic() {
    let sound = checkpoint(&tensors(&parameters(4), ""), &[("seg_len", 4)]);
    for end in (0..sound.len()).step_by(97) {
        assert!(read(&sound[..end]).is_err(), "cut at {end}");
    }
    // The pickle alone, so that alterations are not all caught by the zip file's checksum.
    let pickle_of = |bytes: &[u8]| {
        let mut zip = zip::ZipArchive::new(std::io::Cursor::new(bytes)).expect("zip");
        let mut pickle = Vec::new();
        std::io::Read::read_to_end(&mut zip.by_name("archive/data.pkl").expect("entry"), &mut pickle).expect("bytes");
        pickle
    };
    let pickle = pickle_of(&sound);
    for seed in 0..4000 {
        let mut random = Random::new(seed);
        let (mut file, mut inner) = (sound.clone(), pickle.clone());
        for _ in 0..1 + random.below(4) {
            let (place, bits) = (random.below(file.len()), random.bits() as u8);
            file[place] = bits;
            let place = random.below(inner.len());
            inner[place] = random.bits() as u8;
        }
        // Replay: the seed above.
        let _ = read(&file);
        let _ = read(&zip_file(&inner, &[("0", &[0; 8]), ("1", &[0; 8])]));
    }
}

/// The folder that holds golden/, if it is here.
fn golden() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let folder = std::env::var_os("ALFRED_SHARED").map_or_else(beside, PathBuf::from).join("golden");
    if folder.is_dir() {
        return Some(folder);
    }
    let _ = writeln!(
        std::io::stderr().lock(),
        "SKIPPED: no golden checkpoints at {}: imports of published files are NOT tested",
        folder.display()
    );
    None
}

#[test]
fn published_checkpoints_come_out_bit_for_bit() {
    let Some(golden) = golden() else { return };
    let cases = [
        ("ShanghaiTech_85_9.tar", "stgnf_shanghaitech", ImportArchitecture::StgNf),
        ("UBnormal_unsupervised_71_8.tar", "stgnf_ubnormal_unsup", ImportArchitecture::StgNf),
        ("SPARTA_SHT_FTD.pth.tar", "sparta_ftd_sht", ImportArchitecture::Sparta),
    ];
    for (file, expected, arch) in cases {
        let bytes = read_bytes(&golden.join("checkpoints").join(file)).expect("reads");
        let expected_bytes = read_bytes(&golden.join(format!("weights/{expected}.safetensors"))).expect("reads");
        let expected = read(&expected_bytes).expect("golden weights");
        // The raw reader finds the very same tensors, prior buffers included.
        let bits = |tensor: &Tensor| (tensor.shape.clone(), tensor.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
        let found = read(&bytes).expect("a published checkpoint");
        assert!(found.tensors.keys().eq(expected.tensors.keys()), "{file}");
        assert!(found.tensors.iter().all(|(name, tensor)| bits(tensor) == bits(&expected.tensors[name])), "{file}");
        // And so does the command's file.
        let written = read(&import(file, &bytes, arch).expect("imports")).expect("reads");
        assert!(written.tensors.iter().all(|(name, tensor)| bits(tensor) == bits(&expected.tensors[name])), "{file}");
        let priors = expected.tensors.keys().filter(|name| name.starts_with("prior_h")).count();
        assert_eq!(written.tensors.len() + priors, expected.tensors.len(), "{file}");
        if arch == ImportArchitecture::StgNf {
            let one = weights_file::read(&import(file, &bytes, arch).expect("imports")).expect("ours");
            assert_eq!(one.parameters, weights_file::read(&expected_bytes).expect("golden").parameters, "{file}");
        }
    }
}
