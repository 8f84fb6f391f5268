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
}

impl ProgressLines {
    /// Lines if progress is wanted and stderr is no terminal; the first one after 15 seconds.
    #[must_use]
    pub fn new(is_wanted: bool) -> Self {
        let is_due = is_wanted && !stderr().is_terminal();
        Self { due: Mutex::new(is_due.then(|| Instant::now() + PERIOD)) }
    }

    /// Says how far `bar` is, how long it may take yet, and `message`, if the latest line is 15 seconds old.
    pub fn tell(&self, bar: &ProgressBar, message: impl FnOnce() -> String) {
        let Ok(mut due) = self.due.lock() else { return };
        if due.is_some_and(|due| Instant::now() >= due) {
            *due = Some(Instant::now() + PERIOD);
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
    use super::{ProgressLines, line};
    use indicatif::ProgressBar;

    #[test]
    fn a_line_says_how_far_it_is_and_none_comes_early_or_unasked() {
        let bar = ProgressBar::hidden();
        bar.set_length(8);
        bar.set_position(2);
        let text = line(&bar, "epoch 1/4");
        assert!(text.starts_with("2 of 8 (25 %), about ") && text.ends_with(" s left, epoch 1/4"), "{text}");
        for is_wanted in [true, false] {
            ProgressLines::new(is_wanted).tell(&bar, || panic!("a line in the first 15 seconds"));
        }
    }
}
