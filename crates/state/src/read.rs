//! The reads: for each operation its checks and its reply's body. Nothing changes.
//!
//! Each appends the body to `out` and answers an error code otherwise; `out` is then as it was.
//! Source: `FinalRequestProcessor.processRequest`.

use bytes::BufMut;
use oxkeeper_proto::multi::{MULTI_END, MultiOp, decode_multi, encode_multi_error};
use oxkeeper_proto::op::perms;
use oxkeeper_proto::records::{GetAclResponse, GetDataResponse, GetEphemeralsResponse, Stat};
use oxkeeper_proto::{ErrorCode, Jute, OpCode, SessionId};

use crate::acl::{AclId, Caller, mask_digests};
use crate::apply::put_result_header;
use crate::state::State;
use crate::znode::{Slot, Znode};

/// Bytes of a multiRead's reply. A frame of 1 MiB can ask for the same large znode tens of thousands of times.
const MULTI_READ_LEN_MAX: usize = 64 << 20;

impl State {
    /// exists. *Errors*: `BadArguments` (a NUL in the path), `NoAuth`, `NoNode`.
    pub fn exists(&self, path: &str, caller: &Caller<'_>) -> Result<Stat, ErrorCode> {
        if path.contains('\0') {
            return Err(ErrorCode::BadArguments);
        }
        self.readable(path, caller).map(|(_, znode)| znode.stat())
    }

    /// getData. *Errors*: `NoNode`, `NoAuth`.
    pub fn get_data(&self, path: &str, caller: &Caller<'_>, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let (_, znode) = self.readable(path, caller)?;
        GetDataResponse { data: znode.data(), stat: znode.stat() }.encode(out);
        Ok(())
    }

    /// getChildren, and getChildren2 with the parent's Stat behind the names. *Errors*: `NoNode`, `NoAuth`.
    pub fn get_children(
        &self,
        path: &str,
        caller: &Caller<'_>,
        with_stat: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), ErrorCode> {
        let (slot, znode) = self.readable(path, caller)?;
        out.put_u32(znode.num_children());
        for child in self.tree.children(slot) {
            Some(child.name_bytes()).encode(out);
        }
        if with_stat {
            znode.stat().encode(out);
        }
        Ok(())
    }

    /// getACL. Callers that may read but not administer see no digests. *Errors*: `NoNode`, `NoAuth`.
    pub fn get_acl(&self, path: &str, caller: &Caller<'_>, out: &mut Vec<u8>) -> Result<(), ErrorCode> {
        let slot = self.tree.lookup(path).ok_or(ErrorCode::NoNode)?;
        let znode = self.tree.znode(slot);
        let acl = self.acls.list(znode.versions.acl);
        caller.check(acl, perms::READ | perms::ADMIN)?;
        let shown = if caller.check(acl, perms::ADMIN).is_ok() { (**acl).clone() } else { mask_digests(acl) };
        GetAclResponse { acl: Some(shown), stat: znode.stat() }.encode(out);
        Ok(())
    }

    /// getAllChildrenNumber: descendants at every depth. *Errors*: `NoNode`, `NoAuth`.
    pub fn all_children_number(&self, path: &str, caller: &Caller<'_>) -> Result<i32, ErrorCode> {
        let (slot, _) = self.readable(path, caller)?;
        let count = match slot {
            Slot::ROOT => self.tree.len() - 1,
            slot => self.tree.descendants(slot).count(),
        };
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    }

    /// getEphemerals of one session. ZooKeeper: the filter is a plain string prefix; blank and `/` are everything.
    pub fn get_ephemerals(&self, session: SessionId, prefix: Option<&str>, out: &mut Vec<u8>) {
        let prefix = prefix.filter(|prefix| !matches!(prefix.trim(), "" | "/")).unwrap_or_default();
        let slots = self.sessions.get(session).into_iter().flat_map(|session| session.ephemerals.iter());
        let paths = slots.map(|&slot| self.tree.path(slot)).filter(|path| path.starts_with(prefix));
        GetEphemeralsResponse { ephemerals: Some(paths.map(Into::into).collect()) }.encode(out);
    }

    /// multiRead: each operation for itself; a failure is an entry among the results. *Errors*: `Marshalling`;
    /// `SystemError` beyond [`MULTI_READ_LEN_MAX`].
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
            if out.len() - start > MULTI_READ_LEN_MAX {
                out.truncate(start);
                return Err(ErrorCode::SystemError);
            }
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

    /// Whether a change to a znode with this list may be told to this caller.
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
