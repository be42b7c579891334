//! How far a long command is: on standard error, if that is a terminal, once it has taken a second.

use std::io::{IsTerminal, stderr, stdout};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is quicker needs no bar.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a bar is drawn.
const DRAWS_PER_SECOND: u8 = 10;

pub(super) struct Progress {
    bar: ProgressBar,
    begun: Instant,
    wanted: bool,
}

impl Progress {
    /// Of something whose end is not known.
    pub(super) fn counting(what: &'static str) -> Progress {
        Progress::new(ProgressBar::hidden(), "{spinner} {human_pos} {msg} ({per_sec})", what, stderr().is_terminal())
    }

    /// The same, of a command whose output shows how far it is, unless that goes elsewhere.
    pub(super) fn counting_beside_output(what: &'static str) -> Progress {
        let mut progress = Progress::counting(what);
        progress.wanted &= !stdout().is_terminal();
        progress
    }

    /// Of `count` things.
    pub(super) fn towards(count: usize, what: &'static str) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::hidden());
        Progress::new(bar, "{wide_bar} {human_pos}/{human_len} {msg}, {eta} left", what, stderr().is_terminal())
    }

    fn new(bar: ProgressBar, template: &str, what: &'static str, wanted: bool) -> Progress {
        bar.set_style(ProgressStyle::with_template(template).expect("a constant template"));
        bar.set_message(what);
        Progress { bar, begun: Instant::now(), wanted }
    }

    pub(super) fn advance(&self, count: usize) {
        if self.wanted && self.bar.is_hidden() && self.begun.elapsed() > PATIENCE {
            self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND));
        }
        self.bar.inc(count as u64);
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A command that fails leaves no bar behind.
impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
