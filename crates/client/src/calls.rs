//! Every operation of the protocol as a typed call: one method each, in protocol order, with owned values in and out.
//!
//! All of them fail with [`Error::Server`] if the server refuses the request, and may fail in the ways of
//! [`Client::call`].

use std::borrow::Cow;

use oxkeeper_proto::multi::{MultiOp, encode_multi};
use oxkeeper_proto::op::{AddWatchMode, CreateMode, WatcherType, XID_AUTH, XID_SET_WATCHES, perms};
use oxkeeper_proto::records::{
    Acl, AddWatchRequest, AuthPacket, CheckVersionRequest, Create2Response, CreateRequest, CreateResponse,
    CreateTtlRequest, DeleteRequest, GetAclResponse, GetAllChildrenNumberResponse, GetChildren2Response,
    GetChildrenResponse, GetDataResponse, GetEphemeralsResponse, Id, PathRecord, ReadRequest, ReconfigRequest,
    SaslToken, SetAclRequest, SetDataRequest, SetWatches, SetWatches2, Stat, StatResponse, WatchesRequest,
    WhoAmIResponse,
};
use oxkeeper_proto::{ErrorCode, Jute, OpCode, Reader, Text};

use crate::multi::{OpResult, decode_results};
use crate::watches::Watches;
use crate::{Client, Error, Reply};

/// Path of the znode with the ensemble's configuration.
pub(crate) const CONFIG_PATH: &str = "/zookeeper/config";
/// ZooKeeper: maximal bytes of paths in one setWatches, so that the request stays below every server's limit.
const SET_WATCHES_LEN_MAX: usize = 128 << 10;

/// A znode that was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Path, with its sequence suffix.
    pub path: String,
    /// Stat after the create.
    pub stat: Stat,
}

/// Returns an ACL that lets everyone do everything.
pub fn open_acl() -> Vec<Acl<'static>> {
    vec![acl_entry(perms::ALL, "world", "anyone")]
}

/// Returns one entry of an ACL.
pub fn acl_entry<'a>(perms: i32, scheme: &'a str, id: &'a str) -> Acl<'a> {
    Acl { perms, id: Id { scheme: text(scheme), id: text(id) } }
}

/// A znode to create.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// Path, without the sequence suffix.
    pub path: &'a str,
    /// Data; null and empty data differ.
    pub data: Option<&'a [u8]>,
    /// ACL.
    pub acl: &'a [Acl<'a>],
    /// Mode: lifetime, and whether the name gets a suffix.
    pub mode: CreateMode,
    /// Ttl, ms, used by the modes with a ttl.
    pub ttl_ms: i64,
}

/// Returns `path` relative to `chroot`, or `path` itself if it is not below `chroot`.
pub(crate) fn below<'a>(chroot: &str, path: &'a str) -> &'a str {
    match path.strip_prefix(chroot) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

fn text(value: &str) -> Option<Text<'_>> {
    Some(Cow::Borrowed(value))
}

fn owned(values: Option<Vec<Text<'_>>>) -> Vec<String> {
    values.unwrap_or_default().into_iter().map(Cow::into_owned).collect()
}

impl Client {
    async fn send<'a>(&self, op: OpCode, record: &impl Jute<'a>) -> Result<Reply, Error> {
        let mut body = Vec::new();
        record.encode(&mut body);
        self.call(op, body).await
    }

    /// Returns the server's form of a path.
    fn rooted<'a>(&self, path: &'a str) -> Option<Text<'a>> {
        Some(match (&*self.chroot, path) {
            ("", _) => Cow::Borrowed(path),
            (chroot, "/") => Cow::Owned(chroot.to_owned()),
            (chroot, _) => Cow::Owned(format!("{chroot}{path}")),
        })
    }

    /// Returns the caller's form of a path.
    fn unrooted(&self, path: &str) -> String {
        below(&self.chroot, path).to_owned()
    }

    fn create_request<'a>(
        &self,
        path: &'a str,
        data: Option<&'a [u8]>,
        acl: &[Acl<'a>],
        mode: CreateMode,
    ) -> CreateRequest<'a> {
        CreateRequest { path: self.rooted(path), data, acl: Some(acl.to_vec()), flags: mode.wire() }
    }

    fn created(&self, reply: &Reply) -> Result<Created, Error> {
        let Create2Response { path, stat } = Create2Response::from_bytes(&reply.body)?;
        Ok(Created { path: self.unrooted(&path.unwrap_or_default()), stat })
    }

    /// Sends the create that `new` needs: 1, createContainer (19) or createTTL (21). Returns the path of the new znode.
    pub async fn create_new(&self, new: &New<'_>) -> Result<String, Error> {
        let request = self.create_request(new.path, new.data, new.acl, new.mode);
        let reply = if new.mode.has_ttl() {
            let CreateRequest { path, data, acl, flags } = request;
            self.send(OpCode::CreateTtl, &CreateTtlRequest { path, data, acl, flags, ttl: new.ttl_ms }).await?
        } else {
            let op = if new.mode == CreateMode::Container { OpCode::CreateContainer } else { OpCode::Create };
            self.send(op, &request).await?
        };
        // A stat may follow; the path comes first in either case.
        let path = CreateResponse::decode(&mut Reader::new(&reply.body))?.path;
        Ok(self.unrooted(&path.unwrap_or_default()))
    }

    /// Sends create (1). Returns the path of the new znode.
    pub async fn create(&self, path: &str, data: &[u8], acl: &[Acl<'_>], mode: CreateMode) -> Result<String, Error> {
        let reply = self.send(OpCode::Create, &self.create_request(path, Some(data), acl, mode)).await?;
        Ok(self.unrooted(&CreateResponse::from_bytes(&reply.body)?.path.unwrap_or_default()))
    }

    /// Sends create2 (15), or createContainer (19) for that mode. Returns path and stat of the new znode.
    pub async fn create2(&self, path: &str, data: &[u8], acl: &[Acl<'_>], mode: CreateMode) -> Result<Created, Error> {
        let op = if mode == CreateMode::Container { OpCode::CreateContainer } else { OpCode::Create2 };
        self.created(&self.send(op, &self.create_request(path, Some(data), acl, mode)).await?)
    }

    /// Sends createTTL (21). Returns path and stat of the new znode.
    pub async fn create_ttl(
        &self,
        path: &str,
        data: &[u8],
        acl: &[Acl<'_>],
        mode: CreateMode,
        ttl_ms: i64,
    ) -> Result<Created, Error> {
        let CreateRequest { path, data, acl, flags } = self.create_request(path, Some(data), acl, mode);
        self.created(&self.send(OpCode::CreateTtl, &CreateTtlRequest { path, data, acl, flags, ttl: ttl_ms }).await?)
    }

    /// Sends delete (2): deletes the znode if its version is `version`; -1 for any.
    pub async fn delete(&self, path: &str, version: i32) -> Result<(), Error> {
        self.send(OpCode::Delete, &DeleteRequest { path: self.rooted(path), version }).await.map(drop)
    }

    /// Sends exists (3). Returns `None` if the znode does not exist. The watch is set in both cases.
    pub async fn exists(&self, path: &str, watch: bool) -> Result<Option<Stat>, Error> {
        match self.send(OpCode::Exists, &ReadRequest { path: self.rooted(path), watch }).await {
            Err(Error::Server(ErrorCode::NoNode)) => Ok(None),
            reply => stat(&reply?).map(Some),
        }
    }

    /// Sends getData (4). Null data is `None`.
    pub async fn get_data(&self, path: &str, watch: bool) -> Result<(Option<Vec<u8>>, Stat), Error> {
        let reply = self.send(OpCode::GetData, &ReadRequest { path: self.rooted(path), watch }).await?;
        let GetDataResponse { data, stat } = GetDataResponse::from_bytes(&reply.body)?;
        Ok((data.map(<[u8]>::to_vec), stat))
    }

    /// Sends getData (4) for `/zookeeper/config`, regardless of the chroot.
    pub async fn get_config(&self, watch: bool) -> Result<(Option<Vec<u8>>, Stat), Error> {
        let reply = self.send(OpCode::GetData, &ReadRequest { path: text(CONFIG_PATH), watch }).await?;
        let GetDataResponse { data, stat } = GetDataResponse::from_bytes(&reply.body)?;
        Ok((data.map(<[u8]>::to_vec), stat))
    }

    /// Sends setData (5): sets the data if the version is `version`; -1 for any.
    pub async fn set_data(&self, path: &str, data: &[u8], version: i32) -> Result<Stat, Error> {
        let request = SetDataRequest { path: self.rooted(path), data: Some(data), version };
        stat(&self.send(OpCode::SetData, &request).await?)
    }

    /// Sends getACL (6).
    pub async fn get_acl(&self, path: &str) -> Result<(Vec<Acl<'static>>, Stat), Error> {
        let reply = self.send(OpCode::GetAcl, &PathRecord { path: self.rooted(path) }).await?;
        let GetAclResponse { acl, stat } = GetAclResponse::from_bytes(&reply.body)?;
        Ok((acl.unwrap_or_default().into_iter().map(Acl::into_owned).collect(), stat))
    }

    /// Sends setACL (7): sets the ACL if the aversion is `version`; -1 for any.
    pub async fn set_acl(&self, path: &str, acl: &[Acl<'_>], version: i32) -> Result<Stat, Error> {
        let request = SetAclRequest { path: self.rooted(path), acl: Some(acl.to_vec()), version };
        stat(&self.send(OpCode::SetAcl, &request).await?)
    }

    /// Sends getChildren (8). Returns the names, in no order.
    pub async fn get_children(&self, path: &str, watch: bool) -> Result<Vec<String>, Error> {
        let reply = self.send(OpCode::GetChildren, &ReadRequest { path: self.rooted(path), watch }).await?;
        Ok(owned(GetChildrenResponse::from_bytes(&reply.body)?.children))
    }

    /// Sends sync (9): later reads see every write that was answered before.
    pub async fn sync(&self, path: &str) -> Result<(), Error> {
        self.send(OpCode::Sync, &PathRecord { path: self.rooted(path) }).await.map(drop)
    }

    /// Sends ping (11), which also shows whether the session is alive.
    pub async fn ping(&self) -> Result<(), Error> {
        self.call_as(Some(oxkeeper_proto::op::XID_PING), OpCode::Ping, Vec::new()).await.map(drop)
    }

    /// Sends getChildren2 (12). Returns the names, in no order, and the parent's stat.
    pub async fn get_children2(&self, path: &str, watch: bool) -> Result<(Vec<String>, Stat), Error> {
        let reply = self.send(OpCode::GetChildren2, &ReadRequest { path: self.rooted(path), watch }).await?;
        let GetChildren2Response { children, stat } = GetChildren2Response::from_bytes(&reply.body)?;
        Ok((owned(children), stat))
    }

    /// Sends multi (14): all operations succeed, or none has an effect. A failed transaction is an `Ok` whose
    /// results tell which operation failed.
    pub async fn multi(&self, ops: &[MultiOp<'_>]) -> Result<Vec<OpResult>, Error> {
        self.several(OpCode::Multi, ops).await
    }

    /// Sends multiRead (22): each read succeeds or fails on its own.
    pub async fn multi_read(&self, ops: &[MultiOp<'_>]) -> Result<Vec<OpResult>, Error> {
        self.several(OpCode::MultiRead, ops).await
    }

    fn rooted_op<'a>(&self, op: &MultiOp<'a>) -> MultiOp<'a> {
        let rooted = |path: &Option<Text<'a>>| {
            path.as_ref().and_then(|path| self.rooted(path)).map(|path| Cow::Owned(path.into_owned()))
        };
        match op.clone() {
            MultiOp::Create(op, it) => MultiOp::Create(op, CreateRequest { path: rooted(&it.path), ..it }),
            MultiOp::CreateTtl(it) => MultiOp::CreateTtl(CreateTtlRequest { path: rooted(&it.path), ..it }),
            MultiOp::Delete(it) => MultiOp::Delete(DeleteRequest { path: rooted(&it.path), ..it }),
            MultiOp::SetData(it) => MultiOp::SetData(SetDataRequest { path: rooted(&it.path), ..it }),
            MultiOp::Check(it) => MultiOp::Check(CheckVersionRequest { path: rooted(&it.path), ..it }),
            MultiOp::GetData(it) => MultiOp::GetData(ReadRequest { path: rooted(&it.path), ..it }),
            MultiOp::GetChildren(it) => MultiOp::GetChildren(ReadRequest { path: rooted(&it.path), ..it }),
        }
    }

    async fn several(&self, op: OpCode, ops: &[MultiOp<'_>]) -> Result<Vec<OpResult>, Error> {
        let mut body = Vec::new();
        if self.chroot.is_empty() {
            encode_multi(ops, &mut body);
        } else {
            encode_multi(&ops.iter().map(|op| self.rooted_op(op)).collect::<Vec<_>>(), &mut body);
        }
        decode_results(&self.call(op, body).await?.body)
    }

    /// Sends reconfig (16). Returns the new configuration and the stat of its znode.
    pub async fn reconfig(
        &self,
        joining: Option<&str>,
        leaving: Option<&str>,
        members: Option<&str>,
        from_config: i64,
    ) -> Result<(Vec<u8>, Stat), Error> {
        let request = ReconfigRequest {
            joining_servers: joining.map(Cow::Borrowed),
            leaving_servers: leaving.map(Cow::Borrowed),
            new_members: members.map(Cow::Borrowed),
            cur_config_id: from_config,
        };
        let reply = self.send(OpCode::Reconfig, &request).await?;
        let GetDataResponse { data, stat } = GetDataResponse::from_bytes(&reply.body)?;
        Ok((data.unwrap_or_default().to_vec(), stat))
    }

    /// Sends checkWatches (17), which fails with `NoWatcher` if there is no such watch.
    pub async fn check_watches(&self, path: &str, kind: WatcherType) -> Result<(), Error> {
        self.send(OpCode::CheckWatches, &WatchesRequest { path: self.rooted(path), watcher_type: kind.wire() })
            .await
            .map(drop)
    }

    /// Sends removeWatches (18), which fails with `NoWatcher` if there was no such watch.
    pub async fn remove_watches(&self, path: &str, kind: WatcherType) -> Result<(), Error> {
        self.send(OpCode::RemoveWatches, &WatchesRequest { path: self.rooted(path), watcher_type: kind.wire() })
            .await
            .map(drop)
    }

    /// Sends auth (100): adds an identity to the connection. Null and empty `auth` differ.
    pub async fn add_auth(&self, scheme: &str, auth: Option<&[u8]>) -> Result<(), Error> {
        let mut body = Vec::new();
        AuthPacket { auth_type: 0, scheme: text(scheme), auth }.encode(&mut body);
        self.call_as(Some(XID_AUTH), OpCode::Auth, body).await.map(drop)
    }

    /// Sends setWatches (101): sets one-shot watches of an earlier connection again, which were up to date at
    /// `relative_zxid`.
    pub async fn set_watches(
        &self,
        relative_zxid: i64,
        data: &[&str],
        exist: &[&str],
        child: &[&str],
    ) -> Result<(), Error> {
        let rooted = |paths: &[&'_ str]| {
            paths.iter().map(|path| self.rooted(path).map(Cow::into_owned).map(Cow::Owned)).collect()
        };
        let (data_watches, exist_watches, child_watches) =
            (Some(rooted(data)), Some(rooted(exist)), Some(rooted(child)));
        let mut body = Vec::new();
        SetWatches { relative_zxid, data_watches, exist_watches, child_watches }.encode(&mut body);
        self.call_as(Some(XID_SET_WATCHES), OpCode::SetWatches, body).await.map(drop)
    }

    /// Sends sasl (102): one step of an exchange. Returns `None` if the server has no SASL.
    pub async fn sasl(&self, token: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let reply = self.send(OpCode::Sasl, &SaslToken { token: Some(token) }).await?;
        Ok(SaslToken::from_bytes(&reply.body)?.token.map(<[u8]>::to_vec))
    }

    /// Sends getEphemerals (103). Returns this session's ephemerals below `prefix`.
    pub async fn get_ephemerals(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let reply = self.send(OpCode::GetEphemerals, &PathRecord { path: self.rooted(prefix) }).await?;
        Ok(owned(GetEphemeralsResponse::from_bytes(&reply.body)?.ephemerals))
    }

    /// Sends getAllChildrenNumber (104). Returns the number of descendants at every depth.
    pub async fn get_all_children_number(&self, path: &str) -> Result<i32, Error> {
        let reply = self.send(OpCode::GetAllChildrenNumber, &PathRecord { path: self.rooted(path) }).await?;
        Ok(GetAllChildrenNumberResponse::from_bytes(&reply.body)?.total_number)
    }

    /// Sends setWatches2 (105): the same as [`Client::set_watches`], with persistent and recursive watches;
    /// the fields are those on the wire.
    pub async fn set_watches2(&self, watches: &SetWatches2<'_>) -> Result<(), Error> {
        let mut body = Vec::new();
        watches.encode(&mut body);
        self.call_as(Some(XID_SET_WATCHES), OpCode::SetWatches2, body).await.map(drop)
    }

    /// Sets the watches of an earlier connection again, which were up to date at `relative_zxid`.
    pub(crate) async fn leave_again(&self, relative_zxid: i64, watches: &Watches) -> Result<(), Error> {
        for body in self.watch_requests(relative_zxid, watches) {
            self.call_as(Some(XID_SET_WATCHES), OpCode::SetWatches2, body).await?;
        }
        Ok(())
    }

    /// Encodes as many setWatches2 requests as are needed to keep each short.
    fn watch_requests(&self, relative_zxid: i64, watches: &Watches) -> Vec<Vec<u8>> {
        let kinds = [&watches.data, &watches.exist, &watches.child, &watches.persistent, &watches.recursive];
        let mut all = kinds.iter().enumerate().flat_map(|(kind, paths)| paths.iter().map(move |path| (kind, path)));
        let mut requests = Vec::new();
        loop {
            let (mut lists, mut len) = ([const { Vec::new() }; 5], 0);
            while len < SET_WATCHES_LEN_MAX
                && let Some((kind, path)) = all.next()
            {
                len += path.len();
                lists[kind].push(self.rooted(path));
            }
            if len == 0 {
                return requests;
            }
            let [data_watches, exist_watches, child_watches, persistent_watches, persistent_recursive_watches] =
                lists.map(Some);
            let request = SetWatches2 {
                relative_zxid,
                data_watches,
                exist_watches,
                child_watches,
                persistent_watches,
                persistent_recursive_watches,
            };
            let mut body = Vec::new();
            request.encode(&mut body);
            requests.push(body);
        }
    }

    /// Sends addWatch (106): sets a watch that stays after it fires.
    pub async fn add_watch(&self, path: &str, mode: AddWatchMode) -> Result<(), Error> {
        self.send(OpCode::AddWatch, &AddWatchRequest { path: self.rooted(path), mode: mode.wire() }).await.map(drop)
    }

    /// Sends whoAmI (107). Returns scheme and user of each identity of the connection.
    pub async fn who_am_i(&self) -> Result<Vec<(String, String)>, Error> {
        let reply = self.call(OpCode::WhoAmI, Vec::new()).await?;
        let infos = WhoAmIResponse::from_bytes(&reply.body)?.client_info.unwrap_or_default();
        let pair = |text: Option<Text<'_>>| text.unwrap_or_default().into_owned();
        Ok(infos.into_iter().map(|info| (pair(info.auth_scheme), pair(info.user))).collect())
    }

    /// Sends closeSession (-11): ends the session, its ephemerals and its watches.
    pub async fn close(&self) -> Result<(), Error> {
        self.call(OpCode::CloseSession, Vec::new()).await.map(drop)
    }
}

fn stat(reply: &Reply) -> Result<Stat, Error> {
    Ok(StatResponse::from_bytes(&reply.body)?.stat)
}
