//! Reads, and the watches they leave: every request that reads the state without changing it.
//!
//! A read and the watch it leaves happen under one lock on the state: no change falls between them.
//! Source: `FinalRequestProcessor.processRequest`.

use std::borrow::Cow;

use oxkeeper_proto::op::{AddWatchMode, WatcherType};
use oxkeeper_proto::records::{
    AddWatchRequest, ClientInfo, ErrorResponse, GetAllChildrenNumberResponse, PathRecord, ReadRequest, StatResponse,
    WatchesRequest, WhoAmIResponse,
};
use oxkeeper_proto::{ErrorCode, Jute, OpCode, Text};
use oxkeeper_state::{Caller, Identities, Settings};

use crate::Shared;
use crate::auth;
use crate::request::Outcome;
use crate::watches::{Mode, Table, Watcher, Watches};

/// One client's view of the state.
pub(crate) struct Reading<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) settings: Settings,
    pub(crate) who: Watcher<'a>,
}

impl Reading<'_> {
    fn caller(&self) -> Caller<'_> {
        Caller { identities: Identities(self.who.identities), settings: self.settings }
    }

    fn watch(&self, path: &str, table: Table) {
        self.shared.watches.lock().add(&self.who, path, table, Mode::Standard);
    }

    /// Appends the body of a read's reply.
    pub(crate) fn answer(&self, op: OpCode, body: &[u8], out: &mut Vec<u8>) -> Outcome {
        let state = &self.shared.state;
        let caller = self.caller();
        match op {
            OpCode::Exists => self.exists(body, out),
            OpCode::GetData => {
                let (path, watch) = read_request(body)?;
                state.get_data(&path, &caller, out)?;
                self.watch_if(watch, &path, Table::Data);
                Ok(())
            }
            OpCode::GetChildren | OpCode::GetChildren2 => {
                let (path, watch) = read_request(body)?;
                state.get_children(&path, &caller, op == OpCode::GetChildren2, out)?;
                self.watch_if(watch, &path, Table::Child);
                Ok(())
            }
            OpCode::GetAcl => state.get_acl(&path_of(body)?, &caller, out),
            OpCode::Sync => {
                // All acknowledged changes are applied here already: a standalone server is its own
                // leader. In an ensemble sync is a write.
                decoded::<PathRecord<'_>>(body)?.encode(out);
                Ok(())
            }
            OpCode::GetEphemerals => {
                let prefix = decoded::<PathRecord<'_>>(body)?.path;
                state.get_ephemerals(self.who.session, prefix.as_deref(), out)
            }
            OpCode::GetAllChildrenNumber => {
                let total_number = state.all_children_number(&path_of(body)?, &caller)?;
                GetAllChildrenNumberResponse { total_number }.encode(out);
                Ok(())
            }
            OpCode::MultiRead => state.multi_read(body, &caller, out),
            OpCode::WhoAmI => {
                WhoAmIResponse { client_info: Some(self.client_info()) }.encode(out);
                Ok(())
            }
            OpCode::AddWatch => {
                let AddWatchRequest { path, mode } = decoded(body)?;
                let path = path.ok_or(ErrorCode::Marshalling)?;
                let mode = AddWatchMode::from_wire(mode).ok_or(ErrorCode::Marshalling)?;
                let recursive = mode == AddWatchMode::PersistentRecursive;
                self.shared.watches.lock().add_persistent(&self.who, &path, recursive);
                ErrorResponse { err: 0 }.encode(out);
                Ok(())
            }
            OpCode::CheckWatches => {
                self.with_watches(body, |watches, path, kind| watches.contains(self.who.connection, path, kind))
            }
            OpCode::RemoveWatches => {
                self.with_watches(body, |watches, path, kind| watches.remove(self.who.connection, path, kind))
            }
            OpCode::Create
            | OpCode::Delete
            | OpCode::SetData
            | OpCode::SetAcl
            | OpCode::Ping
            | OpCode::Check
            | OpCode::Multi
            | OpCode::Create2
            | OpCode::Reconfig
            | OpCode::CreateContainer
            | OpCode::DeleteContainer
            | OpCode::CreateTtl
            | OpCode::Auth
            | OpCode::SetWatches
            | OpCode::Sasl
            | OpCode::SetWatches2
            | OpCode::CreateSession
            | OpCode::CloseSession
            | OpCode::ResumeSession
            | OpCode::Error => unreachable!("{op:?} is not a read"),
        }
    }

    fn watch_if(&self, wanted: bool, path: &str, table: Table) {
        if wanted {
            self.watch(path, table);
        }
    }

    /// Answers exists. A missing znode can be watched too: for its creation.
    fn exists(&self, body: &[u8], out: &mut Vec<u8>) -> Outcome {
        let (path, watch) = read_request(body)?;
        let found = self.shared.state.exists(&path, &self.caller());
        if matches!(found, Ok(_) | Err(ErrorCode::NoNode)) {
            self.watch_if(watch, &path, Table::Data);
        }
        StatResponse { stat: found? }.encode(out);
        Ok(())
    }

    fn with_watches(&self, body: &[u8], found: impl FnOnce(&mut Watches, &str, WatcherType) -> bool) -> Outcome {
        let WatchesRequest { path, watcher_type } = decoded(body)?;
        let kind = WatcherType::from_wire(watcher_type).ok_or(ErrorCode::Marshalling)?;
        let path = path.ok_or(ErrorCode::Marshalling)?;
        if found(&mut self.shared.watches.lock(), &path, kind) { Ok(()) } else { Err(ErrorCode::NoWatcher) }
    }

    /// Returns one entry for each identity: a digest without its hash, a scheme without a provider
    /// without a name.
    fn client_info(&self) -> Vec<ClientInfo<'_>> {
        let info = |id: oxkeeper_proto::records::Id<'_>| {
            let user = auth::user_name(self.settings, &id);
            ClientInfo { auth_scheme: Some(id.scheme.unwrap_or_default().into_owned().into()), user: Some(user.into()) }
        };
        let shown =
            Identities(self.who.identities).iter().filter(|id| id.scheme.as_deref() != Some(Identities::ANY_SASL));
        shown.map(info).collect()
    }
}

pub(crate) fn decoded<'a, T: Jute<'a>>(body: &'a [u8]) -> Result<T, ErrorCode> {
    T::from_bytes(body).map_err(|_| ErrorCode::Marshalling)
}

fn read_request(body: &[u8]) -> Result<(Text<'_>, bool), ErrorCode> {
    let ReadRequest { path, watch } = decoded(body)?;
    Ok((path.ok_or(ErrorCode::Marshalling)?, watch))
}

fn path_of(body: &[u8]) -> Result<Cow<'_, str>, ErrorCode> {
    decoded::<PathRecord<'_>>(body)?.path.ok_or(ErrorCode::Marshalling)
}
