//! Every operation of the protocol as a typed call: owned values in and out, one method each, in protocol order.
//!
//! All of them fail with [`Error::Server`] for what the server refuses and may fail as [`Client::call`] does.

use std::borrow::Cow;

use oxkeeper_proto::multi::{MultiOp, encode_multi};
use oxkeeper_proto::op::{AddWatchMode, CreateMode, WatcherType, XID_AUTH, XID_SET_WATCHES, perms};
use oxkeeper_proto::records::{
    Acl, AddWatchRequest, AuthPacket, Create2Response, CreateRequest, CreateResponse, CreateTtlRequest, DeleteRequest,
    GetAclResponse, GetAllChildrenNumberResponse, GetChildren2Response, GetChildrenResponse, GetDataResponse,
    GetEphemeralsResponse, Id, PathRecord, ReadRequest, ReconfigRequest, SaslToken, SetAclRequest, SetDataRequest,
    SetWatches, SetWatches2, Stat, StatResponse, WatchesRequest, WhoAmIResponse,
};
use oxkeeper_proto::{ErrorCode, Jute, OpCode, Text};

use crate::multi::{OpResult, decode_results};
use crate::{Client, Error, Reply};

/// A znode that was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// With its sequence suffix.
    pub path: String,
    /// As created.
    pub stat: Stat,
}

/// An ACL that lets everyone do everything.
pub fn open_acl() -> Vec<Acl<'static>> {
    vec![acl_entry(perms::ALL, "world", "anyone")]
}

/// One entry of an ACL.
pub fn acl_entry<'a>(perms: i32, scheme: &'a str, id: &'a str) -> Acl<'a> {
    Acl { perms, id: Id { scheme: text(scheme), id: text(id) } }
}

fn text(value: &str) -> Option<Text<'_>> {
    Some(Cow::Borrowed(value))
}

fn texts<'a>(values: &[&'a str]) -> Option<Vec<Option<Text<'a>>>> {
    Some(values.iter().map(|value| text(value)).collect())
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

    /// create (1): the path of the new znode.
    pub async fn create(&self, path: &str, data: &[u8], acl: &[Acl<'_>], mode: CreateMode) -> Result<String, Error> {
        let reply = self.send(OpCode::Create, &create_request(path, data, acl, mode)).await?;
        Ok(CreateResponse::from_bytes(&reply.body)?.path.unwrap_or_default().into_owned())
    }

    /// create2 (15), or createContainer (19) for that mode: path and stat of the new znode.
    pub async fn create2(&self, path: &str, data: &[u8], acl: &[Acl<'_>], mode: CreateMode) -> Result<Created, Error> {
        let op = if mode == CreateMode::Container { OpCode::CreateContainer } else { OpCode::Create2 };
        created(&self.send(op, &create_request(path, data, acl, mode)).await?)
    }

    /// createTTL (21): path and stat of the new znode.
    pub async fn create_ttl(
        &self,
        path: &str,
        data: &[u8],
        acl: &[Acl<'_>],
        mode: CreateMode,
        ttl_ms: i64,
    ) -> Result<Created, Error> {
        let CreateRequest { path, data, acl, flags } = create_request(path, data, acl, mode);
        created(&self.send(OpCode::CreateTtl, &CreateTtlRequest { path, data, acl, flags, ttl: ttl_ms }).await?)
    }

    /// delete (2), if its version is `version`; -1 for any.
    pub async fn delete(&self, path: &str, version: i32) -> Result<(), Error> {
        self.send(OpCode::Delete, &DeleteRequest { path: text(path), version }).await.map(drop)
    }

    /// exists (3): `None` for a znode that is not there. A watch is left either way.
    pub async fn exists(&self, path: &str, watch: bool) -> Result<Option<Stat>, Error> {
        match self.send(OpCode::Exists, &ReadRequest { path: text(path), watch }).await {
            Err(Error::Server(ErrorCode::NoNode)) => Ok(None),
            reply => stat(&reply?).map(Some),
        }
    }

    /// getData (4): null data is `None`.
    pub async fn get_data(&self, path: &str, watch: bool) -> Result<(Option<Vec<u8>>, Stat), Error> {
        let reply = self.send(OpCode::GetData, &ReadRequest { path: text(path), watch }).await?;
        let GetDataResponse { data, stat } = GetDataResponse::from_bytes(&reply.body)?;
        Ok((data.map(<[u8]>::to_vec), stat))
    }

    /// setData (5), if its version is `version`; -1 for any.
    pub async fn set_data(&self, path: &str, data: &[u8], version: i32) -> Result<Stat, Error> {
        let request = SetDataRequest { path: text(path), data: Some(data), version };
        stat(&self.send(OpCode::SetData, &request).await?)
    }

    /// getACL (6).
    pub async fn get_acl(&self, path: &str) -> Result<(Vec<Acl<'static>>, Stat), Error> {
        let reply = self.send(OpCode::GetAcl, &PathRecord { path: text(path) }).await?;
        let GetAclResponse { acl, stat } = GetAclResponse::from_bytes(&reply.body)?;
        Ok((acl.unwrap_or_default().into_iter().map(Acl::into_owned).collect(), stat))
    }

    /// setACL (7), if its aversion is `version`; -1 for any.
    pub async fn set_acl(&self, path: &str, acl: &[Acl<'_>], version: i32) -> Result<Stat, Error> {
        let request = SetAclRequest { path: text(path), acl: Some(acl.to_vec()), version };
        stat(&self.send(OpCode::SetAcl, &request).await?)
    }

    /// getChildren (8): names, in no order.
    pub async fn get_children(&self, path: &str, watch: bool) -> Result<Vec<String>, Error> {
        let reply = self.send(OpCode::GetChildren, &ReadRequest { path: text(path), watch }).await?;
        Ok(owned(GetChildrenResponse::from_bytes(&reply.body)?.children))
    }

    /// sync (9): what follows sees every write that was answered before.
    pub async fn sync(&self, path: &str) -> Result<(), Error> {
        self.send(OpCode::Sync, &PathRecord { path: text(path) }).await.map(drop)
    }

    /// ping (11): also the way to learn that the session lives.
    pub async fn ping(&self) -> Result<(), Error> {
        self.call_as(Some(oxkeeper_proto::op::XID_PING), OpCode::Ping, Vec::new()).await.map(drop)
    }

    /// getChildren2 (12): names, in no order, and the parent's stat.
    pub async fn get_children2(&self, path: &str, watch: bool) -> Result<(Vec<String>, Stat), Error> {
        let reply = self.send(OpCode::GetChildren2, &ReadRequest { path: text(path), watch }).await?;
        let GetChildren2Response { children, stat } = GetChildren2Response::from_bytes(&reply.body)?;
        Ok((owned(children), stat))
    }

    /// multi (14): all or nothing. A transaction that failed is an `Ok` whose results say which operation did.
    pub async fn multi(&self, ops: &[MultiOp<'_>]) -> Result<Vec<OpResult>, Error> {
        self.several(OpCode::Multi, ops).await
    }

    /// multiRead (22): each read succeeds or fails by itself.
    pub async fn multi_read(&self, ops: &[MultiOp<'_>]) -> Result<Vec<OpResult>, Error> {
        self.several(OpCode::MultiRead, ops).await
    }

    async fn several(&self, op: OpCode, ops: &[MultiOp<'_>]) -> Result<Vec<OpResult>, Error> {
        let mut body = Vec::new();
        encode_multi(ops, &mut body);
        decode_results(&self.call(op, body).await?.body)
    }

    /// reconfig (16): the new configuration and the stat of its znode.
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

    /// checkWatches (17): `NoWatcher` unless there is such a watch.
    pub async fn check_watches(&self, path: &str, kind: WatcherType) -> Result<(), Error> {
        self.send(OpCode::CheckWatches, &WatchesRequest { path: text(path), watcher_type: kind.wire() }).await.map(drop)
    }

    /// removeWatches (18): `NoWatcher` unless there was such a watch.
    pub async fn remove_watches(&self, path: &str, kind: WatcherType) -> Result<(), Error> {
        self.send(OpCode::RemoveWatches, &WatchesRequest { path: text(path), watcher_type: kind.wire() })
            .await
            .map(drop)
    }

    /// auth (100): adds an identity to the connection.
    pub async fn add_auth(&self, scheme: &str, auth: &[u8]) -> Result<(), Error> {
        let mut body = Vec::new();
        AuthPacket { auth_type: 0, scheme: text(scheme), auth: Some(auth) }.encode(&mut body);
        self.call_as(Some(XID_AUTH), OpCode::Auth, body).await.map(drop)
    }

    /// setWatches (101): one-shot watches of an earlier connection, up to date at `relative_zxid`.
    pub async fn set_watches(
        &self,
        relative_zxid: i64,
        data: &[&str],
        exist: &[&str],
        child: &[&str],
    ) -> Result<(), Error> {
        let (data_watches, exist_watches, child_watches) = (texts(data), texts(exist), texts(child));
        let mut body = Vec::new();
        SetWatches { relative_zxid, data_watches, exist_watches, child_watches }.encode(&mut body);
        self.call_as(Some(XID_SET_WATCHES), OpCode::SetWatches, body).await.map(drop)
    }

    /// sasl (102): one step of an exchange; `None` says that the server has no SASL.
    pub async fn sasl(&self, token: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let reply = self.send(OpCode::Sasl, &SaslToken { token: Some(token) }).await?;
        Ok(SaslToken::from_bytes(&reply.body)?.token.map(<[u8]>::to_vec))
    }

    /// getEphemerals (103): this session's ephemerals below `prefix`.
    pub async fn get_ephemerals(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let reply = self.send(OpCode::GetEphemerals, &PathRecord { path: text(prefix) }).await?;
        Ok(owned(GetEphemeralsResponse::from_bytes(&reply.body)?.ephemerals))
    }

    /// getAllChildrenNumber (104): descendants at every depth.
    pub async fn get_all_children_number(&self, path: &str) -> Result<i32, Error> {
        let reply = self.send(OpCode::GetAllChildrenNumber, &PathRecord { path: text(path) }).await?;
        Ok(GetAllChildrenNumberResponse::from_bytes(&reply.body)?.total_number)
    }

    /// setWatches2 (105): as [`Client::set_watches`], with persistent and recursive ones; fields as on the wire.
    pub async fn set_watches2(&self, watches: &SetWatches2<'_>) -> Result<(), Error> {
        let mut body = Vec::new();
        watches.encode(&mut body);
        self.call_as(Some(XID_SET_WATCHES), OpCode::SetWatches2, body).await.map(drop)
    }

    /// addWatch (106): a watch that stays.
    pub async fn add_watch(&self, path: &str, mode: AddWatchMode) -> Result<(), Error> {
        self.send(OpCode::AddWatch, &AddWatchRequest { path: text(path), mode: mode.wire() }).await.map(drop)
    }

    /// whoAmI (107): scheme and user of each identity of the connection.
    pub async fn who_am_i(&self) -> Result<Vec<(String, String)>, Error> {
        let reply = self.call(OpCode::WhoAmI, Vec::new()).await?;
        let infos = WhoAmIResponse::from_bytes(&reply.body)?.client_info.unwrap_or_default();
        let pair = |text: Option<Text<'_>>| text.unwrap_or_default().into_owned();
        Ok(infos.into_iter().map(|info| (pair(info.auth_scheme), pair(info.user))).collect())
    }

    /// closeSession (-11): ends the session, its ephemerals and its watches.
    pub async fn close(&self) -> Result<(), Error> {
        self.call(OpCode::CloseSession, Vec::new()).await.map(drop)
    }
}

fn create_request<'a>(path: &'a str, data: &'a [u8], acl: &[Acl<'a>], mode: CreateMode) -> CreateRequest<'a> {
    CreateRequest { path: text(path), data: Some(data), acl: Some(acl.to_vec()), flags: mode.wire() }
}

fn created(reply: &Reply) -> Result<Created, Error> {
    let Create2Response { path, stat } = Create2Response::from_bytes(&reply.body)?;
    Ok(Created { path: path.unwrap_or_default().into_owned(), stat })
}

fn stat(reply: &Reply) -> Result<Stat, Error> {
    Ok(StatResponse::from_bytes(&reply.body)?.stat)
}
