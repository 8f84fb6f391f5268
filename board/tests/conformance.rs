//! Every board passes the one suite: Jetson boards and any Linux on made-up trees of their files, the simulated board as it is.

use alfred_board::conformance::{self, Check, Outcome};
use alfred_board::counting_allocator::CountingAllocator;
use alfred_board::facts::Facts;
use alfred_board::fake_tree::FakeTree;
use alfred_board::file_storage::FileStorage;
use alfred_board::hal::{AlarmTarget, Board, MilliCelsius, MilliWatts, SensorFault};
use alfred_board::select::{AUTO, select};
use alfred_board::sim::SimSettings;
use alfred_board::sim_storage::{CutStorage, FullStorage, MemoryStorage};
use std::fs;
use std::os::unix::net::UnixDatagram;

/// So that a part that allocates where it must not is caught.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator(std::alloc::System);

fn board(name: &str, tree: &FakeTree) -> Box<dyn Board> {
    let sim = SimSettings { watchdog_ms: 1000, ..SimSettings::default() };
    select(name, tree.root(), &sim).expect("a known board")
}

fn outcome<'c>(checks: &'c [Check], part: &str) -> &'c Outcome {
    &checks.iter().find(|check| check.part == part).expect("every part is asked").outcome
}

#[test]
fn every_board_passes_the_suite() {
    for facts in Facts::all() {
        let tree = FakeTree::of_board(&facts.name).expect("a tree");
        tree.write("/sys/class/gpio/gpio79/value", "0\n").expect("a line");
        let board = board(&facts.name, &tree);
        let checks = conformance::run(board.as_ref(), Some(&AlarmTarget::Line("/sys/class/gpio/gpio79/value".into())));
        for check in &checks {
            println!("{}: {}: {:?}", facts.name, check.part, check.outcome);
            assert!(!matches!(check.outcome, Outcome::Broken(_)), "{}: {check:?}", facts.name);
        }
        let has = |part| matches!(outcome(&checks, part), Outcome::Holds(_));
        let is_sim = facts.name == "sim";
        assert!(["facts", "clock", "memory", "identity", "thermal", "alarm output"].into_iter().all(has), "{}", facts.name);
        assert_eq!((has("pose source"), has("watchdog")), (is_sim, is_sim), "{}", facts.name);
        assert_eq!(has("power"), facts.name != "generic-linux", "{}", facts.name);
    }
}

#[test]
fn a_board_without_anything_is_a_board() {
    let tree = FakeTree::new().expect("a tree");
    for facts in Facts::all().iter().filter(|facts| facts.name != "sim") {
        let board = board(&facts.name, &tree);
        let checks = conformance::run(board.as_ref(), Some(&AlarmTarget::Line("/nothing".into())));
        assert!(!checks.iter().any(|check| matches!(check.outcome, Outcome::Broken(_))), "{checks:?}");
        for part in ["identity", "thermal", "power", "alarm output"] {
            assert!(matches!(outcome(&checks, part), Outcome::Absent(_)), "{}: {part}", facts.name);
        }
    }
}

#[test]
fn auto_finds_the_board_that_the_device_tree_names() {
    for facts in Facts::all() {
        let tree = FakeTree::of_board(&facts.name).expect("a tree");
        let expected = if facts.name == "sim" { "generic-linux" } else { &facts.name };
        assert_eq!(board(AUTO, &tree).facts().name, expected);
    }
    // Where the module has no entry of its own, the model's name decides.
    let tree = FakeTree::new().expect("a tree");
    tree.device_tree("Somebody's carrier with NVIDIA Jetson Orin NX", &["vendor,carrier", "nvidia,tegra234"]).expect("written");
    assert_eq!(board(AUTO, &tree).facts().name, "jetson-orin-nx");
    let error = select("toaster", tree.root(), &SimSettings::default()).map(|_| ()).expect_err("no board").to_string();
    assert!(error.contains("toaster") && error.contains("jetson-nano") && error.contains("auto"), "{error}");
}

#[test]
fn zones_that_are_off_or_talk_nonsense_are_passed_over() {
    let tree = FakeTree::of_board("jetson-orin-nano").expect("a tree");
    let mut thermal = board("jetson-orin-nano", &tree).thermal().expect("zones");
    assert_eq!(thermal.read(), Ok(MilliCelsius(49_031)), "the hottest zone that answers");
    tree.zone(0, "cpu-thermal", "71250\n").expect("written");
    assert_eq!(thermal.read(), Ok(MilliCelsius(71_250)), "it is asked anew");
    tree.zone(8, "tj-thermal", "-256000\n").expect("written");
    assert_eq!(thermal.read(), Ok(MilliCelsius(71_250)), "nonsense of one zone");
    tree.zone(0, "cpu-thermal", "").expect("written");
    assert_eq!(thermal.read(), Err(SensorFault::Implausible), "nothing but nonsense");
    tree.zone(8, "tj-thermal", "").expect("written");
    assert_eq!(thermal.read(), Err(SensorFault::Disabled), "all are off");
}

#[test]
fn the_power_meter_is_found_by_its_label() {
    let expected = [("jetson-orin-nano", 6200), ("jetson-orin-nx", 10_000), ("jetson-xavier-nx", 4000), ("jetson-nano", 2310)];
    for (name, milliwatts) in expected {
        let tree = FakeTree::of_board(name).expect("a tree");
        let mut power = board(name, &tree).power().expect("a meter");
        assert_eq!(power.read(), Ok(MilliWatts(milliwatts)), "{name}");
    }
    let tree = FakeTree::of_board("jetson-orin-nano").expect("a tree");
    tree.hwmon("1-0040", 1, &[("VDD_IN", 5_000_000, 5_000_000)]).expect("written");
    assert_eq!(board("jetson-orin-nano", &tree).power().expect("a meter").read(), Err(SensorFault::Implausible));
    // Without the rail that feeds the board there is no meter: another rail would be a wrong figure.
    let tree = FakeTree::new().expect("a tree");
    tree.hwmon("1-0040", 1, &[("VDD_SOC", 5000, 100)]).expect("written");
    assert_eq!(board("jetson-orin-nano", &tree).power().err(), Some(SensorFault::Absent));
}

#[test]
fn alarms_reach_a_line_and_a_socket_and_a_missing_listener_is_told() {
    let tree = FakeTree::of_board("generic-linux").expect("a tree");
    let board = board("generic-linux", &tree);
    let line = AlarmTarget::Line("/sys/class/leds/alarm/brightness".into());
    assert!(board.alarm_output(&line).is_err(), "there is no LED yet");
    tree.write("/sys/class/leds/alarm/brightness", "1\n").expect("written");
    let mut output = board.alarm_output(&line).expect("an LED");
    let level = || fs::read_to_string(tree.path().join("sys/class/leds/alarm/brightness")).expect("readable");
    assert_eq!(level(), "0\n", "a former life's alarm is over");
    let alarm = alfred_board::hal::Alarm { event: 3, begins: true, lasting: 1, frame: 77, score_max: 2.5 };
    output.tell(&alarm).expect("told");
    assert_eq!(level(), "1\n");
    output.tell(&alfred_board::hal::Alarm { begins: false, ..alarm }).expect("told");
    assert_eq!(level(), "1\n", "another event lasts");
    drop(output);
    assert_eq!(level(), "0\n", "nobody is left to end it");

    let socket = AlarmTarget::Datagram("/alarm.sock".into());
    let mut output = board.alarm_output(&socket).expect("the listener may come later");
    assert!(output.tell(&alarm).is_err());
    let listener = UnixDatagram::bind(tree.path().join("alarm.sock")).expect("bound");
    output.tell(&alarm).expect("told");
    let mut bytes = [0; 256];
    let length = listener.recv(&mut bytes).expect("a datagram");
    let text = String::from_utf8_lossy(&bytes[..length]);
    assert_eq!(text, "{\"alarm\":{\"event\":3,\"type\":\"new\",\"lasting\":1,\"frame\":77,\"score_max\":2.5e0}}\n");
}

#[test]
fn every_storage_passes_the_suite() {
    let tree = FakeTree::new().expect("a folder");
    let mut file = FileStorage::open(&tree.path().join("region"), 65_536).expect("made");
    let mut memory = MemoryStorage::new(65_536);
    let mut cut = CutStorage::new(MemoryStorage::new(65_536), u64::MAX);
    let mut full = FullStorage::new(MemoryStorage::new(65_536), u64::MAX);
    let regions: [&mut dyn alfred_board::hal::Storage; 4] = [&mut file, &mut memory, &mut cut, &mut full];
    for storage in regions {
        let outcome = conformance::storage(storage);
        assert!(matches!(outcome, Outcome::Holds(_)), "{outcome:?}");
    }
}
