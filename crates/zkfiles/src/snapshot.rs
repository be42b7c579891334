//! Reads a snapshot, item by item.
//!
//! No item may be used before [`Reader::next`] has returned [`Item::End`], because the checksum is verified
//! only then. Source: `FileSnap.deserialize`, `SerializeUtils.deserializeSnapshot`, `DataTree.deserialize`,
//! `SnapStream.checkSealIntegrity`.

use std::io::Read;

use oxkeeper_proto::records::Acl;
use oxkeeper_state::import::StoredStat;
use oxkeeper_state::znode::Owner;
use simd_adler32::Adler32;

use crate::error::Problem;
use crate::input::Input;

/// `ZKSN`.
pub(crate) const MAGIC: u32 = 0x5a4b_534e;
pub(crate) const VERSION: i32 = 2;
/// The ACL id of `world:anyone:cdrwa`.
pub const OPEN_ACL: i64 = -1;
/// Text after each checksum, and path of the entry after the last znode.
pub(crate) const END: &str = "/";
/// Bytes of a `StatPersisted`.
pub(crate) const STAT_LEN: usize = 60;
/// Bytes of a seal: checksum, length, slash.
const SEAL_LEN: usize = 13;
/// Bytes of the last zxid and its seal.
const LAST_ZXID_LEN: usize = 8 + SEAL_LEN;
/// Maximal length of the sections after the first seal, bytes; a longer trailer is something else.
const TRAILER_LEN_MAX: usize = 256;

/// An item of a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A session.
    Session {
        /// Session id.
        id: i64,
        /// Session timeout, ms.
        timeout_ms: i32,
    },
    /// An ACL that znodes refer to.
    Acl {
        /// Id of the ACL.
        id: i64,
        /// Entries of the ACL.
        list: Vec<Acl<'static>>,
    },
    /// A znode.
    Znode(Record),
    /// The end of the snapshot, whose checksum is correct.
    End(Trailer),
}

/// A znode as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Path; empty for the root.
    pub path: String,
    /// Data.
    pub data: Option<Vec<u8>>,
    /// Id of its ACL; -1 is the open one.
    pub acl: i64,
    /// Stored stat.
    pub stat: StoredStat,
}

/// The sections after the znodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trailer {
    /// Tree digest, with its zxid and the version of its algorithm.
    pub digest: Option<Digest>,
    /// The last transaction in the snapshot, if the snapshot records it.
    pub last_zxid: Option<i64>,
}

impl Trailer {
    /// Returns the last transaction in the snapshot, if the trailer tells it.
    pub fn zxid(&self) -> Option<i64> {
        self.last_zxid.or(self.digest.map(|digest| digest.zxid))
    }
}

/// A tree digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Zxid at which the digest was computed.
    pub zxid: i64,
    /// Version of the algorithm; ours is 2.
    pub version: i32,
    /// The digest.
    pub digest: i64,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Sessions(i32),
    Acls,
    AclsLeft(i32),
    Znodes,
    Over,
}

/// A reader of one snapshot.
pub struct Reader<R> {
    input: Input<R>,
    stage: Stage,
    dbid: i64,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// The file is not a snapshot.
    pub fn new(inner: R) -> Result<Reader<R>, Problem> {
        const WHAT: &str = "the header of a snapshot";
        let mut input = Input::new(inner);
        let magic = input.int(WHAT)? as u32;
        if magic != MAGIC {
            return Err(Problem::Foreign { wanted: "snapshot of ZooKeeper", found: magic });
        }
        // ZooKeeper: it checks neither.
        let (found, dbid) = (input.int(WHAT)?, input.long(WHAT)?);
        if found != VERSION {
            return Err(Problem::Version { what: "snapshot of ZooKeeper", found, supported: VERSION });
        }
        let sessions = input.int("the number of sessions")?;
        Ok(Reader { input, stage: Stage::Sessions(sessions), dbid })
    }

    /// Returns the database id in the header.
    pub fn dbid(&self) -> i64 {
        self.dbid
    }

    /// Returns the next item; `None` after [`Item::End`].
    ///
    /// # Errors
    /// Any [`Problem`]; no item of the snapshot may be used then.
    #[expect(clippy::should_implement_trait, reason = "an error ends it")]
    pub fn next(&mut self) -> Result<Option<Item>, Problem> {
        loop {
            match self.stage {
                Stage::Sessions(left) if left > 0 => {
                    self.stage = Stage::Sessions(left - 1);
                    let (id, timeout_ms) = (self.input.long("a session")?, self.input.int("a session")?);
                    return Ok(Some(Item::Session { id, timeout_ms }));
                }
                Stage::Sessions(_) => self.stage = Stage::Acls,
                Stage::Acls => self.stage = Stage::AclsLeft(self.input.int("the number of ACLs")?),
                Stage::AclsLeft(left) if left > 0 => {
                    self.stage = Stage::AclsLeft(left - 1);
                    let id = self.input.long("an ACL")?;
                    return Ok(Some(Item::Acl { id, list: self.input.acl()? }));
                }
                Stage::AclsLeft(_) => self.stage = Stage::Znodes,
                Stage::Znodes => {
                    let path = self.input.text("the path of a znode")?;
                    if path != END {
                        return self.record(path).map(Item::Znode).map(Some);
                    }
                    self.stage = Stage::Over;
                    return self.trailer().map(Item::End).map(Some);
                }
                Stage::Over => return Ok(None),
            }
        }
    }

    fn record(&mut self, path: String) -> Result<Record, Problem> {
        const WHAT: &str = "a znode";
        let data = self.input.buffer(WHAT)?;
        let mut fixed = [0; 8 + STAT_LEN];
        self.input.fill(&mut fixed, WHAT)?;
        let long = |at: usize| i64::from_be_bytes(fixed[at..at + 8].try_into().expect("8 bytes"));
        let int = |at: usize| i32::from_be_bytes(fixed[at..at + 4].try_into().expect("4 bytes"));
        let stat = StoredStat {
            czxid: long(8),
            mzxid: long(16),
            ctime: long(24),
            mtime: long(32),
            version: int(40),
            cversion: int(44),
            aversion: int(48),
            owner: Owner(long(52)),
            pzxid: long(60),
        };
        Ok(Record { path, data, acl: long(0), stat })
    }

    /// Reads the seal, and the sections that newer releases write after it.
    fn trailer(&mut self) -> Result<Trailer, Problem> {
        let computed = self.input.checksum();
        let sealed_at = self.input.position();
        let seal = self.input.bytes(SEAL_LEN, "the checksum")?;
        let mut sum = Adler32::from_checksum(computed);
        sum.write(&seal);
        check_seal(&seal, computed, sealed_at)?;
        let begin = self.input.position();
        let rest = self.input.up_to(TRAILER_LEN_MAX)?;
        let mut trailer = Trailer::default();
        let mut section = Section { bytes: &rest, begin, sum };
        if !section.bytes.is_empty() && section.bytes.len() != LAST_ZXID_LEN {
            trailer.digest = Some(section.digest()?);
        }
        if !section.bytes.is_empty() {
            trailer.last_zxid = Some(section.last_zxid()?);
        }
        match section.bytes {
            [] => Ok(trailer),
            more => {
                let offset = begin + (rest.len() - more.len()) as u64;
                Err(Problem::Nonsense { offset, what: "something follows the end of the snapshot".to_owned() })
            }
        }
    }
}

fn check_seal(seal: &[u8], computed: u32, offset: u64) -> Result<(), Problem> {
    let found = i64::from_be_bytes(seal[..8].try_into().expect("8 bytes"));
    if found != i64::from(computed) {
        return Err(Problem::Checksum { offset, found, computed });
    }
    match &seal[8..] {
        [0, 0, 0, 1, b'/'] => Ok(()),
        _ => Err(Problem::Nonsense { offset: offset + 8, what: "no end mark behind a checksum".to_owned() }),
    }
}

/// Sections after the first seal, each with a checksum of everything before it.
struct Section<'a> {
    bytes: &'a [u8],
    begin: u64,
    sum: Adler32,
}

impl Section<'_> {
    fn take(&mut self, len: usize, what: &'static str) -> Result<&[u8], Problem> {
        let Some((taken, rest)) = self.bytes.split_at_checked(len) else {
            return Err(Problem::Truncated { offset: self.begin + self.bytes.len() as u64, what });
        };
        self.bytes = rest;
        self.begin += len as u64;
        self.sum.write(taken);
        Ok(taken)
    }

    fn long(&mut self, what: &'static str) -> Result<i64, Problem> {
        self.take(8, what).map(|bytes| i64::from_be_bytes(bytes.try_into().expect("8 bytes")))
    }

    fn int(&mut self, what: &'static str) -> Result<i32, Problem> {
        self.take(4, what).map(|bytes| i32::from_be_bytes(bytes.try_into().expect("4 bytes")))
    }

    fn seal(&mut self, what: &'static str) -> Result<(), Problem> {
        let (computed, offset) = (self.sum.finish(), self.begin);
        let seal = self.take(SEAL_LEN, what)?;
        check_seal(seal, computed, offset)
    }

    fn digest(&mut self) -> Result<Digest, Problem> {
        const WHAT: &str = "the tree digest";
        let (zxid, version) = (self.long(WHAT)?, self.int(WHAT)?);
        let digest = if version >= 2 { self.long(WHAT)? } else { self.text_digest()? };
        self.seal(WHAT)?;
        Ok(Digest { zxid, version, digest })
    }

    /// Reads a digest of version 1. ZooKeeper: it was written as hexadecimal text.
    fn text_digest(&mut self) -> Result<i64, Problem> {
        const WHAT: &str = "the tree digest";
        let len = usize::try_from(self.int(WHAT)?).unwrap_or(0);
        let offset = self.begin;
        let text = self.take(len, WHAT)?;
        let digest = std::str::from_utf8(text).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
        digest
            .map(|digest| digest as i64)
            .ok_or_else(|| Problem::Nonsense { offset, what: "the tree digest is not a hexadecimal number".to_owned() })
    }

    fn last_zxid(&mut self) -> Result<i64, Problem> {
        const WHAT: &str = "the last zxid";
        let zxid = self.long(WHAT)?;
        self.seal(WHAT)?;
        Ok(zxid)
    }
}
