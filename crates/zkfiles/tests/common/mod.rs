//! Bytes of transaction logs, as Apache ZooKeeper writes them.

use oxkeeper_proto::Jute;

/// Encodes a transaction as in a log, without a digest.
pub(crate) fn transaction(zxid: i64, op: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    7i64.encode(&mut bytes);
    1i32.encode(&mut bytes);
    zxid.encode(&mut bytes);
    99i64.encode(&mut bytes);
    op.encode(&mut bytes);
    bytes.extend_from_slice(body);
    bytes
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Some(text.as_bytes()).encode(&mut bytes);
    bytes
}

pub(crate) fn log_of(transactions: &[Vec<u8>]) -> Vec<u8> {
    let mut log = b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0".to_vec();
    for transaction in transactions {
        i64::from(adler32_of(transaction)).encode(&mut log);
        Some(transaction.as_slice()).encode(&mut log);
        log.push(b'B');
    }
    log
}

/// Computes Adler-32 by its definition.
fn adler32_of(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1u32, 0u32), |(a, b), &byte| {
        let a = (a + u32::from(byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    b << 16 | a
}
