//! Progress of a command: on standard error, if that is a terminal, once the command has taken a second.

use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::{runtime, time};

/// Time before a command shows its progress.
const PATIENCE: Duration = Duration::from_secs(1);
/// Draws a second.
const DRAW_RATE: u8 = 10;
/// Time between two turns of the spinner.
const TICK: Duration = Duration::from_millis(100);

/// The progress of one command.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    ended: Arc<Mutex<bool>>,
    /// Makes the bar visible in time; `None` where nobody sees it.
    reveal: Option<AbortHandle>,
}

impl Progress {
    /// Makes progress that is never shown.
    pub(super) fn none() -> Progress {
        Progress { bar: ProgressBar::hidden(), ended: Arc::default(), reveal: None }
    }

    /// Begins with the command's name and the time it takes.
    pub(super) fn begin(command: &str) -> Progress {
        let mut progress = Progress::none();
        style(&progress.bar, "{spinner} {msg}, {elapsed}", command);
        if stderr().is_terminal()
            && let Ok(runtime) = runtime::Handle::try_current()
        {
            let (bar, ended) = (progress.bar.clone(), progress.ended.clone());
            let reveal = async move {
                time::sleep(PATIENCE).await;
                let ended = ended.lock();
                if !*ended {
                    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(DRAW_RATE));
                    bar.enable_steady_tick(TICK);
                }
            };
            progress.reveal = Some(runtime.spawn(reveal).abort_handle());
        }
        progress
    }

    /// Counts things from now on, without a known end.
    pub(super) fn count(&self, things: &str) {
        self.bar.reset();
        self.bar.unset_length();
        style(&self.bar, "{spinner} {human_pos} {msg}, {elapsed}", things);
    }

    /// Counts things from now on while [`Progress::find`] still finds more.
    pub(super) fn count_found(&self, things: &str) {
        self.bar.reset();
        self.bar.set_length(0);
        style(&self.bar, "{spinner} {human_pos}/{human_len} {msg}, {elapsed}", things);
    }

    /// Counts `total` things from now on.
    pub(super) fn count_towards(&self, total: usize, things: &str) {
        self.bar.reset();
        self.bar.set_length(total as u64);
        style(&self.bar, "{wide_bar} {human_pos}/{human_len} {msg}, {eta} left", things);
    }

    /// Adds things that are still to be counted.
    pub(super) fn find(&self, count: usize) {
        self.bar.inc_length(count as u64);
    }

    pub(super) fn advance(&self, count: usize) {
        self.bar.inc(count as u64);
    }

    /// Prints something without running into the bar.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Removes the bar for good.
    pub(super) fn end(&self) {
        let mut ended = self.ended.lock();
        if !std::mem::replace(&mut *ended, true) {
            self.reveal.as_ref().inspect(|reveal| reveal.abort());
            self.bar.finish_and_clear();
        }
    }
}

fn style(bar: &ProgressBar, template: &str, message: &str) {
    bar.set_style(ProgressStyle::with_template(template).expect("a constant template"));
    bar.set_message(message.to_owned());
}

/// A command that fails or is cancelled leaves no bar behind.
impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}
