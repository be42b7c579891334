//! What the durable tree holds of a znode, an ACL, a session: records the store keeps as bytes under a key.
//!
//! A znode's key is its slot, so that a checkpoint of changed slots is a set of puts and removes, and loading is one
//! scan without sorting. Layout: fields in order, Jute-encoded (see [`encode_znode`]).

use std::borrow::Cow;

use bytes::BufMut;
use oxkeeper_proto::{DecodeError, Jute, Reader};

use crate::acl::AclId;
use crate::hash_order::Buckets;
use crate::session::Session;
use crate::znode::{Owner, Slot, Versions, Znode};

/// Encodes a znode: parent slot, versions, digest, name, data; then the buckets of its children and its place in its
/// transaction, unless they are those of a znode with few children that was created alone.
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

/// Encodes a session: timeout, and the owner unless it is 0.
pub(crate) fn encode_session(session: &Session) -> Vec<u8> {
    let mut out = session.timeout_ms.to_be_bytes().to_vec();
    out.extend((session.owner != 0).then_some(session.owner));
    out
}

/// Decodes what [`encode_session`] wrote: timeout and owner. *Errors*: see [`DecodeError`].
pub(crate) fn decode_session(bytes: &[u8]) -> Result<(i32, u8), DecodeError> {
    let reader = &mut Reader::new(bytes);
    let timeout_ms = i32::decode(reader)?;
    match reader.rest() {
        [] => Ok((timeout_ms, 0)),
        [owner] => Ok((timeout_ms, *owner)),
        _ => Err(DecodeError::NotAllowed("something behind a session")),
    }
}
