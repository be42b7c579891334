//! Tests of the codec against its specification (`jute-specs/`), against frames recorded from Apache
//! ZooKeeper (`../golden/`), and against bytes that no client should send.
//!
//! Reading order: [`jute`] (the specification and its encoding), [`table`] (the codec of each record),
//! [`records`], [`connect`], [`multi`], [`frames`], [`golden`], [`hostile`].

mod connect;
mod frames;
mod golden;
mod hostile;
mod jute;
mod multi;
mod records;
mod table;
