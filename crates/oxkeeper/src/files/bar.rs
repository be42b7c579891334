//! Progress bars of the commands that copy data.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Interval between two draws of a bar.
const TICK: Duration = Duration::from_millis(200);

/// Makes a progress bar that counts in `unit`; it is invisible if there is no terminal.
pub(super) fn bar(what: &'static str, total: u64, unit: Unit) -> ProgressBar {
    let bar = ProgressBar::new(total);
    let template = match unit {
        Unit::Bytes => "{msg:10} {bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
        Unit::Znodes => "{msg:10} {bar:40} {human_pos} of {human_len} znodes, {per_sec}, {eta} left",
    };
    bar.set_style(ProgressStyle::with_template(template).expect("the template is sound"));
    bar.set_message(what);
    bar.enable_steady_tick(TICK);
    bar
}

/// Makes a spinner for work of unknown length; it is invisible if there is no terminal.
pub(super) fn spinner(what: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    spinner.set_style(ProgressStyle::with_template("{msg:10} {spinner} {elapsed}").expect("the template is sound"));
    spinner.set_message(what);
    spinner.enable_steady_tick(TICK);
    spinner
}

#[derive(Clone, Copy)]
pub(super) enum Unit {
    Bytes,
    Znodes,
}
