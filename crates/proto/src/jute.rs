//! Jute primitives: big-endian integers, length-prefixed strings and buffers, counted vectors, records in field order.
//!
//! Source: `BinaryInputArchive`, `BinaryOutputArchive` and the vector code of ZooKeeper's Jute compiler.

use std::borrow::Cow;

use bytes::BufMut;
use thiserror::Error;

use crate::java;

/// A ustring: UTF-8 text, borrowed from the input unless it had to be repaired.
pub type Text<'a> = Cow<'a, str>;

/// Reasons why bytes are not the expected record.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The input ends inside a field.
    #[error("input ends inside a field")]
    Truncated,
    /// A length prefix is below -1.
    #[error("negative length")]
    NegativeLength,
    /// A value is outside its enumeration, or operations are combined that must not be.
    #[error("value not allowed: {0}")]
    NotAllowed(&'static str),
    /// A value is null that must not be.
    #[error("null where a value is needed: {0}")]
    Null(&'static str),
}

/// A cursor over the bytes of one frame.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Makes a reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// Returns the bytes that have not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads the next `len` bytes. *Errors*: `Truncated`.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// Reads a length-prefixed byte string; length -1 is `None`. *Errors*: `Truncated`, `NegativeLength`.
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        match i32::decode(self)? {
            -1 => Ok(None),
            len => {
                let len = usize::try_from(len).map_err(|_| DecodeError::NegativeLength)?;
                self.take(len).map(Some)
            }
        }
    }
}

/// A value with one Jute representation.
pub trait Jute<'a>: Sized {
    /// Reads the value. *Errors*: see [`DecodeError`].
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError>;
    /// Appends the value's bytes.
    fn encode<B: BufMut>(&self, out: &mut B);

    /// Reads the value from the start of `bytes`; ignores the bytes after it, as every ZooKeeper peer does.
    fn from_bytes(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Self::decode(&mut Reader::new(bytes))
    }
}

impl<'a> Jute<'a> for i32 {
    fn decode(reader: &mut Reader<'a>) -> Result<i32, DecodeError> {
        reader.array().map(i32::from_be_bytes)
    }
    fn encode<B: BufMut>(&self, out: &mut B) {
        out.put_i32(*self);
    }
}

impl<'a> Jute<'a> for i64 {
    fn decode(reader: &mut Reader<'a>) -> Result<i64, DecodeError> {
        reader.array().map(i64::from_be_bytes)
    }
    fn encode<B: BufMut>(&self, out: &mut B) {
        out.put_i64(*self);
    }
}

impl<'a> Jute<'a> for bool {
    fn decode(reader: &mut Reader<'a>) -> Result<bool, DecodeError> {
        reader.array::<1>().map(|[byte]| byte != 0)
    }
    fn encode<B: BufMut>(&self, out: &mut B) {
        out.put_u8(u8::from(*self));
    }
}

impl<'a> Jute<'a> for Option<&'a [u8]> {
    fn decode(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, DecodeError> {
        reader.buffer()
    }
    fn encode<B: BufMut>(&self, out: &mut B) {
        match self {
            None => out.put_i32(-1),
            Some(bytes) => {
                out.put_i32(wire_len(bytes.len()));
                out.put_slice(bytes);
            }
        }
    }
}

impl<'a> Jute<'a> for Option<Text<'a>> {
    fn decode(reader: &mut Reader<'a>) -> Result<Option<Text<'a>>, DecodeError> {
        Ok(reader.buffer()?.map(java::text))
    }
    fn encode<B: BufMut>(&self, out: &mut B) {
        self.as_deref().map(str::as_bytes).encode(out);
    }
}

impl<'a, T: Jute<'a>> Jute<'a> for Option<Vec<T>> {
    // ZooKeeper: a count of -1 is a null vector, and any other negative count is an empty one.
    fn decode(reader: &mut Reader<'a>) -> Result<Option<Vec<T>>, DecodeError> {
        let count = match i32::decode(reader)? {
            -1 => return Ok(None),
            count => usize::try_from(count).unwrap_or(0),
        };
        // A false count reserves no more bytes than the input has; a vector of more items grows.
        let mut items = Vec::with_capacity(count.min(reader.rest.len() / size_of::<T>() + 1));
        for _ in 0..count {
            items.push(T::decode(reader)?);
        }
        Ok(Some(items))
    }
    fn encode<B: BufMut>(&self, out: &mut B) {
        match self {
            None => out.put_i32(-1),
            Some(items) => {
                out.put_i32(wire_len(items.len()));
                items.iter().for_each(|item| item.encode(out));
            }
        }
    }
}

/// Converts a length to its form on the wire. Panics above 2 GiB, which no frame limit permits.
fn wire_len(len: usize) -> i32 {
    i32::try_from(len).expect("a field is shorter than the frame limit")
}

/// A ustring in a vector, which is never null.
impl<'a> Jute<'a> for Text<'a> {
    // ZooKeeper: a null path in a setWatches vector fails the request (-5) because of a NullPointerException.
    fn decode(reader: &mut Reader<'a>) -> Result<Text<'a>, DecodeError> {
        Option::<Text<'a>>::decode(reader)?.ok_or(DecodeError::Null("ustring in a vector"))
    }
    fn encode<B: BufMut>(&self, out: &mut B) {
        Some(self.as_bytes()).encode(out);
    }
}
