//! The end of the output: reads the lines that the live path writes and notes when which frame was decided.

use super::timeline::Timeline;
use alfred_board::generic_linux::MonotonicClock;
use alfred_board::hal::Clock;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes kept of a line: all of every line but a segment's.
const LINE_BYTES_MAX: usize = 8 * 1024;

const FRAME_LINE: &[u8] = br#"{"frame":{"frame":"#;
const STATS_LINE: &[u8] = br#"{"stats":"#;
const EVENT_LINE: &[u8] = br#"{"event":"#;
const SEGMENT_LINE: &[u8] = br#"{"segment":"#;

/// What the lines said.
#[derive(Debug)]
pub(crate) struct Observations {
    /// The latest health figures, as JSON.
    pub(crate) stats: Vec<u8>,
    /// Event lines.
    pub(crate) events: u64,
    /// Segment lines.
    pub(crate) segments: u64,
}

impl Observations {
    pub(crate) fn new() -> Self {
        Self { stats: Vec::with_capacity(LINE_BYTES_MAX), events: 0, segments: 0 }
    }
}

/// A writer that looks at what is written. Allocates nothing after it was made.
pub(crate) struct Observer<'t> {
    timeline: &'t Timeline,
    /// Frames from the one that is decided to the one that caused it.
    delay_frames: u64,
    line: Vec<u8>,
    seen: Arc<Mutex<Observations>>,
}

impl<'t> Observer<'t> {
    pub(crate) fn new(timeline: &'t Timeline, delay_frames: u64, seen: Arc<Mutex<Observations>>) -> Self {
        Self { timeline, delay_frames, line: Vec::with_capacity(LINE_BYTES_MAX), seen }
    }

    fn line_ended(&mut self, now_ns: u64) {
        let line = &self.line;
        if let Some(rest) = line.strip_prefix(FRAME_LINE) {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
            let number = digits.fold(0_u64, |number, byte| number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0')));
            self.timeline.decided(number + self.delay_frames, now_ns);
        } else {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if line.starts_with(STATS_LINE) {
                seen.stats.clear();
                seen.stats.extend_from_slice(line.trim_ascii_end());
            }
            seen.events += u64::from(line.starts_with(EVENT_LINE));
            seen.segments += u64::from(line.starts_with(SEGMENT_LINE));
        }
        self.line.clear();
    }
}

impl Write for Observer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Whoever reads the output has these bytes now.
        let now_ns = MonotonicClock.now().0;
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_BYTES_MAX - self.line.len();
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                self.line_ended(now_ns);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart_however_they_are_cut() {
        let timeline = Timeline::new(0, 4, 10);
        timeline.begin(0);
        (0..4).for_each(|number| timeline.sent(number, 0));
        let seen = Arc::new(Mutex::new(Observations::new()));
        let mut observer = Observer::new(&timeline, 2, Arc::clone(&seen));
        let long = format!("{{\"segment\":{{{}}}}}\n", "x".repeat(3 * LINE_BYTES_MAX));
        let text = format!(
            "{{\"frame\":{{\"frame\":0,\"score\":1.5}}}}\n{long}{{\"event\":{{}}}}\n{{\"stats\":{{\"a\":1}}}}\n{{\"frame\":{{\"frame\":1}}}}\n"
        );
        for part in text.as_bytes().chunks(7) {
            observer.write_all(part).expect("never fails");
        }
        let decided: Vec<bool> = timeline.outcomes().map(|frame| frame.latency.is_some()).collect();
        assert_eq!(decided, [false, false, true, true]);
        let seen = seen.lock().expect("nobody panicked");
        assert_eq!((seen.events, seen.segments, seen.stats.as_slice()), (1, 1, &br#"{"stats":{"a":1}}"#[..]).clone());
    }
}
