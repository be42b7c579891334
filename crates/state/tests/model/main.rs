//! The state machine against a naive model, as properties with shrinking.
//!
//! `PROPTEST_CASES` sets how many cases each property tries.

mod disk;
mod model;
mod pair;
mod replay;
mod request;
mod rules;

use std::collections::BTreeSet;

use model::Reply;
use oxkeeper_state::State;
use pair::{Pair, admin, create};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use request::{Ask, Order, SESSIONS, identity, orders, steps};

/// Returns the callers that read everything: one with permission, one without, and one at random.
fn readers(random: Order) -> [Order; 3] {
    let nobody = Order { session: SESSIONS[0], settings: 0, identities: vec![identity("ip", "127.0.0.1")] };
    [admin(), nobody, random]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_command_does_what_the_model_does(steps in steps(1..60), reader in orders()) {
        let readers = readers(reader);
        let mut pair = Pair::furnished();
        for (position, step) in steps.iter().enumerate() {
            drop(pair.step(step));
            pair.state.check();
            if position % 8 == 0 {
                pair.compare(&readers);
            }
        }
        pair.compare(&readers);
    }
}

/// A property proves nothing about outcomes that its cases never reach.
#[test]
fn random_commands_reach_every_outcome() {
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..200 {
        let steps = steps(60).new_tree(&mut runner).expect("a strategy without filters").current();
        let mut pair = Pair::furnished();
        for step in &steps {
            let (ask, reply) = pair.step(step);
            let name = ask.op();
            match reply {
                Err(code) => drop(seen.insert(format!("{name:?} {code}"))),
                Ok(Reply::Multi(results)) => {
                    seen.extend(results.iter().map(|result| match result {
                        Ok((op, _)) => format!("{name:?} of {op}"),
                        Err(code) => format!("{name:?} {code}"),
                    }));
                }
                Ok(_) => drop(seen.insert(format!("{name:?}"))),
            }
        }
    }
    let expected = [
        "Create",
        "Create -5",
        "Create -8",
        "Create -101",
        "Create -102",
        "Create -108",
        "Create -110",
        "Create -112",
        "Create -114",
        "Create -125",
        "CreateTtl",
        "CreateTtl -6",
        "CreateTtl -8",
        "Delete",
        "Delete -8",
        "Delete -101",
        "Delete -102",
        "Delete -103",
        "Delete -111",
        "Delete -112",
        "Delete -5",
        "SetData",
        "SetData -8",
        "SetData -101",
        "SetData -102",
        "SetData -103",
        "SetData -112",
        "SetData -125",
        "SetAcl",
        "SetAcl -8",
        "SetAcl -101",
        "SetAcl -102",
        "SetAcl -103",
        "SetAcl -112",
        "SetAcl -114",
        "SetAcl -5",
        "DeleteContainer",
        "DeleteContainer -8",
        "DeleteContainer -101",
        "DeleteContainer -103",
        "DeleteContainer -111",
        "Multi of 1",
        "Multi of 2",
        "Multi of 5",
        "Multi of 13",
        "Multi of 15",
        "Multi 0",
        "Multi -2",
        "Multi -5",
        "Multi -101",
        "Multi -102",
        "Multi -103",
        "Multi -110",
        "Multi -111",
        "Multi -114",
        "Multi -125",
        "CreateContainer",
        "Create2",
        "CloseSession",
        "CreateSession",
        "Sync",
        "Create -120",
        "Multi -112",
        "Reconfig -123",
        "Reconfig -6",
        "Check -6",
    ];
    for outcome in expected {
        assert!(seen.contains(outcome), "{outcome} in {seen:?}");
    }
}

#[test]
fn an_empty_tree_has_the_digest_of_zookeepers() {
    assert_eq!(State::new(1).tree().digest(), 1_371_985_504);
    assert_eq!(model::Model::new().digest(), 1_371_985_504);
}

/// The digest depends on the tree, not on the changes that led to it.
#[test]
fn equal_trees_have_equal_digests() {
    let (mut one, mut other) = (Pair::furnished(), Pair::furnished());
    for path in ["/x", "/x/1", "/x/2"] {
        one.tell(&admin(), &create(path, "data", 0)).expect("it is new");
    }
    let ops = ["/x", "/x/1", "/x/2"].map(|path| create(path, "data", 0));
    // The same znodes are created by one multi, after one that fails, so that they come from the same
    // transactions.
    let mut failing = ops.to_vec();
    failing.push(create("/x/2", "", 0));
    let before = other.state.tree().digest();
    other.tell(&admin(), &Ask::Multi(failing)).expect("its codes are in its body");
    assert_eq!(other.state.tree().digest(), before, "a failed multi leaves the digest");
    assert_ne!(one.state.tree().digest(), before);
    let (mut third, mut fourth) = (Pair::furnished(), Pair::furnished());
    third.tell(&admin(), &Ask::Multi(ops.to_vec())).expect("they are new");
    fourth
        .tell(&admin(), &Ask::Multi([ops[0].clone(), ops[2].clone(), ops[1].clone()].to_vec()))
        .expect("they are new");
    assert_eq!(third.state.tree().digest(), fourth.state.tree().digest(), "siblings in another order");
}

/// Usage is counted operation by operation, and znodes created together with the statistics are not
/// counted twice.
#[test]
fn a_multi_may_bring_a_quota_and_its_first_znodes() {
    let mut pair = Pair::furnished();
    let ops = [
        create("/p", "12", 0),
        create("/zookeeper/quota/p", "", 0),
        create("/zookeeper/quota/p/zookeeper_limits", "count=-1,bytes=-1=;countHardLimit=3", 0),
        create("/zookeeper/quota/p/zookeeper_stats", "", 0),
        create("/p/1", "345", 0),
    ];
    pair.tell(&admin(), &Ask::Multi(ops.to_vec())).expect("it is not malformed");
    let stats = |pair: &Pair| {
        let slot = pair.state.tree().lookup("/zookeeper/quota/p/zookeeper_stats").expect("just created");
        String::from_utf8(pair.state.tree().znode(slot).data().expect("not null").to_vec()).expect("text")
    };
    assert_eq!(stats(&pair), "count=2,bytes=5");
    // Each create is within the limit by the usage before the multi; the second one would not be, had the
    // usage been updated in between.
    pair.tell(&admin(), &Ask::Multi(vec![create("/p/2", "", 0), create("/p/3", "", 0)])).expect("it is not malformed");
    assert_eq!(stats(&pair), "count=4,bytes=5");
    assert_eq!(pair.tell(&admin(), &create("/p/4", "", 0)), Err(-125));
    pair.compare(&[admin()]);
}
