//! Sockets, threads, files: listeners, zoo.cfg, four-letter words.

pub mod config;
pub mod words;
