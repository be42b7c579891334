//! The threads that execute all writes.

pub(crate) mod incarnation;
pub(crate) mod mailbox;
pub(crate) mod member;
pub(crate) mod restorer;
pub(crate) mod standalone;
