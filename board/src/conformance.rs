//! What every board must pass: run by the tests on made-up trees, and by `alfred-edge self-test --board NAME` on a real one.
//!
//! A part that a board does not have is told and is no fault. What a part does is held against the contracts of [`crate::hal`].

use crate::counting_allocator::thread_allocations;
use crate::hal::{Alarm, AlarmFault, AlarmTarget, Arrival, Board, IDENTITY_TEXT_BYTES_MAX, MilliCelsius, MilliWatts, SensorFault, Storage};
use alfred_core::pose::PoseFrame;
use alfred_core::units::{FrameIndex, MonotonicNs};
use std::io::ErrorKind;

/// Readings of the clock, frames of the source.
const ROUNDS: usize = 1000;

/// What became of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The contract is kept; what was seen.
    Holds(String),
    /// The board has no such part, or it is switched off.
    Absent(String),
    /// The contract is broken.
    Broken(String),
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The part.
    pub part: &'static str,
    /// What became of it.
    pub outcome: Outcome,
}

/// Asks every part of a board. `alarm`: an output that may be switched on and off for the test; `None`: none is touched.
#[must_use]
pub fn run(board: &dyn Board, alarm: Option<&AlarmTarget>) -> Vec<Check> {
    let check = |part, outcome| Check { part, outcome };
    vec![
        check("facts", facts(board)),
        check("identity", identity(board)),
        check("clock", clock(board)),
        check("memory", memory(board)),
        check("thermal", thermal(board)),
        check("power", power(board)),
        check("watchdog", watchdog(board)),
        check("alarm output", alarm.map_or_else(|| Outcome::Absent("not touched".into()), |target| alarm_output(board, target))),
        check("pose source", pose_source(board)),
    ]
}

fn facts(board: &dyn Board) -> Outcome {
    let facts = board.facts();
    match facts.complaint() {
        Some(complaint) => Outcome::Broken(complaint.into()),
        None => Outcome::Holds(format!("{}, {:?}", facts.name, facts.tier)),
    }
}

fn identity(board: &dyn Board) -> Outcome {
    let identity = board.identity();
    let texts = [&identity.model, &identity.serial];
    let is_bad = |text: &String| text.is_empty() || text.len() > IDENTITY_TEXT_BYTES_MAX || text.chars().any(char::is_control);
    if texts.iter().any(|text| text.as_ref().is_some_and(is_bad)) {
        return Outcome::Broken(format!("{identity:?}"));
    }
    match (identity.model, identity.serial) {
        (None, None) => Outcome::Absent("neither model nor serial number".into()),
        (model, serial) => Outcome::Holds(format!(
            "model {}, serial number {}",
            model.as_deref().unwrap_or("unknown"),
            if serial.is_some() { "known" } else { "unknown" }
        )),
    }
}

fn clock(board: &dyn Board) -> Outcome {
    let (clock, same) = (board.clock(), board.clock());
    let mut last = clock.now();
    for _ in 0..ROUNDS {
        let now = same.now().min(clock.now());
        if now < last {
            return Outcome::Broken(format!("{} ns after {} ns", now.0, last.0));
        }
        last = now;
    }
    if last.0 == 0 {
        Outcome::Broken("it stands at zero, which means that no time is known".into())
    } else {
        Outcome::Holds("it never runs backwards".into())
    }
}

fn memory(board: &dyn Board) -> Outcome {
    let mut memory = board.memory();
    let _ = memory.resident_bytes();
    let before = thread_allocations();
    match memory.resident_bytes() {
        _ if thread_allocations() != before => Outcome::Broken("it allocates".into()),
        None => Outcome::Absent("not known".into()),
        Some(0) => Outcome::Broken("nothing is resident".into()),
        Some(bytes) => Outcome::Holds(format!("{bytes} bytes resident")),
    }
}

/// Reads a sensor twice: the second time nothing may be allocated.
fn sensor<T: PartialOrd>(mut read: impl FnMut() -> Result<T, SensorFault>, text: impl Fn(&T) -> Option<String>) -> Outcome {
    let _ = read();
    let before = thread_allocations();
    let reading = read();
    if thread_allocations() != before {
        return Outcome::Broken("it allocates".into());
    }
    match reading {
        Err(fault @ (SensorFault::Absent | SensorFault::Disabled)) => Outcome::Absent(fault.to_string()),
        Err(fault @ SensorFault::Implausible) => Outcome::Broken(fault.to_string()),
        Ok(value) => text(&value).map_or_else(|| Outcome::Broken("out of range".into()), Outcome::Holds),
    }
}

fn thermal(board: &dyn Board) -> Outcome {
    match board.thermal() {
        Err(fault) => Outcome::Absent(fault.to_string()),
        Ok(mut thermal) => sensor(
            || thermal.read(),
            |value| (MilliCelsius::MIN..=MilliCelsius::MAX).contains(value).then(|| format!("{} thousandths of a degree", value.0)),
        ),
    }
}

fn power(board: &dyn Board) -> Outcome {
    match board.power() {
        Err(fault) => Outcome::Absent(fault.to_string()),
        Ok(mut power) => sensor(|| power.read(), |value| (*value <= MilliWatts::MAX).then(|| format!("{} mW", value.0))),
    }
}

/// Whether it can be reached; it is neither started nor kicked, since that would bind whoever runs the test.
fn watchdog(board: &dyn Board) -> Outcome {
    match board.watchdog() {
        None => Outcome::Absent("nobody asks for kicks".into()),
        Some(watchdog) => match watchdog.period() {
            Some(period) if period.is_zero() => Outcome::Broken("a period of zero cannot be kept".into()),
            Some(period) => Outcome::Holds(format!("every {} ms", period.as_millis())),
            None => Outcome::Holds("it wants to know of start and end only".into()),
        },
    }
}

fn alarm_output(board: &dyn Board, target: &AlarmTarget) -> Outcome {
    let mut output = match board.alarm_output(target) {
        Err(AlarmFault::Nobody) => return Outcome::Absent(AlarmFault::Nobody.to_string()),
        Err(fault) => return Outcome::Broken(fault.to_string()),
        Ok(output) => output,
    };
    let begin = Alarm { event: 0, begins: true, lasting: 1, frame: 10, score_max: 1.5 };
    let before = thread_allocations();
    let told = [begin, Alarm { begins: false, lasting: 0, frame: 40, ..begin }].map(|alarm| output.tell(&alarm));
    if thread_allocations() != before {
        return Outcome::Broken("it allocates".into());
    }
    match told {
        [Ok(()), Ok(())] => Outcome::Holds("on and off".into()),
        [Err(AlarmFault::Nobody), _] => Outcome::Absent(AlarmFault::Nobody.to_string()),
        [Err(fault), _] | [_, Err(fault)] => Outcome::Broken(fault.to_string()),
    }
}

fn pose_source(board: &dyn Board) -> Outcome {
    let Some(mut source) = board.pose_source() else { return Outcome::Absent("poses come from another process".into()) };
    let mut frame = PoseFrame::new(FrameIndex(0), MonotonicNs(0));
    let (mut frames, mut persons) = (0, 0);
    for _ in 0..ROUNDS {
        match source.next(&mut frame) {
            Arrival::Nothing => {}
            Arrival::Ended => break,
            Arrival::Frame => {
                frames += 1;
                persons += frame.persons.len();
                let is_odd = |person: &alfred_core::pose::PersonPose| person.keypoints.iter().any(|keypoint| !keypoint.is_finite());
                if frame.captured.0 == 0 || frame.persons.iter().any(is_odd) {
                    return Outcome::Broken(format!("frame {} has no time, or a key-point that is no number", frame.frame.0));
                }
            }
        }
    }
    if frames == 0 { Outcome::Broken("no frame came".into()) } else { Outcome::Holds(format!("{frames} frames, {persons} persons")) }
}

/// What every region of storage must do, whatever is below it. Overwrites its first and last bytes.
#[must_use]
pub fn storage(storage: &mut dyn Storage) -> Outcome {
    let bytes = storage.bytes();
    if bytes < 8192 {
        return Outcome::Broken(format!("{bytes} bytes: at least 8192 are needed for the test"));
    }
    let mut buffer = [0; 5];
    let steps = storage
        .write(0, b"first")
        .and_then(|()| storage.write(bytes - 4, b"last"))
        .and_then(|()| storage.sync())
        .and_then(|()| storage.read(0, &mut buffer));
    let mut end = [0; 4];
    match steps.and_then(|()| storage.read(bytes - 4, &mut end)) {
        Err(error) => return Outcome::Broken(error.to_string()),
        Ok(()) if &buffer != b"first" || &end != b"last" => return Outcome::Broken("other bytes came back".into()),
        Ok(()) => {}
    }
    let beyond = [storage.write(bytes - 2, b"over"), storage.read(bytes - 2, &mut end), storage.write(u64::MAX, b"far")];
    let is_refused = |outcome: &std::io::Result<()>| outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::UnexpectedEof);
    if !beyond.iter().all(is_refused) || storage.read(bytes - 4, &mut end).is_err() || &end != b"last" {
        return Outcome::Broken("what lies beyond its end is not refused".into());
    }
    Outcome::Holds(format!("{bytes} bytes"))
}
