//! Four-letter words.
mod word;
pub use word::{Whitelist, Word};
