//! The read operations: for each one its checks and the body of its reply. They change nothing.
//!
//! Each operation appends the body to `out`, or returns an error code and leaves `out` unchanged.
//! Source: `FinalRequestProcessor.processRequest`.

use bytes::BufMut;
use oxkeeper_proto::multi::{MULTI_END, MultiOp, decode_multi, encode_multi_error};
use oxkeeper_proto::op::perms;
use oxkeeper_proto::records::{GetAclResponse, GetDataResponse, Stat};
use oxkeeper_proto::{ErrorCode, Jute, OpCode, SessionId, java};

use crate::acl::{AclId, Caller, mask_digests};
use crate::apply::put_result_header;
use crate::hash_order::Buckets;
use crate::state::State;
use crate::znode::{Slot, Znode};

/// Maximum length of a reply that lists things (children, ephemerals, the results of a multiRead),
/// bytes. A frame of 1 MiB can ask for the same large znode tens of thousands of times, and each of
/// a thousand paths may have a long prefix.
const REPLY_LEN_MAX: usize = 64 << 20;

impl State {
    /// Serves exists. *Errors*: `BadArguments` (a NUL in the path), `NoAuth`, `NoNode`.
    pub fn exists(&self, path: &str, caller: &Caller<'_>) -> Result<Stat, ErrorCode> {
        if path.contains('\0') {
            return Err(ErrorCode::BadArguments);
        }
        self.readable(path, caller).map(|(_, znode)| znode.stat())
    }

    /// Serves getData. *Errors*: `NoNode`, `NoAuth`.
    pub fn get_data(&self, path: &str, caller: &Caller<'_>, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let (_, znode) = self.readable(path, caller)?;
        GetDataResponse { data: znode.data(), stat: znode.stat() }.encode(out);
        Ok(())
    }

    /// Serves getChildren, and getChildren2 with the parent's Stat after the names. *Errors*:
    /// `NoNode`, `NoAuth`; `SystemError` beyond [`REPLY_LEN_MAX`].
    pub fn get_children(
        &self,
        path: &str,
        caller: &Caller<'_>,
        with_stat: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), ErrorCode> {
        let (slot, znode) = self.readable(path, caller)?;
        let start = out.len();
        out.put_u32(znode.num_children());
        for name in self.tree.child_names(slot) {
            Some(name).encode(out);
            check_len(start, out)?;
        }
        if with_stat {
            znode.stat().encode(out);
        }
        Ok(())
    }

    /// Serves getACL. Callers that may read but not administer see no digests. *Errors*: `NoNode`,
    /// `NoAuth`.
    pub fn get_acl(&self, path: &str, caller: &Caller<'_>, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let slot = self.tree.lookup(path).ok_or(ErrorCode::NoNode)?;
        let znode = self.tree.znode(slot);
        let acl = self.acls.list(znode.versions.acl);
        caller.check(acl, perms::READ | perms::ADMIN)?;
        let shown = if caller.check(acl, perms::ADMIN).is_ok() { (**acl).clone() } else { mask_digests(acl) };
        GetAclResponse { acl: Some(shown), stat: znode.stat() }.encode(out);
        Ok(())
    }

    /// Serves getAllChildrenNumber: counts the descendants at every depth. *Errors*: `NoNode`,
    /// `NoAuth`.
    pub fn all_children_number(&self, path: &str, caller: &Caller<'_>) -> Result<i32, ErrorCode> {
        let (slot, _) = self.readable(path, caller)?;
        let count = match slot {
            Slot::ROOT => self.tree.len() - 1,
            slot => self.tree.descendants(slot).count(),
        };
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    }

    /// Serves getEphemerals for one session. ZooKeeper: the filter is a plain string prefix; a
    /// blank filter and `/` match everything. *Errors*: `SystemError` beyond [`REPLY_LEN_MAX`].
    pub fn get_ephemerals(&self, session: SessionId, prefix: Option<&str>, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let prefix = prefix.filter(|prefix| !matches!(java::trim(prefix), "" | "/")).unwrap_or_default();
        // ZooKeeper: lists a clone of the session's set.
        let owned = self.owned_by(session, Buckets::of_clone);
        let paths = owned.into_iter().map(|(_, path)| path).filter(|path| path.starts_with(prefix));
        let start = out.len();
        let mut count = 0u32;
        out.put_u32(count);
        for path in paths {
            Some(path.as_bytes()).encode(out);
            count += 1;
            check_len(start, out)?;
        }
        out[start..start + 4].copy_from_slice(&count.to_be_bytes());
        Ok(())
    }

    /// Serves multiRead: each operation by itself; a failure is an entry among the results.
    /// *Errors*: `Marshalling`; `SystemError` beyond [`REPLY_LEN_MAX`].
    pub fn multi_read(&self, body: &[u8], caller: &Caller<'_>, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let ops = decode_multi(body).map_err(|_| ErrorCode::Marshalling)?;
        let start = out.len();
        for op in &ops {
            if let Err(code) = self.multi_read_op(op, caller, out) {
                if code == ErrorCode::Marshalling {
                    out.truncate(start);
                    return Err(code);
                }
                encode_multi_error(code.wire(), out);
            }
            check_len(start, out)?;
        }
        MULTI_END.encode(out);
        Ok(())
    }

    fn multi_read_op(&self, op: &MultiOp<'_>, caller: &Caller<'_>, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let start = out.len();
        let result = match op {
            MultiOp::GetData(request) => {
                put_result_header(OpCode::GetData, out);
                let path = request.path.as_deref().ok_or(ErrorCode::Marshalling)?;
                self.get_data(path, caller, out)
            }
            MultiOp::GetChildren(request) => {
                put_result_header(OpCode::GetChildren, out);
                let path = request.path.as_deref().ok_or(ErrorCode::Marshalling)?;
                self.get_children(path, caller, false, out)
            }
            MultiOp::Create(..)
            | MultiOp::CreateTtl(_)
            | MultiOp::Delete(_)
            | MultiOp::SetData(_)
            | MultiOp::Check(_) => Err(ErrorCode::Marshalling),
        };
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    /// Returns whether this caller may be told of a change to a znode with this ACL.
    pub fn may_know(acl: Option<&crate::AclList>, caller: &Caller<'_>) -> bool {
        acl.is_none_or(|acl| caller.check(acl, perms::READ).is_ok())
    }

    fn readable(&self, path: &str, caller: &Caller<'_>) -> Result<(Slot, &Znode), ErrorCode> {
        let slot = self.tree.lookup(path).ok_or(ErrorCode::NoNode)?;
        let znode = self.tree.znode(slot);
        let acl = znode.versions.acl;
        if acl != AclId::OPEN {
            caller.check(self.acls.list(acl), perms::READ)?;
        }
        Ok((slot, znode))
    }
}

/// Drops the body if it has become too long. *Errors*: `SystemError`.
fn check_len(start: usize, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
    if out.len() - start <= REPLY_LEN_MAX {
        return Ok(());
    }
    out.truncate(start);
    Err(ErrorCode::SystemError)
}
