//! Applies transactions to a state that is being imported. Source: `DataTree.processTxn`,
//! `FileTxnSnapLog.processTransaction`.

use oxkeeper_state::import::{Created, Importing};
use oxkeeper_state::znode::Owner;

use crate::txn::{Body, Create, Kind, Transaction};

/// Applies a transaction. Effects that the state already has are left as they are.
pub fn replay(state: &mut Importing, transaction: Transaction) {
    let Transaction { session, zxid, time_ms, body, .. } = transaction;
    step(state, session, zxid, time_ms, body);
}

fn step(state: &mut Importing, session: i64, zxid: i64, time_ms: i64, body: Body) {
    match body {
        Body::CreateSession { timeout_ms } => state.open_session(session, timeout_ms),
        Body::CloseSession(paths) => state.close_session(session, &paths.unwrap_or_default(), zxid),
        Body::Create(Create { path, data, acl, kind, parent_cversion }) => {
            let owner = match kind {
                Kind::Persistent => Owner::PERSISTENT,
                Kind::Ephemeral => Owner(session),
                Kind::Container => Owner::CONTAINER,
                Kind::Ttl(ttl_ms) => Owner::ttl(ttl_ms),
            };
            state.create(Created { path: &path, data: data.as_deref(), acl, owner, parent_cversion, zxid, time_ms });
        }
        Body::Delete { path } => state.delete(&path, zxid),
        Body::SetData { path, data, version } => state.set_data(&path, data.as_deref(), version, zxid, time_ms),
        Body::SetAcl { path, acl, version } => state.set_acl(&path, acl, version),
        // ZooKeeper: up to 3.9.2 a check outside a multi is logged, and keeps the server from starting.
        Body::Check { .. } | Body::Error { .. } => {}
        body @ Body::Multi(_) if body.is_void() => {}
        Body::Multi(parts) => parts.into_iter().for_each(|(_, body)| step(state, session, zxid, time_ms, body)),
    }
}
