//! Published layouts in folders made up here: what is found, with which mask, and what is refused.

use super::layout::{ClipFiles, Split, clips, clips_of, domains};
use super::published_layout::Published;
use super::sound::sound_clips;
use super::{alphapose, layout};
use std::fs;
use std::path::{Path, PathBuf};

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("alfred-layout-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, bytes).expect("writes");
    }

    fn mask(&self, path: &str, mask: &[u8]) {
        self.put(path, b"");
        layout::write_mask(&self.0.join(path), mask.to_vec()).expect("writes");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Frame 3, person 1, key-points at zero, as a pickle of lists.
fn pickle() -> Vec<u8> {
    let rows = b"](K\x00K\x00K\x00e".repeat(17);
    [b"\x80\x04}K\x03}K\x01](](K\x00K\x00K\x01K\x01e](".as_slice(), &rows, b"eess."].concat()
}

fn json() -> Vec<u8> {
    let zeros = vec!["0"; 51].join(",");
    format!(r#"{{"1": {{"3": {{"keypoints": [{zeros}], "scores": 1}}}}}}"#).into_bytes()
}

/// Names, keys and masks below the data set.
fn shown(data: &Path, clips: &[ClipFiles]) -> Vec<(String, String, String)> {
    let below = |path: &Path| path.strip_prefix(data).expect("below").to_string_lossy().replace('\\', "/");
    clips.iter().map(|clip| (clip.name.clone(), clip.key.clone(), clip.mask.as_deref().map(below).unwrap_or_default())).collect()
}

fn row(name: &str, key: &str, mask: &str) -> (String, String, String) {
    (name.into(), key.into(), mask.into())
}

#[test]
fn shanghaitech_is_recognised_and_only_test_clips_have_masks() {
    let data = Folder::new("shanghaitech");
    data.put("pose/train/01_001_alphapose_tracked_person.json", &json());
    data.put("pose/test/01_0014_alphapose_tracked_person.json", &json());
    data.put("pose/test/02_0128_alphapose_tracked_person.json", &json());
    data.put("pose/test/notes.txt", b"");
    data.mask("gt/test_frame_mask/01_0014.npy", &[0, 1]);
    assert_eq!(Published::recognise(&data.0).expect("readable"), Some(Published::ShanghaiTech));
    let test = clips(&data.0, Split::Test).expect("clips");
    let wanted = [row("01_0014", "pose/test/01_0014", "gt/test_frame_mask/01_0014.npy"), row("02_0128", "pose/test/02_0128", "")];
    assert_eq!(shown(&data.0, &test), wanted);
    assert_eq!(shown(&data.0, &clips(&data.0, Split::Train).expect("clips")), [row("01_001", "pose/train/01_001", "")]);
    assert_eq!(clips_of(&data.0, Some("02"), Split::Test).expect("clips").len(), 1);
    let message = clips_of(&data.0, Some("12"), Split::Test).expect_err("refused").to_string();
    assert!(message.contains("no camera \"12\" in split test: name one of 01, 02"), "{message}");
    assert_eq!(domains(&data.0).expect("names"), ["01", "02"]);
}

#[test]
fn huvad_is_recognised_with_slices_and_labels_beside_or_apart() {
    let data = Folder::new("huvad");
    for path in ["train/slice0/C0_1", "train/slice1/C0_2", "train/slice0/CSC_1", "test/C0_9", "test/C0_10"] {
        data.put(&format!("{path}.pkl"), &pickle());
    }
    data.mask("train/slice0/C0_1.npy", &[0]);
    data.mask("labels/train/C0_2.npy", &[0]);
    data.mask("gt_test/C0_9.npy", &[1]);
    assert_eq!(Published::recognise(&data.0).expect("readable"), Some(Published::Huvad));
    let wanted = [
        row("C0_1", "train/slice0/C0_1", "train/slice0/C0_1.npy"),
        row("C0_2", "train/slice1/C0_2", "labels/train/C0_2.npy"),
        row("CSC_1", "train/slice0/CSC_1", ""),
    ];
    assert_eq!(shown(&data.0, &clips(&data.0, Split::Train).expect("clips")), wanted);
    assert_eq!(shown(&data.0, &clips_of(&data.0, Some("CSC"), Split::Train).expect("clips")), wanted[2..]);
    let test = clips_of(&data.0, Some("C0"), Split::Test).expect("clips");
    assert_eq!(shown(&data.0, &test), [row("C0_10", "test/C0_10", ""), row("C0_9", "test/C0_9", "gt_test/C0_9.npy")]);
    assert_eq!(domains(&data.0).expect("names"), ["C0", "CSC"]);
    let tracks = alphapose::read(&test[0].poses).expect("tracks");
    assert_eq!(tracks[&1].iter().map(|(frame, _)| frame.0).collect::<Vec<_>>(), [3]);
}

#[test]
fn of_labels_with_one_name_the_nearest_counts_and_equals_are_refused() {
    let data = Folder::new("labels");
    data.put("train/C0_1.pkl", &pickle());
    data.put("test/C0_1.pkl", &pickle());
    data.mask("label/train/C0_1.npy", &[0]);
    data.mask("label/test/C0_1.npy", &[1]);
    assert_eq!(shown(&data.0, &clips(&data.0, Split::Test).expect("clips"))[0].2, "label/test/C0_1.npy");
    assert_eq!(shown(&data.0, &clips(&data.0, Split::Train).expect("clips"))[0].2, "label/train/C0_1.npy");
    data.mask("gt/test/C0_1.npy", &[0]);
    let message = clips(&data.0, Split::Test).expect_err("refused").to_string();
    assert!(message.contains("two files could be its labels"), "{message}");
}

#[test]
fn a_folder_with_both_splits_is_refused() {
    let data = Folder::new("both");
    data.put("conventional/train/C0_1.pkl", &pickle());
    data.put("continual/train/slice0/C0_1.pkl", &pickle());
    let message = clips(&data.0, Split::Train).expect_err("refused").to_string();
    assert!(message.contains("clip C0_1 is there twice") && message.contains("give the folder of one split"), "{message}");
    assert_eq!(clips(&data.0.join("continual"), Split::Train).expect("clips").len(), 1);
    let message = clips(&data.0.join("continual"), Split::Test).expect_err("refused").to_string();
    assert!(message.contains("no clip of split test"), "{message}");
}

#[test]
fn bad_clips_are_left_out_and_counted_or_end_it() {
    let data = Folder::new("bad");
    data.put("test/C0_1.pkl", &pickle());
    data.put("test/C0_2.pkl", b"\x80\x04cos\nsystem\n.");
    data.put("test/C0_3.pkl", &pickle());
    data.put("test/C0_3.npy", b"no mask");
    let files = clips(&data.0, Split::Test).expect("clips");
    let sound = sound_clips(files.clone(), false).expect("one is left");
    assert_eq!((sound.clips.as_slice(), sound.skipped), (&files[..1], 2));
    let message = sound_clips(files.clone(), true).expect_err("strict").to_string();
    assert!(message.contains("C0_2.pkl") && message.contains("it names os.system, which is refused"), "{message}");
    assert!(sound_clips(files[1..].to_vec(), false).is_err(), "nothing is left");
    assert_eq!(sound_clips(Vec::new(), true).expect("nothing is wrong").skipped, 0);
}
