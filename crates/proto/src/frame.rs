//! Frames: a 4-byte big-endian length that does not count itself, then that many bytes. Source: `NIOServerCnxn`.

use bytes::BufMut;
use thiserror::Error;

/// Default of `jute.maxbuffer`, bytes: the longest frame a server accepts.
pub const FRAME_LEN_MAX: usize = 0xf_ffff;
/// Bytes of the length prefix.
pub const PREFIX_LEN: usize = 4;

/// A length prefix that is not allowed. It ends the connection.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("frame length {len} is not within 0..={max}")]
pub struct FrameLengthError {
    /// Length in the prefix.
    pub len: i32,
    /// The limit in force.
    pub max: usize,
}

/// A frame's body and the input after it.
pub type Split<'a> = (&'a [u8], &'a [u8]);

/// Splits the first frame off `input`. Returns its body and the rest, or `None` if the frame is incomplete.
///
/// *Errors*: the length is negative or greater than `len_max`.
pub fn split_frame(input: &[u8], len_max: usize) -> Result<Option<Split<'_>>, FrameLengthError> {
    let Some((prefix, rest)) = input.split_first_chunk::<PREFIX_LEN>() else { return Ok(None) };
    let len = i32::from_be_bytes(*prefix);
    match usize::try_from(len) {
        Ok(wanted) if wanted <= len_max => Ok(rest.split_at_checked(wanted)),
        _ => Err(FrameLengthError { len, max: len_max }),
    }
}

/// Appends one frame; `write` appends its body.
pub fn put_frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put_i32(0);
    write(out);
    let len = out.len() - start - PREFIX_LEN;
    let prefix = i32::try_from(len).expect("a reply is shorter than 2 GiB").to_be_bytes();
    out[start..start + PREFIX_LEN].copy_from_slice(&prefix);
}
