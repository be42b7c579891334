//! Updates `zoo.cfg` when the ensemble agrees on new members.
//!
//! This module decides when the file is written: off the engine thread, one version at a time, and
//! only if `reconfigEnabled` allows changes. A failed write is only a warning: the state has the
//! members, and the next start reads them from there.

use std::thread::JoinHandle;

use oxkeeper_state::Membership;
use tracing::{info, warn};

use crate::thread::spawn;
use oxkeeper_config::{Config, ConfigFile};

/// The configuration file and the version written to it.
pub(crate) struct ConfigKeeper {
    file: ConfigFile,
    /// Last version written or attempted.
    written: i64,
    writing: Option<JoinHandle<()>>,
}

impl ConfigKeeper {
    /// Returns `None` if nothing is to be written. If the file itself contains member lines, makes
    /// one backup copy of it.
    pub(crate) fn new(config: &Config) -> Option<ConfigKeeper> {
        let membership = config.ensemble.membership.as_ref().filter(|_| config.ensemble.reconfig_enabled)?;
        let file = ConfigFile::new(config.file.clone()?, membership.me, config.ensemble.members.clone());
        if config.ensemble.dynamic_config_file.is_none() {
            let backed_up = file.back_up();
            backed_up.unwrap_or_else(|error| warn!(%error, "cannot copy the configuration file to its .bak"));
        }
        let written = config.ensemble.config_version.unwrap_or_default();
        Some(ConfigKeeper { file, written, writing: None })
    }

    /// Starts writing the members if their version is later than the written one.
    pub(crate) fn keep_up(&mut self, membership: &Membership) {
        if membership.version() <= self.written || self.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            return;
        }
        self.written = membership.version();
        let (file, membership) = (self.file.clone(), membership.clone());
        self.writing = spawn("config", move || write(&file, &membership)).ok();
    }

    /// Waits for a write in progress, then starts writing a version that arrived during it. Called
    /// when the server stops.
    pub(crate) fn finish(&mut self, membership: &Membership) {
        self.writing.take().into_iter().for_each(|writing| _ = writing.join());
        self.keep_up(membership);
    }
}

/// Completes a write in progress before the process ends.
impl Drop for ConfigKeeper {
    fn drop(&mut self) {
        if let Some(writing) = self.writing.take() {
            let _ = writing.join();
        }
    }
}

fn write(file: &ConfigFile, membership: &Membership) {
    let version = format!("{:x}", membership.version());
    match file.write(membership) {
        Ok(()) => info!(version, "wrote the members into the configuration file"),
        Err(error) => warn!(
            version, %error,
            "cannot write the members into the configuration file, which names others; the server uses the agreed ones"
        ),
    }
}

/// Logs a warning if the configuration and the state disagree about the members.
pub(crate) fn compare(config: &Config, agreed: &Membership) {
    let written = &config.ensemble.members;
    if agreed.is_empty() || agreed.members() == written {
        return;
    }
    let version = format!("{:x}", agreed.version());
    warn!(
        version,
        agreed = %agreed.members().to_string().trim_end().replace('\n', ", "),
        written = %written.to_string().trim_end().replace('\n', ", "),
        "the configuration file names other members than the ensemble has agreed on; the agreed ones count"
    );
}
