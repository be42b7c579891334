//! The codec against its specification (`jute-specs/`), against frames recorded from Apache ZooKeeper (`../golden/`),
//! and against bytes that nobody should send.
//!
//! Reading order: [`jute`] (the specification, read and obeyed), [`table`] (which record of the codec each one is),
//! [`records`], [`connect`], [`multi`], [`frames`], [`golden`], [`hostile`].

mod connect;
mod frames;
mod golden;
mod hostile;
mod jute;
mod multi;
mod records;
mod table;
