//! The engine's sleep while it waits for several sources: `doze.rs`, used as in `peers`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use shuttle::thread;

use crate::doze::Doze;
use crate::sync::{AtomicUsize, Notify};
use crate::{assert_found, assert_sound};

const WAKERS: usize = 2;

#[derive(Default)]
struct Engine {
    done: AtomicUsize,
    bell: Notify,
}

/// Several threads do something and wake the engine, which ends once it has seen everything.
/// `looks_first`: the engine announces that it is awake only after it has looked.
fn model(looks_first: bool) {
    let (engine, doze) = (Arc::new(Engine::default()), Arc::new(Doze::new()));
    for _ in 0..WAKERS {
        let (engine, doze) = (engine.clone(), doze.clone());
        thread::spawn(move || {
            engine.done.fetch_add(1, Ordering::SeqCst);
            if doze.wake() {
                engine.bell.notify_one();
            }
        });
    }
    let mut seen = 0;
    while seen < WAKERS {
        if doze.fall_asleep() {
            engine.bell.wait();
        }
        if looks_first {
            seen = engine.done.load(Ordering::SeqCst);
            doze.awake();
        } else {
            doze.awake();
            seen = engine.done.load(Ordering::SeqCst);
        }
    }
}

#[test]
fn whatever_came_before_a_wake_is_seen() {
    assert_sound(|| model(false));
}

#[test]
fn a_look_before_waking_up_is_found() {
    assert_found(|| model(true));
}
