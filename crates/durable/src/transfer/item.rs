//! The items of the stream, in this order: the head, named values, records by kind and key, log
//! entries, the tail.
//!
//! ```text
//! item    0  u8 tag   1  u32 length of the body   5  body
//! head    u64 applied index X, then the contents of the tree (counts and sums, as the store encodes them)
//! value   u16 length of the name, name, value
//! record  u64 key, record                       (a tag for each kind)
//! entry   u64 index, entry
//! tail    u64 decided, u64 end, then promise, round and configuration, each with its length (u32)
//! ```
//!
//! All integers are little-endian. An item may span several chunks.

use oxkeeper_store::{Contents, Kind, RECORD_LEN_MAX};

use super::Tail;

/// Size limit of an item's body, bytes: the largest log entry and the fields around it.
const BODY_LEN_MAX: usize = RECORD_LEN_MAX + (64 << 10);
const HEAD: u8 = 1;
const VALUE: u8 = 2;
const TAIL: u8 = 3;
const ENTRY: u8 = 4;
/// Tag of the first kind of record; the tags of the other kinds follow it.
const RECORD: u8 = 5;
/// Bytes in front of the body: tag and length.
const PREFIX_LEN: usize = 5;

/// An item of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item<'a> {
    Head { applied: u64, contents: Contents },
    Value { name: &'a str, value: &'a [u8] },
    Record { kind: Kind, key: u64, record: &'a [u8] },
    Entry { index: u64, entry: &'a [u8] },
    Tail(Tail),
}

impl<'a> Item<'a> {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; PREFIX_LEN]);
        out[start] = match self {
            Self::Head { applied, contents } => {
                out.extend_from_slice(&applied.to_le_bytes());
                out.extend_from_slice(&contents.encode());
                HEAD
            }
            Self::Value { name, value } => {
                let name_len = u16::try_from(name.len()).expect("names are ours, and short");
                out.extend_from_slice(&name_len.to_le_bytes());
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(value);
                VALUE
            }
            Self::Record { kind, key, record } => {
                out.extend_from_slice(&key.to_le_bytes());
                out.extend_from_slice(record);
                RECORD + *kind as u8
            }
            Self::Entry { index, entry } => {
                out.extend_from_slice(&index.to_le_bytes());
                out.extend_from_slice(entry);
                ENTRY
            }
            Self::Tail(tail) => {
                out.extend_from_slice(&tail.decided.to_le_bytes());
                out.extend_from_slice(&tail.end.to_le_bytes());
                for part in [&tail.promise, &tail.round, &tail.configuration] {
                    out.extend_from_slice(&(part.len() as u32).to_le_bytes());
                    out.extend_from_slice(part);
                }
                TAIL
            }
        };
        let body_len = out.len() - start - PREFIX_LEN;
        assert!(body_len <= BODY_LEN_MAX, "an item of {body_len} bytes is in no log and in no tree");
        out[start + 1..start + PREFIX_LEN].copy_from_slice(&(body_len as u32).to_le_bytes());
    }

    /// Decodes the item at the start of `bytes`, and returns it with its length, or `Ok(None)` if
    /// `bytes` ends before the item does. *Errors*: the bytes are not an item.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, &'static str> {
        let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_LEN>() else { return Ok(None) };
        let [tag, len @ ..] = *prefix;
        let len = u32::from_le_bytes(len) as usize;
        if len > BODY_LEN_MAX {
            return Err("an impossible length");
        }
        let Some(body) = rest.get(..len) else { return Ok(None) };
        let item = Self::decode_body(tag, body).ok_or("an item that cannot be read")?;
        Ok(Some((item, PREFIX_LEN + len)))
    }

    fn decode_body(tag: u8, mut body: &'a [u8]) -> Option<Self> {
        let body = &mut body;
        match tag {
            HEAD => {
                let (applied, contents) = (long(body)?, Contents::decode((*body).try_into().ok()?));
                Some(Self::Head { applied, contents })
            }
            VALUE => {
                let (name_len, rest) = body.split_first_chunk::<2>()?;
                let (name, value) = rest.split_at_checked(u16::from_le_bytes(*name_len).into())?;
                Some(Self::Value { name: std::str::from_utf8(name).ok()?, value })
            }
            TAIL => {
                let (decided, end) = (long(body)?, long(body)?);
                let (promise, round, configuration) = (part(body)?, part(body)?, part(body)?);
                body.is_empty().then_some(Self::Tail(Tail { promise, round, configuration, decided, end }))
            }
            ENTRY => Some(Self::Entry { index: long(body)?, entry: body }),
            tag => {
                let kind = *Kind::ALL.get(usize::from(tag.checked_sub(RECORD)?))?;
                Some(Self::Record { kind, key: long(body)?, record: body })
            }
        }
    }
}

fn part(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *bytes = rest;
    Some(part.to_vec())
}

fn long(bytes: &mut &[u8]) -> Option<u64> {
    let (long, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*long))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_item_is_read_as_it_was_written() {
        let contents = Contents::decode(&std::array::from_fn(|at| at as u8));
        let (promise, round, configuration) = (b"promise".to_vec(), b"round".to_vec(), b"voters".to_vec());
        let tail = Tail { promise, round, configuration, decided: 7, end: 9 };
        let items = [
            Item::Head { applied: 5, contents },
            Item::Value { name: "name", value: b"value" },
            Item::Record { kind: Kind::Znode, key: 1, record: b"znode" },
            Item::Record { kind: Kind::Session, key: u64::MAX, record: b"" },
            Item::Record { kind: Kind::Acl, key: 0, record: b"list" },
            Item::Entry { index: 8, entry: b"entry" },
            Item::Tail(tail),
        ];
        for item in items {
            let mut bytes = Vec::new();
            item.encode(&mut bytes);
            for cut in 0..bytes.len() {
                assert_eq!(Item::decode(&bytes[..cut]), Ok(None), "{item:?} cut at {cut}");
            }
            let len = bytes.len();
            bytes.extend_from_slice(b"next");
            assert_eq!(Item::decode(&bytes), Ok(Some((item, len))));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), tag in 0..9u8, len in 0..80u32) {
            let _ = Item::decode(&bytes);
            let prefixed = [&[tag][..], &len.to_le_bytes(), &bytes].concat();
            let _ = Item::decode(&prefixed);
        }
    }
}
