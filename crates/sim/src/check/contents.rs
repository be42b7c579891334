//! Promise: everything that clients can read equals the naive model: each reply at the zxid that it
//! names, and the whole tree, with every session and ephemeral, after each restart and at the end.

use std::collections::{BTreeMap, BTreeSet};

use oxkeeper_proto::records::{
    GetChildren2Response, GetDataResponse, GetEphemeralsResponse, PathRecord, ReconfigRequest, Stat, StatResponse,
};
use oxkeeper_proto::{ErrorCode, Jute, Text};
use oxkeeper_state::State;

use crate::model::Model;

/// Checks that the server's state equals the model's.
pub fn check(state: &State, model: &Model) {
    let tree = state.tree();
    let zxid = model.zxid();
    let theirs: BTreeMap<String, (Option<Vec<u8>>, Stat)> = tree
        .iter()
        .map(|(slot, znode)| (tree.path(slot), (znode.data().map(<[u8]>::to_vec), znode.stat())))
        // Clients never touch these znodes, and no command creates them.
        .filter(|(path, _)| !path.starts_with("/zookeeper"))
        .collect();
    let ours: BTreeMap<String, (Option<Vec<u8>>, Stat)> = model
        .paths(zxid)
        .filter(|(path, _)| !path.starts_with("/zookeeper"))
        .map(|(path, node)| (path.to_owned(), (node.data.clone(), node.stat())))
        .collect();
    assert_eq!(theirs, ours, "contents: at zxid {zxid}");
    let sessions: BTreeSet<i64> = state.sessions().iter().map(|(id, _)| id.0).collect();
    assert_eq!(sessions, model.sessions, "contents: sessions at zxid {zxid}");
    for (session, paths) in state.ephemerals() {
        let ours = model.ephemerals(session.0, zxid);
        assert_eq!(paths.into_iter().collect::<BTreeSet<_>>(), ours, "ephemerals: of {session} at zxid {zxid}");
    }
}

/// Checks a reply to exists.
pub fn check_exists(model: &Model, path: &str, zxid: i64, err: i32, body: &[u8]) {
    let node = model.node(path, zxid);
    let expected = node.map(|node| encoded(&StatResponse { stat: node.stat() }));
    check_found(expected, err, body, || format!("exists {path} at {zxid}"));
}

/// Checks a reply to getData.
pub fn check_data(model: &Model, path: &str, zxid: i64, err: i32, body: &[u8]) {
    let node = model.node(path, zxid);
    let expected = node.map(|node| encoded(&GetDataResponse { data: node.data.as_deref(), stat: node.stat() }));
    check_found(expected, err, body, || format!("getData {path} at {zxid}"));
}

/// Checks a reply to getChildren2; the names may come in any order.
pub fn check_children(model: &Model, path: &str, zxid: i64, err: i32, body: &[u8]) {
    let Some(node) = model.node(path, zxid) else {
        return check_found(None, err, body, || format!("getChildren2 {path} at {zxid}"));
    };
    assert_eq!(err, 0, "contents: getChildren2 {path} at {zxid}");
    let response = GetChildren2Response::from_bytes(body).expect("contents: a reply to getChildren2");
    assert_eq!(sorted(response.children), node.children, "contents: children of {path} at {zxid}");
    assert_eq!(response.stat, node.stat(), "contents: Stat of {path} at {zxid}");
}

/// Checks a reply to getEphemerals.
pub fn check_ephemerals(model: &Model, session: i64, zxid: i64, err: i32, body: &[u8]) {
    assert_eq!(err, 0, "contents: getEphemerals at {zxid}");
    let response = GetEphemeralsResponse::from_bytes(body).expect("contents: a reply to getEphemerals");
    let ours = model.ephemerals(session, zxid);
    assert_eq!(sorted(response.ephemerals), ours, "ephemerals: of {session:x} at {zxid}");
}

/// Checks a reply to reconfig: the members are those in the request, and the version is this zxid.
pub fn check_reconfig(asked: &[u8], zxid: i64, err: i32, body: &[u8]) {
    if err != 0 {
        return assert!(body.is_empty(), "contents: an error of reconfig at {zxid}");
    }
    let request = ReconfigRequest::from_bytes(asked).expect("clients send sound requests");
    let response = GetDataResponse::from_bytes(body).expect("contents: a reply to reconfig");
    let expected = format!("{}\nversion={zxid:x}", request.new_members.expect("clients name all members"));
    let found = response.data.map(String::from_utf8_lossy).unwrap_or_default();
    assert_eq!((found.as_ref(), response.stat.mzxid), (&*expected, zxid), "contents: reconfig at {zxid}");
}

/// Checks a reply to sync.
pub fn check_sync(path: &str, err: i32, body: &[u8]) {
    check_found(Some(encoded(&PathRecord { path: Some(path.into()) })), err, body, || format!("sync {path}"));
}

fn check_found(expected: Option<Vec<u8>>, err: i32, body: &[u8], what: impl Fn() -> String) {
    let expected = expected.map_or((ErrorCode::NoNode.wire(), Vec::new()), |body| (0, body));
    assert_eq!((err, body), (expected.0, &*expected.1), "contents: {}", what());
}

fn sorted(names: Option<Vec<Text<'_>>>) -> BTreeSet<String> {
    names.unwrap_or_default().into_iter().map(Text::into_owned).collect()
}

fn encoded<'a>(record: &impl Jute<'a>) -> Vec<u8> {
    let mut out = Vec::new();
    record.encode(&mut out);
    out
}
