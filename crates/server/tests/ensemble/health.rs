//! What a member tells of its health over HTTP: without a majority it is alive, and not ready.

use std::net::SocketAddr;

use crate::group::Group;
use crate::support::http::get;
use crate::support::until;

fn admin(group: &Group, id: u8) -> SocketAddr {
    group.seat(id).server.as_ref().unwrap().admin_address().unwrap()
}

fn statuses(group: &Group, id: u8) -> [u16; 3] {
    ["/livez", "/readyz", "/startupz"].map(|path| get(admin(group, id), path).0)
}

#[test]
fn a_member_without_a_majority_is_alive_and_not_ready() {
    let mut group = Group::new(&[1, 2, 3], &[]);
    group.start(1);
    assert_eq!(statuses(&group, 1), [200, 503, 200]);
    let ruok = get(admin(&group, 1), "/commands/ruok");
    assert_eq!(ruok.0, 200);
    assert!(ruok.1.contains("\"error\" : \"This ZooKeeper instance is not currently serving requests\""), "{}", ruok.1);
    let monitor = get(admin(&group, 1), "/commands/monitor").1;
    assert!(monitor.contains("\"peer_state\" : \"looking\""), "{monitor}");
    let metrics = get(admin(&group, 1), "/metrics").1;
    assert!(metrics.contains("\noxkeeper_state{state=\"not-serving\"} 1\n"), "{metrics}");

    group.start(2);
    group.start(3);
    let leader = group.wait_serving();
    group.ids().into_iter().for_each(|id| assert_eq!(statuses(&group, id), [200; 3]));
    let metrics = get(admin(&group, leader), "/metrics").1;
    assert!(metrics.contains("\nelection_time_count 1\n"), "{metrics}");
    assert!(metrics.contains("\nquorum_size 3\n"), "{metrics}");

    let follower = group.follower();
    group.ids().into_iter().filter(|&id| id != follower).for_each(|id| {
        group.stop(id);
    });
    until("it is out of touch", || get(admin(&group, follower), "/readyz").0 == 503);
    assert_eq!(statuses(&group, follower), [200, 503, 200]);
    group.stop(follower);
}
