//! The threads through which every write goes.

pub(crate) mod incarnation;
pub(crate) mod mailbox;
pub(crate) mod member;
pub(crate) mod restorer;
pub(crate) mod standalone;
