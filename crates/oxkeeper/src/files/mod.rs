//! Data on its way in and out of a server that does not run: import, export, dump, backup, restore.
//!
//! Owns what these commands have in common: which directory is meant, and how far it is.

mod backup;
mod dump;
mod export;
mod import;
mod txn_log;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use oxkeeper_server::config::Config;

pub(crate) use backup::{BackupArgs, backup};
pub(crate) use dump::{DumpArgs, dump};
pub(crate) use export::{ExportArgs, export};
pub(crate) use import::{ImportArgs, RestoreArgs, import, restore};
pub(crate) use txn_log::{TxnLogArgs, txn_log};

/// How often a bar is drawn.
const TICK: Duration = Duration::from_millis(200);

/// Our data directory, as a configuration names it or by itself.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct PlaceArgs {
    /// The zoo.cfg of the server; its dataDir and dataLogDir are meant
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The server's data directory, log included
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Where a server keeps its data, and what kind of server it is.
#[derive(Debug)]
pub(crate) struct Place {
    data_dir: PathBuf,
    data_log_dir: PathBuf,
    is_member: bool,
}

impl PlaceArgs {
    fn place(&self) -> anyhow::Result<Place> {
        match (&self.config, &self.data_dir) {
            (Some(file), _) => {
                let config = Config::load(file, crate::serve::jvm_flags())?;
                let is_member = config.is_distributed();
                Ok(Place { data_dir: config.data_dir, data_log_dir: config.data_log_dir, is_member })
            }
            (None, Some(dir)) => Ok(Place { data_dir: dir.clone(), data_log_dir: dir.clone(), is_member: false }),
            (None, None) => unreachable!("one of the two is required"),
        }
    }
}

/// A seed for the index of a tree that is never served.
fn seed() -> anyhow::Result<u64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Ok(since.context("the clock stands before 1970")?.as_nanos() as u64 ^ u64::from(std::process::id()))
}

/// A bar on a terminal, nothing elsewhere; `unit` is what is counted.
fn bar(what: &'static str, total: u64, unit: Unit) -> ProgressBar {
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

/// Likewise, for what does not tell how far it is.
fn spinner(what: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    spinner.set_style(ProgressStyle::with_template("{msg:10} {spinner} {elapsed}").expect("the template is sound"));
    spinner.set_message(what);
    spinner.enable_steady_tick(TICK);
    spinner
}

#[derive(Clone, Copy)]
enum Unit {
    Bytes,
    Znodes,
}

/// Complains about a directory that is not there before anything is made of it.
fn ensure_dir(dir: &std::path::Path) -> anyhow::Result<()> {
    ensure!(dir.is_dir(), "{} is not a directory", dir.display());
    Ok(())
}
