//! Session clocks under random traffic: sessions never expire early, and never later than timeout,
//! tick and interval together, and no session expires because of a pause of the server itself.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use oxkeeper_proto::SessionId;
use oxkeeper_replica::Clocks;
use oxkeeper_replica::clocks::{Heard, TAKEN_OVER};
use proptest::prelude::*;

const TICK_MS: u64 = 100;

#[derive(Clone, Debug)]
enum Step {
    Open(i64, i32),
    Attach(i64, i32),
    Hear(i64),
    /// Another server reports that it has heard from the session.
    Touch(i64),
    /// The session continues, as agreed.
    Resume(i64, i32),
    Close(i64),
    /// This server begins to lead, after another one did for this time, ms.
    Lead(u64),
    /// This time passes, ms, with looks at the usual interval.
    Pass(u64),
    /// The server stands still for this time, ms.
    Pause(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (id, timeout) = (1..4i64, 200..1500i32);
    prop_oneof![
        2 => (id.clone(), timeout.clone()).prop_map(|(id, timeout)| Step::Open(id, timeout)),
        2 => (id.clone(), timeout).prop_map(|(id, timeout)| Step::Attach(id, timeout)),
        4 => id.clone().prop_map(Step::Hear),
        2 => id.clone().prop_map(Step::Touch),
        2 => (id.clone(), 200..1500i32).prop_map(|(id, timeout)| Step::Resume(id, timeout)),
        1 => (0..5_000u64).prop_map(Step::Lead),
        1 => id.prop_map(Step::Close),
        5 => (1..600u64).prop_map(Step::Pass),
        1 => (TICK_MS * 2..20_000).prop_map(Step::Pause),
    ]
}

/// Guarantee for a session: it lives until `due_ms`, and not much longer.
struct Promise {
    timeout_ms: u64,
    due_ms: u64,
    heard: Heard,
}

struct Both {
    clocks: Clocks,
    promises: BTreeMap<i64, Promise>,
    now_ms: u64,
}

impl Both {
    fn take(&mut self, step: &Step) {
        match *step {
            Step::Open(id, timeout_ms) => {
                if !self.promises.contains_key(&id) {
                    self.clocks.open(SessionId(id), timeout_ms, self.now_ms);
                }
                let heard = self.attach(id, timeout_ms);
                assert!(heard, "{id} is alive");
            }
            Step::Attach(id, timeout_ms) => {
                let known = self.promises.contains_key(&id);
                assert_eq!(self.attach(id, timeout_ms), known, "only who lives can come back");
            }
            Step::Hear(id) => {
                if let Some(promise) = self.promises.get_mut(&id) {
                    promise.heard.fetch_max(self.now_ms, Ordering::Relaxed);
                    promise.due_ms = promise.due_ms.max(self.now_ms + promise.timeout_ms);
                }
            }
            Step::Touch(id) => {
                self.clocks.touch(SessionId(id), self.now_ms);
                if let Some(promise) = self.promises.get_mut(&id) {
                    promise.due_ms = promise.due_ms.max(self.now_ms + promise.timeout_ms);
                }
            }
            Step::Resume(id, timeout_ms) => {
                self.clocks.resume(SessionId(id), timeout_ms, self.now_ms);
                if let Some(promise) = self.promises.get(&id) {
                    assert_eq!(promise.heard.load(Ordering::Relaxed), TAKEN_OVER, "{id} has no connection here");
                    assert!(self.attach(id, timeout_ms), "{id} is alive");
                }
            }
            Step::Lead(ms) => {
                self.now_ms += ms;
                self.clocks.restart(self.now_ms);
                for promise in self.promises.values_mut() {
                    promise.due_ms = self.now_ms + promise.timeout_ms;
                }
            }
            Step::Close(id) => {
                self.clocks.close(SessionId(id));
                self.promises.remove(&id);
            }
            Step::Pass(ms) => {
                let until_ms = self.now_ms + ms;
                while self.now_ms < until_ms {
                    self.now_ms = until_ms.min(self.now_ms + self.clocks.interval_ms());
                    self.look();
                }
            }
            Step::Pause(ms) => {
                self.promises.values_mut().for_each(|promise| promise.due_ms += ms);
                self.now_ms += ms;
                self.look();
            }
        }
    }

    /// Lets a connection take the session over. Returns whether it could.
    fn attach(&mut self, id: i64, timeout_ms: i32) -> bool {
        let heard = self.clocks.attach(SessionId(id), timeout_ms, self.now_ms);
        let timeout_ms = timeout_ms as u64;
        let Some(heard) = heard else { return false };
        self.promises.insert(id, Promise { timeout_ms, due_ms: self.now_ms + timeout_ms, heard });
        true
    }

    fn look(&mut self) {
        for SessionId(id) in self.clocks.tick(self.now_ms) {
            let promise = self.promises.remove(&id).unwrap_or_else(|| panic!("{id} is not alive"));
            assert!(self.now_ms >= promise.due_ms, "{id} expires at {}, due at {}", self.now_ms, promise.due_ms);
            // The server does this once the end of the session is agreed on.
            self.clocks.close(SessionId(id));
        }
        let late = |promise: &&Promise| self.now_ms > promise.due_ms + TICK_MS + self.clocks.interval_ms();
        let late = self.promises.values().find(late);
        assert!(late.is_none(), "at {} a session due at {} lives", self.now_ms, late.unwrap().due_ms);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sessions_expire_in_time_and_never_early(steps in prop::collection::vec(step(), 1..60)) {
        let mut both = Both { clocks: Clocks::new(TICK_MS, 0), promises: BTreeMap::new(), now_ms: 0 };
        for step in &steps {
            both.take(step);
        }
        // In the end no session is heard any longer.
        both.take(&Step::Pass(2_000 + 40_000));
        prop_assert!(both.promises.is_empty());
    }
}
