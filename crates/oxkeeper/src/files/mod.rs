//! Commands that move data into and out of servers: import, export, dump, backup, restore.
//!
//! They share [`place`] (the directories) and [`bar`] (progress).

mod backup;
mod bar;
mod dump;
mod export;
mod import;
mod place;
mod txn_log;

pub(crate) use backup::{BackupArgs, backup};
pub(crate) use dump::{DumpArgs, dump};
pub(crate) use export::{ExportArgs, export};
pub(crate) use import::{ImportArgs, RestoreArgs, import, restore};
pub(crate) use txn_log::{TxnLogArgs, txn_log};
