//! The reason why a server must end by itself, for the thread that waits for signals.

use std::fmt;
use std::path::PathBuf;
use std::sync::OnceLock;

use oxkeeper_replica::ensemble::Outdated;
use oxkeeper_state::Level;
use tokio::sync::Notify;
use tracing::error;

/// Reason why a server ends and needs an operator's action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Peers have sent entries that this release does not know.
    Entry(Outdated),
    /// A majority of the voters has another state after the same log entry.
    Diverged {
        /// Data directory of this server.
        data_dir: PathBuf,
    },
    /// The data on disk cannot be used any more; the text says why.
    Data(String),
    /// The state that this server needs has a higher feature level.
    State {
        /// The level of the state.
        needs: Level,
        /// The highest level known here.
        knows: Level,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Entry(outdated) => outdated.fmt(formatter),
            Reason::Diverged { data_dir } => write!(
                formatter,
                "stopping: this server's state is not that of a majority of the voters. Keep a copy of {} for a report, empty dataDir \
                 (except for myid) and dataLogDir, and start the server again: it fetches the state from the others. If it starts with \
                 the present data, it may stop again",
                data_dir.display()
            ),
            Reason::Data(problem) => write!(formatter, "stopping: the data cannot be used any more: {problem}"),
            Reason::State { needs, knows } => write!(
                formatter,
                "stopping: the ensemble's state needs feature level {needs}, and this release knows levels up to {knows}. Nothing was \
                 written. Start a newer release on this server, with its present data"
            ),
        }
    }
}

/// The reason, set at most once.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    reason: OnceLock<Reason>,
    told: Notify,
}

impl Ended {
    /// Logs the reason, and tells the thread that waits for signals.
    pub(crate) fn tell(&self, reason: Reason) {
        error!("{reason}");
        let _ = self.reason.set(reason);
        self.told.notify_one();
    }

    pub(crate) fn reason(&self) -> Option<&Reason> {
        self.reason.get()
    }

    /// Waits until there is a reason, possibly forever.
    pub(crate) async fn wait(&self) {
        self.told.notified().await;
    }
}
