//! HuVAD's pickles: files that Python and numpy wrote (`make.py`), sound, hostile and wrong ones, and their mutations.

use alfred_clips::huvad::{camera, clip_name, parse, read, read_poses};
use alfred_clips::pose_file::Clip;
use alfred_core::limits::PERSONS_MAX;
use alfred_core::pose::{KeyPoint, PersonPose};
use alfred_core::units::PersonId;
use proptest::prelude::*;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/huvad/files")
}

fn files(is_wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).expect("the committed files");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| is_wanted(&clip_name(path)));
    paths.sort();
    paths
}

fn is_sound(name: &str) -> bool {
    !name.starts_with("hostile") && !name.starts_with("wrong")
}

/// `make.py`'s formula.
fn expected(frame: u64, person: u32, confidence: f32) -> PersonPose {
    let mut pose = PersonPose { id: PersonId(person), score: 1.0, ..PersonPose::EMPTY };
    for (k, keypoint) in pose.keypoints.iter_mut().enumerate() {
        let place = k as f32;
        *keypoint = KeyPoint { x: 10.0 * place + frame as f32, y: 5.0 * place + person as f32, confidence: (k % 4) as f32 * confidence };
    }
    pose
}

#[test]
fn every_way_of_writing_the_same_poses_gives_the_same_frames() {
    let files = files(is_sound);
    assert!(files.len() >= 24, "{} files", files.len());
    for path in files {
        let clip = read(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(clip.name, clip_name(&path));
        assert_eq!((clip.length(), clip.persons_over_limit), (11, 0), "{}", clip.name);
        let confidence = if clip.name.starts_with("int64") { 1.0 } else { 0.25 };
        let found: Vec<(u64, PersonPose)> =
            clip.frames.iter().flat_map(|frame| frame.persons.iter().map(|person| (frame.frame.0, *person))).collect();
        let wanted = [(3, 1), (3, 7), (10, 1), (10, 7)].map(|(frame, person)| (frame, expected(frame, person, confidence)));
        assert_eq!(found, wanted, "{}", clip.name);
        assert_eq!(read_poses(&path).expect("read before").poses, wanted, "{}", clip.name);
    }
}

#[test]
fn files_that_name_anything_else_are_refused_where_they_name_it() {
    let named = [
        ("hostile_system_protocol2", "posix.system"),
        ("hostile_system_protocol4", "posix.system"),
        ("hostile_system_protocol5", "posix.system"),
        ("hostile_eval_protocol4", "builtins.eval"),
        ("hostile_popen_protocol4", "subprocess.Popen"),
        ("hostile_getattr_protocol4", "builtins.getattr"),
        ("hostile_load_protocol4", "numpy.load"),
        ("hostile_named_protocol4", "posix.system"),
        ("wrong_date_protocol4", "datetime.date"),
    ];
    assert_eq!(files(|name| name.starts_with("hostile")).len(), named.len() - 1, "a hostile file is not listed");
    for (file, name) in named {
        let path = folder().join(file).with_extension("pkl");
        let message = read(&path).expect_err("refused").to_string();
        assert!(message.contains(&format!("{file}.pkl: byte ")), "{message}");
        assert!(message.contains(&format!("it names {name}, which is refused: save only numbers")), "{message}");
    }
}

#[test]
fn what_is_not_read_is_named_with_its_place() {
    let cases = [
        ("wrong_objects_protocol4", "numpy type O8"),
        ("wrong_big_endian_protocol4", "big-endian"),
        ("wrong_half_protocol4", "numpy type f2"),
        ("wrong_count_protocol4", "frame 3, person 1: 18 key-points, 17 are needed"),
        ("wrong_protocol0", "instruction 0x70, which such files do not need: save it with pickle.dump"),
    ];
    for (file, part) in cases {
        let message = read(&folder().join(file).with_extension("pkl")).expect_err("refused").to_string();
        assert!(message.contains(part), "{message}");
    }
}

/// A pickle under construction, protocol 4.
#[derive(Clone)]
struct Writer(Vec<u8>);

impl Writer {
    fn new() -> Self {
        Self(vec![0x80, 4])
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn integer(self, value: i64) -> Self {
        self.raw(&[0x8a, 8]).raw(&value.to_le_bytes())
    }

    fn text(self, text: &str) -> Self {
        self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
    }

    fn float(self, value: f64) -> Self {
        self.raw(b"G").raw(&value.to_be_bytes())
    }

    /// `[bbox, keypoints]` as lists.
    fn entry(self, rows: &[[f64; 3]]) -> Self {
        // `[[], [...]]`: the bounding box is not looked at.
        let writer = self.raw(b"](]](");
        let writer =
            rows.iter().fold(writer, |writer, row| row.iter().fold(writer.raw(b"]("), |writer, value| writer.float(*value)).raw(b"e"));
        writer.raw(b"ee")
    }

    fn end(self) -> Vec<u8> {
        self.raw(b".").0
    }
}

/// `{frame: {person: entry}}` with keys and entry as given.
fn one(frame: impl Fn(Writer) -> Writer, person: impl Fn(Writer) -> Writer, entry: impl Fn(Writer) -> Writer) -> Result<Clip, String> {
    let writer = person(frame(Writer::new().raw(b"}")).raw(b"}"));
    parse(&entry(writer).raw(b"ss").end(), "C0_1".into())
}

#[test]
fn errors_name_frame_person_and_mend() {
    let number = |number| move |writer: Writer| writer.integer(number);
    let text = |text| move |writer: Writer| writer.text(text);
    let sound = |writer: Writer| writer.entry(&[[1.0, 2.0, 0.5]; 17]);
    assert_eq!(one(number(5), number(2), sound).map(|clip| clip.length()), Ok(6));
    let cases = [
        (one(number(-1), number(2), sound), "frame -1: a whole number"),
        (one(text("five"), number(2), sound), "frame \"five\": a whole number"),
        (one(|writer| writer.raw(b")"), number(2), sound), "frame that is neither number nor text"),
        (one(number(10_000_000), number(2), sound), "frame 10000000: at most 10000000 frames are read"),
        (one(number(5), number(1 << 32), sound), "frame 5, person 4294967296: a whole number below 2^32"),
        (one(number(5), text("a\nb"), sound), "frame 5, person \"a b\""),
        (one(number(5), |writer| writer.float(1.5), sound), "frame 5, person 1.5"),
        (one(number(5), number(2), |writer| writer.raw(b"N")), "frame 5, person 2: no list [bbox, keypoints]"),
        (one(number(5), number(2), |writer| writer.raw(b"(NNNt")), "3 entries in its list, two are needed"),
        (one(number(5), number(2), |writer| writer.raw(b"NN\x86")), "neither a list nor a numpy array"),
        (one(number(5), number(2), |writer| writer.entry(&[[1.0; 3]; 16])), "frame 5, person 2: 16 key-points, 17 are needed"),
        (one(number(5), number(2), |writer| writer.entry(&[[1.0, f64::NAN, 1.0]; 17])), "key-point 0 is not finite: write 0, 0, 0"),
        (one(number(5), number(2), |writer| writer.entry(&[[1e300, 1.0, 1.0]; 17])), "key-point 0 is not finite"),
        (one(number(5), number(2), |writer| writer.raw(b"N]]").raw(&[b'2'; 16]).raw(b"N")), "an instruction finds"),
        (
            one(number(5), |writer| writer.integer(2).entry(&[[1.0; 3]; 17]).raw(b"s").text("2"), sound),
            "person 2, frame 5: there are two poses",
        ),
        (parse(b"", String::new()), "the file is empty"),
        (parse(b"\x80\x04N.", String::new()), "no dictionary"),
        (parse(&Writer::new().raw(b"}").integer(3).raw(b"Ns").end(), String::new()), "frame 3: no dictionary {person"),
        (parse(&Writer::new().raw(b"ctorch\nFloatStorage\n.").0, String::new()), "torch.FloatStorage, which is refused"),
        (parse(&Writer::new().raw(b"NQ.").0, String::new()), "instruction 0x51"),
        (parse(b"PK\x03\x04", String::new()), "instruction 0x50"),
    ];
    for (result, part) in cases {
        let message = result.expect_err(part);
        assert!(message.contains(part) && !message.contains('\n'), "{message:?} should name {part:?}");
    }
    let message = read(Path::new("nowhere.pkl")).expect_err("refused").to_string();
    assert!(message.starts_with("nowhere.pkl: "), "{message}");
}

#[test]
fn persons_beyond_a_frames_room_are_left_out_and_counted() {
    let mut writer = Writer::new().raw(b"}").integer(4).raw(b"}(").integer(0).entry(&[[1.0; 3]; 17]).raw(b"\x94");
    for person in 1..=PERSONS_MAX as i64 {
        writer = writer.integer(person).raw(b"h\0");
    }
    let clip = parse(&writer.raw(b"us").end(), String::new()).expect("reads");
    assert_eq!((clip.frames[0].persons.len(), clip.persons_over_limit), (PERSONS_MAX, 1));
}

#[test]
fn names_give_clip_and_camera() {
    assert_eq!(clip_name(Path::new("train/CSC_0012.pkl")), "CSC_0012");
    assert_eq!((camera("CSC_0012"), camera("C0_1_2"), camera("alone")), ("CSC", "C0", "alone"));
}

/// What must hold whatever the bytes.
fn check(bytes: &[u8]) {
    match parse(bytes, String::new()) {
        Err(what) => assert!(!what.is_empty() && !what.contains('\n'), "{what:?} is not one line"),
        Ok(clip) => {
            assert!(clip.frames.is_sorted_by(|a, b| a.frame < b.frame));
            let mut keypoints = clip.frames.iter().flat_map(|frame| &frame.persons).flat_map(|person| &person.keypoints);
            assert!(keypoints.all(KeyPoint::is_finite));
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes);
        check(&[&[0x80, 4], bytes.as_slice()].concat());
    }

    #[test]
    fn changed_and_cut_files_are_read_or_refused(
        file in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let files = files(|_| true);
        let mut bytes = std::fs::read(file.get(&files)).expect("a committed file");
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        check(&bytes);
    }

    #[test]
    fn numbers_come_out_as_they_went_in(
        frame in 0_i64..10_000_000,
        person in 0_i64..1 << 32,
        rows in proptest::array::uniform17(proptest::array::uniform3(-1e6_f32..1e6)),
    ) {
        let wide = rows.map(|row| row.map(f64::from));
        let clip = one(|writer| writer.integer(frame), |writer| writer.text(&person.to_string()), |writer| writer.entry(&wide)).expect("reads");
        let found = &clip.frames[0].persons[0];
        prop_assert_eq!((clip.frames[0].frame.0, found.id.0), (frame as u64, person as u32));
        prop_assert_eq!(found.keypoints.map(|k| [k.x, k.y, k.confidence]), rows);
    }
}
