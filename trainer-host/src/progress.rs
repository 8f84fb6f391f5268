//! Progress where nobody watches a terminal: a line now and then on stderr, in place of the bar, which draws nothing there.

use indicatif::ProgressBar;
use std::io::{IsTerminal as _, stderr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Time between two lines.
const PERIOD: Duration = Duration::from_secs(15);

/// Writes lines beside a bar that draws nothing.
#[derive(Debug)]
pub struct ProgressLines {
    /// When the next line may come; `None`: never.
    due: Mutex<Option<Instant>>,
    period: Duration,
}

impl ProgressLines {
    /// Lines if progress is wanted and stderr is no terminal; the first one after 15 seconds.
    #[must_use]
    pub fn new(is_wanted: bool) -> Self {
        Self::every(PERIOD, is_wanted && !stderr().is_terminal())
    }

    fn every(period: Duration, is_wanted: bool) -> Self {
        Self { due: Mutex::new(is_wanted.then(|| Instant::now() + period)), period }
    }

    /// Says how far `bar` is, how long it may take yet, and `message`, if the latest line is 15 seconds old.
    pub fn tell(&self, bar: &ProgressBar, message: impl FnOnce() -> String) {
        let Ok(mut due) = self.due.lock() else { return };
        if due.is_some_and(|due| Instant::now() >= due) {
            *due = Some(Instant::now() + self.period);
            eprintln!("alfred-host: {}", line(bar, &message()));
        }
    }
}

fn line(bar: &ProgressBar, message: &str) -> String {
    let (done, all) = (bar.position(), bar.length().unwrap_or_default());
    let percent = 100.0 * done as f64 / all.max(1) as f64;
    format!("{done} of {all} ({percent:.0} %), about {} s left, {message}", bar.eta().as_secs())
}

#[cfg(test)]
mod tests {
    use super::{PERIOD, ProgressLines, line};
    use indicatif::ProgressBar;
    use std::cell::Cell;
    use std::time::Duration;

    #[test]
    fn a_line_says_how_far_it_is_and_comes_when_it_is_due_and_wanted() {
        let bar = ProgressBar::hidden();
        bar.set_length(8);
        bar.set_position(2);
        let text = line(&bar, "epoch 1/4");
        assert!(text.starts_with("2 of 8 (25 %), about ") && text.ends_with(" s left, epoch 1/4"), "{text}");
        let lines_of = |period: Duration, is_wanted: bool| {
            let (lines, told) = (ProgressLines::every(period, is_wanted), Cell::new(0));
            for _ in 0..3 {
                lines.tell(&bar, || {
                    told.set(told.get() + 1);
                    "a line of a test".into()
                });
            }
            told.get()
        };
        let cases = [(Duration::ZERO, true), (Duration::ZERO, false), (PERIOD, true)];
        assert_eq!(cases.map(|(period, is_wanted)| lines_of(period, is_wanted)), [3, 0, 0]);
    }
}
