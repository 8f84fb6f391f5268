//! Refused requests, a line each on stderr, so that somebody who tries doors is seen; at most so many a minute, the rest as a count.

use std::sync::{Mutex, PoisonError};

/// Lines of one minute.
const LINES_MAX: u32 = 20;
/// Length of a minute, milliseconds.
const WINDOW_MS: i64 = 60_000;
/// Characters of a path that are shown.
const PATH_CHARS_MAX: usize = 120;

#[derive(Debug, Default)]
struct Window {
    began_ms: i64,
    lines: u32,
    left_out: u64,
}

/// The log of refusals.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog {
    window: Mutex<Window>,
}

impl RefusalLog {
    /// What is to be written about a refusal now: nothing, a line, or a line with what was left out before it.
    pub(crate) fn line(&self, status: u16, method: &str, path: &str, peer: &str, now_ms: i64) -> Option<String> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = String::new();
        // A clock that went back begins a new window.
        if !(0..WINDOW_MS).contains(&(now_ms - window.began_ms)) {
            if window.left_out > 0 {
                before = format!("http: {} more requests were refused\n", window.left_out);
            }
            *window = Window { began_ms: now_ms, ..Window::default() };
        }
        if window.lines >= LINES_MAX {
            window.left_out += 1;
            return None;
        }
        window.lines += 1;
        // Escaped: a path must not draw on somebody's terminal.
        let path: String = path.chars().take(PATH_CHARS_MAX).flat_map(char::escape_default).collect();
        Some(format!("{before}http: {status} to {method} {path} from {peer}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_paths_stay_on_their_line() {
        let log = RefusalLog::default();
        let line = |now_ms| log.line(403, "PUT", "/a\u{1b}[2J\n", "127.0.0.1:5", now_ms);
        assert_eq!(line(1000).as_deref(), Some("http: 403 to PUT /a\\u{1b}[2J\\n from 127.0.0.1:5"));
        let written = (0..100).filter(|_| line(1001).is_some()).count();
        assert_eq!(written, LINES_MAX as usize - 1);
        let next = line(1000 + WINDOW_MS).expect("a new minute");
        assert!(next.starts_with("http: 81 more requests were refused\nhttp: 403"), "{next}");
        assert!(line(-5).is_some(), "the clock went back");
    }
}
