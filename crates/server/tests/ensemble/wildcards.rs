//! Charts and operators write a wildcard into each server's own line. It says where to listen, and
//! must not be taken as the server's address.

use std::net::Ipv4Addr;

use oxkeeper_proto::op::CreateMode::Persistent;

use crate::group::Group;
use crate::members::{line, reconfig};

/// Like `zoo_cfg`, with a wildcard in the server's own line.
fn zoo_cfg(group: &Group, id: u8) -> String {
    let own = format!("server.{id}={}:", group.seat(id).peer.ip());
    group.zoo_cfg(id).replace(&own, &format!("server.{id}={}:", Ipv4Addr::UNSPECIFIED))
}

fn start(group: &mut Group, id: u8) {
    let text = zoo_cfg(group, id);
    group.start_with(id, &text).unwrap();
}

fn running() -> Group {
    let mut group = Group::new(&[1, 2, 3], &["reconfigEnabled=true", "skipACL=yes"]);
    group.ids().into_iter().for_each(|id| start(&mut group, id));
    group.wait_serving();
    group
}

/// Returns the members as the clients of a server see them.
fn members(group: &Group, id: u8) -> String {
    String::from_utf8(group.client(id).get("/zookeeper/config").unwrap().0).unwrap()
}

fn named(group: &Group, id: u8) -> String {
    format!("server.{id}={}:{}:", group.seat(id).peer.ip(), group.seat(id).peer.port())
}

/// The first leader's wildcard is agreed on until another server leads, whose file names a host.
#[test]
fn a_rolling_restart_loses_no_server() {
    let mut group = running();
    let founder = group.wait_serving();
    group.client(founder).create("/a", b"", Persistent).unwrap().unwrap();
    for id in [founder, 1, 2, 3] {
        group.stop(id);
        group.wait_serving();
        start(&mut group, id);
        group.wait_serving();
    }
    for id in group.ids() {
        let members = members(&group, id);
        assert!(!members.contains("0.0.0.0"), "{members}");
        group.ids().into_iter().for_each(|other| assert!(members.contains(&named(&group, other)), "{members}"));
    }
    group.assert_equal();
    group.end();
}

/// A reconfig by a client corrects it, too.
#[test]
fn a_reconfig_names_a_host() {
    let mut group = running();
    let founder = group.wait_serving();
    assert!(members(&group, founder).contains(&format!("server.{founder}=0.0.0.0:")), "nobody has said more");
    let mut client = group.client(founder);
    assert_eq!(reconfig(&mut client, Some(line(&group, founder)), None), 0);
    assert!(members(&group, founder).contains(&named(&group, founder)));
    // The wildcard does not come back.
    let back = line(&group, founder)
        .replace(&named(&group, founder), &format!("server.{founder}=0.0.0.0:{}:", group.seat(founder).peer.port()));
    assert_eq!(reconfig(&mut client, Some(back), None), 0);
    for id in group.ids() {
        group.stop(id);
        group.wait_serving();
        start(&mut group, id);
        group.wait_serving();
        assert!(!members(&group, id).contains(&format!("server.{founder}=0.0.0.0:")), "{}", members(&group, id));
    }
    group.end();
}
