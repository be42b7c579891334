//! Files truncated at every byte, and files with every byte changed: the result must be an error or a clean
//! end, never a panic or a wrong item.

mod common;

use common::{log_of, text, transaction};
use oxkeeper_proto::records::{Acl, Id};
use oxkeeper_state::import::StoredStat;
use oxkeeper_state::znode::Owner;
use oxkeeper_zkfiles::Problem;
use oxkeeper_zkfiles::log::{self, End};
use oxkeeper_zkfiles::snapshot::{self, Digest, Item};
use oxkeeper_zkfiles::txn::{Body, op};
use oxkeeper_zkfiles::write::Writer;

fn stat(zxid: i64, owner: Owner) -> StoredStat {
    StoredStat { czxid: zxid, mzxid: 2, ctime: 3, mtime: 4, version: 5, cversion: 6, aversion: 7, owner, pzxid: 8 }
}

fn a_snapshot() -> Vec<u8> {
    let list = [Acl { perms: 31, id: Id { scheme: Some("digest".into()), id: Some("u:x".into()) } }];
    let (sessions, acls) = ([(7, 1000), (-8, 2000)], [(3, &list[..])]);
    let mut writer = Writer::new(Vec::new(), sessions.into_iter(), acls.into_iter()).expect("memory");
    writer.znode("", Some(b""), 0, &stat(0, Owner::PERSISTENT)).expect("memory");
    writer.znode("/a", None, 3, &stat(1, Owner(7))).expect("memory");
    writer.znode("/b", Some(b"data"), 0, &stat(2, Owner::ttl(9))).expect("memory");
    writer.finish(Digest { zxid: 9, version: 2, digest: -1 }).expect("memory")
}

/// Bytes after the first checksum: the digest with its own checksum, and the last zxid with its seal.
/// Bytes of the last zxid and its seal.
const LAST_ZXID_LEN: usize = 8 + 13;
const TRAILER_LEN: usize = 20 + 13 + LAST_ZXID_LEN;

fn read_snapshot(bytes: &[u8]) -> Result<Vec<Item>, Problem> {
    let mut reader = snapshot::Reader::new(bytes)?;
    let mut items = Vec::new();
    while let Some(item) = reader.next()? {
        items.push(item);
    }
    Ok(items)
}

#[test]
fn a_snapshot_is_whole_or_none() {
    let whole = a_snapshot();
    let items = read_snapshot(&whole).expect("as written");
    assert_eq!(items.len(), 7);
    let Some(Item::End(trailer)) = items.last() else { panic!("{items:?}") };
    assert_eq!(trailer.digest, Some(Digest { zxid: 9, version: 2, digest: -1 }));
    assert_eq!(trailer.last_zxid, Some(9));
    for len in 0..whole.len() {
        let read = read_snapshot(&whole[..len]);
        // Releases before 3.6 end before the digest, those before 3.9 after it.
        let is_old_end = [TRAILER_LEN, LAST_ZXID_LEN].contains(&(whole.len() - len));
        assert_eq!(read.is_ok(), is_old_end, "cut to {len} bytes: {read:?}");
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            let same_items = read_snapshot(&damaged).is_ok_and(|read| read == items);
            // ZooKeeper: the checksum covers the database id, too.
            assert!(!same_items && read_snapshot(&damaged).is_err(), "bit {bit} of byte {at}");
        }
    }
    assert!(read_snapshot(&[whole, vec![0]].concat()).is_err(), "something follows");
}

fn read_log(bytes: &[u8]) -> (Vec<i64>, Result<Option<End>, Problem>) {
    let mut zxids = Vec::new();
    let mut reader = match log::Reader::new(bytes) {
        Ok(reader) => reader,
        Err(problem) => return (zxids, Err(problem)),
    };
    loop {
        match reader.next() {
            Ok(Some(record)) => zxids.push(record.transaction.zxid),
            Ok(None) => return (zxids, Ok(reader.end())),
            Err(problem) => return (zxids, Err(problem)),
        }
    }
}

fn deletes() -> Vec<Vec<u8>> {
    (1..=4).map(|zxid| transaction(zxid, op::DELETE, &text("/a"))).collect()
}

#[test]
fn a_log_ends_where_it_was_cut() {
    let whole = log_of(&deletes());
    let record_len = (whole.len() - 16) / 4;
    let padded = [whole.clone(), vec![0; 200]].concat();
    assert!(matches!(read_log(&padded), (zxids, Ok(Some(End::Clean))) if zxids == [1, 2, 3, 4]));
    for len in 0..=whole.len() {
        let count = len.saturating_sub(16) / record_len;
        let is_clean = len == 0 || len >= 16 && (len - 16) % record_len == 0;
        for fill in [0, 300] {
            let (zxids, end) = read_log(&[&whole[..len], &vec![0; fill]].concat());
            if len < 16 && fill > 0 {
                // A header that contains zeros is not valid: a log never begins like that.
                continue;
            }
            assert_eq!(zxids.len(), count, "cut to {len} bytes, {fill} of fill");
            match end {
                // The checksum begins with four zeros.
                Ok(Some(End::Clean)) => assert!(is_clean || fill > 0 || (len - 16) % record_len <= 4, "{len}"),
                Ok(Some(End::Torn { .. })) => assert!(!is_clean, "{len}"),
                // Zeros took the place of the end of the checksum, or of the end mark and the bytes before it.
                Err(Problem::Checksum { .. }) => assert!(fill > 0, "{len}"),
                other => panic!("{len} bytes, {fill} of fill: {other:?}"),
            }
        }
    }
}

#[test]
fn a_damaged_log_gives_nothing_wrong() {
    let whole = log_of(&deletes());
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            let (zxids, end) = read_log(&damaged);
            assert!([1, 2, 3, 4].starts_with(&zxids), "bit {bit} of byte {at}: {zxids:?}");
            let is_dbid = (8..16).contains(&at);
            let is_told = end.is_err() || matches!(end, Ok(Some(End::Torn { .. })));
            assert!(is_told || is_dbid, "bit {bit} of byte {at}: {end:?}");
        }
    }
}

#[test]
fn unknown_and_odd_transactions_are_named() {
    let check = |op: i32, body: &[u8], expected: &str| {
        let (_, end) = read_log(&log_of(&[transaction(0x1_0000_0002, op, body)]));
        let said = end.expect_err("no transaction").to_string();
        assert!(said.contains(expected), "{said}");
    };
    check(99, &[], "transaction 0x100000002 of unknown type 99 at byte 16");
    check(op::DELETE, &[0, 0], "transaction 0x100000002 of type 2 at byte 16 that cannot be decoded");
    check(op::MULTI, &[0, 0, 0, 1, 0, 0, 0, 99, 0, 0, 0, 0], "unknown type 14");
}

/// Layouts of old releases, and the digest after a transaction.
#[test]
fn what_old_releases_leave_out_is_none() {
    let body = |op: i32, body: &[u8]| {
        let bytes = log_of(&[transaction(1, op, body)]);
        let mut reader = log::Reader::new(bytes.as_slice()).expect("a log");
        reader.next().expect("a record").expect("one").transaction
    };
    let digest = [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 5];
    assert_eq!(body(op::CLOSE_SESSION, &[]).body, Body::CloseSession(None));
    let closed = body(op::CLOSE_SESSION, &digest);
    assert_eq!((closed.body, closed.digest), (Body::CloseSession(None), Some((2, 5))));
    let closed = body(op::CLOSE_SESSION, &[&[0, 0, 0, 1][..], &text("/e"), &digest].concat());
    assert_eq!((closed.body, closed.digest), (Body::CloseSession(Some(vec!["/e".to_owned()])), Some((2, 5))));
    let create = [&text("/a")[..], &[0xff; 4], &[0; 4], &[1]].concat();
    let Body::Create(old) = body(op::CREATE, &create).body else { panic!("a create") };
    assert_eq!(old.parent_cversion, None);
    let Body::Create(new) = body(op::CREATE, &[&create[..], &[0, 0, 0, 7]].concat()).body else { panic!("a create") };
    assert_eq!(new.parent_cversion, Some(7));
}
