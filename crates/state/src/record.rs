//! Records of the durable tree for a znode, an ACL, and a session: the store keeps them as bytes
//! under a key.
//!
//! A znode's key is its slot, so that a checkpoint of changed slots is a set of puts and removes,
//! and loading is one scan without sorting. Layout: fields in order, Jute-encoded (see
//! [`encode_znode`]).

use std::borrow::Cow;

use bytes::BufMut;
use oxkeeper_proto::{DecodeError, Jute, Reader, ServerId};

use crate::acl::AclId;
use crate::command::{BallotId, decode_ballot};
use crate::hash_order::Buckets;
use crate::session::Session;
use crate::znode::{Owner, Slot, Versions, Znode};

/// Encodes a znode: parent slot, versions, digest, name, data; then the buckets of its children and
/// its place in its transaction, unless both have the values of a znode with few children that was
/// created alone.
pub(crate) fn encode_znode(znode: &Znode) -> Vec<u8> {
    let v = &znode.versions;
    let mut out = Vec::with_capacity(80 + znode.name_bytes().len() + znode.data_len());
    out.put_u32(znode.parent().0);
    out.put_u32(v.acl.0);
    for long in [v.czxid, v.mzxid, v.pzxid, v.ctime, v.mtime, v.owner.0] {
        out.put_i64(long);
    }
    for int in [v.version, v.cversion, v.aversion] {
        out.put_i32(int);
    }
    out.put_u32(znode.digest);
    Some(znode.name_bytes()).encode(&mut out);
    znode.data().encode(&mut out);
    if (znode.buckets(), znode.place()) != (Buckets::OF_CHILDREN, 0) {
        out.put_u8(znode.buckets().log2() as u8);
        out.put_u32(znode.place());
    }
    out
}

/// Decodes what [`encode_znode`] wrote. *Errors*: see [`DecodeError`].
pub fn decode_znode(bytes: &[u8]) -> Result<Znode, DecodeError> {
    let reader = &mut Reader::new(bytes);
    let parent = Slot(i32::decode(reader)? as u32);
    let acl = AclId(i32::decode(reader)? as u32);
    let mut long = || i64::decode(reader);
    let [czxid, mzxid, pzxid, ctime, mtime, owner] = [long()?, long()?, long()?, long()?, long()?, long()?];
    let mut int = || i32::decode(reader);
    let [version, cversion, aversion] = [int()?, int()?, int()?];
    let digest = int()? as u32;
    let owner = Owner(owner);
    let versions = Versions { czxid, mzxid, pzxid, ctime, mtime, owner, version, cversion, aversion, acl };
    let name = match Option::<Cow<'_, str>>::decode(reader)? {
        Some(Cow::Borrowed(name)) => name,
        Some(Cow::Owned(_)) | None => return Err(DecodeError::NotAllowed("a name that is not text")),
    };
    let data = reader.buffer()?;
    let (buckets, place) = match *reader.rest() {
        [] => (Buckets::OF_CHILDREN, 0),
        [log2, ref place @ ..] => {
            let place = place.try_into().map_err(|_| DecodeError::NotAllowed("something behind a znode"))?;
            (Buckets::from_log2(log2.into()), u32::from_be_bytes(place))
        }
    };
    let mut znode = Znode::new(parent, name, data, versions, place);
    znode.set_buckets(buckets);
    znode.digest = digest;
    Ok(znode)
}

/// Encodes a session: timeout; the owner, unless it is 0; and, if it was resumed in the epoch of
/// `ballot`, the ballot and the number of resumptions.
pub(crate) fn encode_session(session: &Session, ballot: Option<BallotId>) -> Vec<u8> {
    let mut out = session.timeout_ms.to_be_bytes().to_vec();
    let resumed = ballot.filter(|_| session.resumes > 0);
    out.extend((session.owner != ServerId(0) || resumed.is_some()).then_some(session.owner.0));
    if let Some(ballot) = resumed {
        out.put_slice(&ballot.0);
        out.put_u32(session.resumes);
    }
    out
}

/// Decodes what [`encode_session`] wrote. Resumptions under a ballot other than `ballot` no longer
/// count. *Errors*: see [`DecodeError`].
pub(crate) fn decode_session(bytes: &[u8], ballot: Option<BallotId>) -> Result<Session, DecodeError> {
    let reader = &mut Reader::new(bytes);
    let timeout_ms = i32::decode(reader)?;
    let owner = ServerId(if reader.rest().is_empty() { 0 } else { reader.take(1)?[0] });
    let mut session = Session { timeout_ms, owner, ..Session::default() };
    if !reader.rest().is_empty() {
        let counted = Some(decode_ballot(reader)?);
        let resumes = i32::decode(reader)? as u32;
        session.resumes = if counted == ballot { resumes } else { 0 };
    }
    match reader.rest() {
        [] => Ok(session),
        _ => Err(DecodeError::NotAllowed("something behind a session")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_read_as_they_were_written() {
        let (ballot, other) = (Some(BallotId([1; 20])), Some(BallotId([2; 20])));
        let check = |owner, resumes, len, read_by, expected| {
            let owner = ServerId(owner);
            let bytes = encode_session(&Session { timeout_ms: 9, owner, resumes, ..Session::default() }, ballot);
            assert_eq!(bytes.len(), len);
            let session = decode_session(&bytes, read_by).unwrap();
            assert_eq!((session.timeout_ms, session.owner, session.resumes), (9, owner, expected));
            (5..len).for_each(|len| assert!(decode_session(&bytes[..len], ballot).is_err() || len == 5, "{len}"));
            assert!(len < 6 || decode_session(&[&bytes[..], &[0]].concat(), ballot).is_err());
        };
        check(0, 0, 4, ballot, 0);
        check(3, 0, 5, ballot, 0);
        check(0, 2, 29, ballot, 2);
        check(255, 2, 29, ballot, 2);
        // Another leader has begun since.
        check(3, 2, 29, other, 0);
        check(3, 2, 29, None, 0);
    }
}
