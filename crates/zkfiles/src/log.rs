//! Reads a transaction log, record by record: checksum (i64), length (i32), transaction, `B`; zeros fill the
//! file after the last record.
//!
//! An incomplete record is the effect of a crash of the writer and ends the log, as in ZooKeeper. A complete
//! record with a wrong checksum is damage. Source: `FileTxnLog.FileTxnIterator`, `Util.readTxnBytes`.

use std::io::Read;

use crate::error::Problem;
use crate::input::Input;
use crate::txn::{BadTransaction, Transaction};

/// `ZKLG`.
const MAGIC: u32 = 0x5a4b_4c47;
const VERSION: i32 = 2;
/// End mark of each record.
const RECORD_END: u8 = b'B';
/// Maximal length of a transaction, bytes. ZooKeeper's limit is that of a request plus its own additions, and
/// can be raised.
const TRANSACTION_LEN_MAX: i32 = 1 << 30;
/// Bytes of supposed fill read at once.
const WINDOW_LEN: usize = 64 << 10;

/// A reader of one log.
pub struct Reader<R> {
    input: Input<R>,
    dbid: i64,
    end: Option<End>,
}

/// End of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The log ends after a complete record.
    Clean,
    /// The log ends with an incomplete record.
    Torn {
        /// Offset of the record.
        offset: u64,
    },
}

/// A record with a correct checksum.
#[derive(Clone, Debug)]
pub struct Record {
    /// Offset of the record.
    pub offset: u64,
    /// Checksum of the record.
    pub checksum: i64,
    /// The transaction.
    pub transaction: Transaction,
}

/// A record as it is in the file, with a correct or a wrong checksum.
#[derive(Clone, Debug)]
pub struct RawRecord {
    /// Offset of the record.
    pub offset: u64,
    /// Checksum of the record.
    pub checksum: i64,
    bytes: Vec<u8>,
}

impl RawRecord {
    /// Computes the correct checksum.
    pub fn computed(&self) -> u32 {
        simd_adler32::adler32(&self.bytes.as_slice())
    }

    /// Decodes the transaction. *Errors*: the bytes are not a transaction.
    pub fn transaction(&self) -> Result<Transaction, Problem> {
        let offset = self.offset;
        Transaction::decode(&self.bytes).map_err(|bad| match bad {
            BadTransaction::Unknown { zxid, op } => Problem::UnknownTransaction { offset, zxid, op },
            BadTransaction::Malformed { zxid, op, source } => Problem::Transaction { offset, zxid, op, source },
        })
    }

    /// Appends the record to `out` with this checksum, in the format of a log.
    pub fn encode(&self, checksum: i64, out: &mut Vec<u8>) {
        out.extend_from_slice(&checksum.to_be_bytes());
        out.extend_from_slice(&(self.bytes.len() as i32).to_be_bytes());
        out.extend_from_slice(&self.bytes);
        out.push(RECORD_END);
    }
}

impl<R: Read> Reader<R> {
    /// Reads the header. A file that ends inside the header is an empty log: no request was ever answered
    /// because of it.
    ///
    /// # Errors
    /// The file is not a transaction log.
    pub fn new(inner: R) -> Result<Reader<R>, Problem> {
        const HEADER_LEN: usize = 16;
        let mut input = Input::new(inner);
        let header = input.up_to(HEADER_LEN)?;
        let field = |at: usize| header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        if let Some(found) = field(0).filter(|&magic| magic != MAGIC && (magic != 0 || header.len() == HEADER_LEN)) {
            return Err(Problem::Foreign { wanted: "transaction log of ZooKeeper", found });
        }
        if let Some(found) = field(4).map(|version| version as i32).filter(|&version| version != VERSION) {
            return Err(Problem::Version { what: "transaction log of ZooKeeper", found, supported: VERSION });
        }
        let dbid = header.get(8..).and_then(|bytes| bytes.try_into().ok()).map_or(0, i64::from_be_bytes);
        let torn = if header.is_empty() { End::Clean } else { End::Torn { offset: 0 } };
        Ok(Reader { input, dbid, end: (header.len() < HEADER_LEN).then_some(torn) })
    }

    /// Returns the database id in the header.
    pub fn dbid(&self) -> i64 {
        self.dbid
    }

    /// Returns the kind of end, after [`Reader::next`] has returned `None`.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Returns the next record; `None` at the end.
    ///
    /// # Errors
    /// Any [`Problem`].
    #[expect(clippy::should_implement_trait, reason = "an error ends it")]
    pub fn next(&mut self) -> Result<Option<Record>, Problem> {
        let Some(raw) = self.next_raw()? else { return Ok(None) };
        let (offset, checksum, computed) = (raw.offset, raw.checksum, raw.computed());
        if checksum != i64::from(computed) {
            return Err(Problem::Checksum { offset, found: checksum, computed });
        }
        Ok(Some(Record { offset, checksum, transaction: raw.transaction()? }))
    }

    /// Returns the next record without checking its checksum or decoding it.
    ///
    /// # Errors
    /// Any [`Problem`] except those of checksums and transactions.
    pub fn next_raw(&mut self) -> Result<Option<RawRecord>, Problem> {
        if self.end.is_some() {
            return Ok(None);
        }
        let offset = self.input.position();
        Ok(self.record(offset)?.map(|(checksum, bytes)| RawRecord { offset, checksum, bytes }))
    }

    /// Reads checksum and transaction; `None` at the end of the log.
    fn record(&mut self, offset: u64) -> Result<Option<(i64, Vec<u8>)>, Problem> {
        let prefix = self.input.up_to(12)?;
        let Some((checksum, len)) = prefix.split_at_checked(8).filter(|_| prefix.len() == 12) else {
            let is_fill = prefix.iter().all(|&byte| byte == 0);
            return Ok(self.ended(if is_fill { End::Clean } else { End::Torn { offset } }));
        };
        let checksum = i64::from_be_bytes(checksum.try_into().expect("8 bytes"));
        let len = i32::from_be_bytes(len.try_into().expect("4 bytes"));
        if len == 0 {
            return Ok(self.ended(if checksum == 0 { End::Clean } else { End::Torn { offset } }));
        }
        if !(0..=TRANSACTION_LEN_MAX).contains(&len) {
            return Err(Problem::Nonsense { offset: offset + 8, what: format!("a transaction of {len} bytes") });
        }
        let mut bytes = self.input.up_to(len as usize + 1)?;
        if bytes.len() != len as usize + 1 {
            return Ok(self.ended(End::Torn { offset }));
        }
        if bytes.pop() != Some(RECORD_END) {
            self.expect_fill(offset)?;
            return Ok(self.ended(End::Torn { offset }));
        }
        Ok(Some((checksum, bytes)))
    }

    /// Checks that only zeros follow: an interrupted writer has written nothing else. ZooKeeper: it does not check.
    fn expect_fill(&mut self, offset: u64) -> Result<(), Problem> {
        loop {
            let bytes = self.input.up_to(WINDOW_LEN)?;
            if bytes.iter().any(|&byte| byte != 0) {
                let what = "a record without its end mark, but not the last one".to_owned();
                return Err(Problem::Nonsense { offset, what });
            }
            if bytes.len() < WINDOW_LEN {
                return Ok(());
            }
        }
    }

    fn ended<T>(&mut self, end: End) -> Option<T> {
        self.end = Some(end);
        None
    }
}
