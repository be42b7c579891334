//! The directories of a command.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use oxkeeper_config::Config;

/// The data directory of a server, named by its configuration or directly.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct PlaceArgs {
    /// The zoo.cfg of the server; its dataDir and dataLogDir are meant
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The server's data directory, log included
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// The directories of a server's data, and the kind of server.
#[derive(Debug)]
pub(crate) struct Place {
    pub(super) data_dir: PathBuf,
    pub(super) data_log_dir: PathBuf,
    pub(super) is_member: bool,
}

impl PlaceArgs {
    pub(super) fn place(&self) -> anyhow::Result<Place> {
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

/// Returns a hash seed for the index of a tree that is never served.
pub(super) fn seed() -> anyhow::Result<u64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Ok(since.context("the clock stands before 1970")?.as_nanos() as u64 ^ u64::from(std::process::id()))
}

/// Checks that a directory exists, before anything is written.
pub(super) fn ensure_dir(dir: &std::path::Path) -> anyhow::Result<()> {
    ensure!(dir.is_dir(), "{} is not a directory", dir.display());
    Ok(())
}
