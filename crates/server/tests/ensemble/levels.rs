//! The feature level of an ensemble of real servers.

use oxkeeper_proto::op::CreateMode::Persistent;

use crate::group::{Group, word};
use crate::support::until;

/// Returns the agreed level that a server reports.
fn level(group: &Group, id: u8) -> Option<u32> {
    let text = word(group.address(id), "srvr");
    text.lines().find_map(|line| line.strip_prefix("Feature level: ")).and_then(|level| level.parse().ok())
}

fn wait_raised(group: &Group, to: u32) {
    until("every server is at the level", || group.running_ids().iter().all(|&id| level(group, id) == Some(to)));
}

#[test]
fn the_level_is_raised_once_every_member_knows_it() {
    let mut group = Group::running(&[1, 2, 3], &[]);
    wait_raised(&group, 1);
    group.stop(3);
    group.start(3);
    group.wait_serving();
    wait_raised(&group, 1);
    group.end();
}

#[test]
fn the_level_waits_for_a_member_that_is_held_back() {
    let mut group = Group::new(&[1, 2, 3], &[]);
    let held = format!("{}\noxkeeper.featureLevelMax=0", group.zoo_cfg(3));
    (1..=2).for_each(|id| group.start(id));
    group.start_with(3, &held).unwrap();
    group.wait_serving();
    let mut client = group.client(1);
    for number in 0..20 {
        client.create(&format!("/{number}"), b"", Persistent).unwrap().unwrap();
    }
    assert_eq!([1, 2, 3].map(|id| level(&group, id)), [None; 3]);
    group.stop(3);
    for number in 20..30 {
        client.create(&format!("/{number}"), b"", Persistent).unwrap().unwrap();
    }
    assert_eq!([1, 2].map(|id| level(&group, id)), [None; 2], "who is away may come back as it was");
    group.start(3);
    group.wait_serving();
    wait_raised(&group, 1);
    group.end();
}
