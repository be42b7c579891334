//! Data on its way in and out of a server that does not run: import, export, dump, backup, restore.
//!
//! The commands share [`place`] (which directories are meant) and [`bar`] (progress).

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
