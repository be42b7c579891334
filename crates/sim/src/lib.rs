//! An ensemble in one thread under a seed.
