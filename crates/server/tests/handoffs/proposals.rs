//! Commands to the engine: `proposing.rs`.

use std::sync::Arc;
use std::time::Duration;

use shuttle::thread;

use crate::doze::Doze;
use crate::proposing::Proposing;
use crate::sync::{Condvar, Mutex, Notify, Wake};
use crate::{Things, assert_found, assert_sound};

const FOR_EVER: Duration = Duration::from_secs(1 << 32);

/// Waker of an engine that sleeps elsewhere.
#[derive(Clone, Default)]
struct Bell(Arc<(Option<Doze>, Notify)>);

impl Wake for Bell {
    fn wake(&self) {
        let (doze, bell) = &*self.0;
        if doze.as_ref().is_none_or(Doze::wake) {
            bell.notify_one();
        }
    }
}

type Hand = Proposing<Things, u32, Bell>;

/// Two clients push and another thread stops the engine, which takes until it is told to end.
/// Everything pushed before is taken.
#[test]
fn an_engine_takes_everything_and_ends() {
    assert_sound(|| {
        let hand = Arc::new(Hand::default());
        let pushers: Vec<_> = (0..2)
            .map(|number| {
                let hand = hand.clone();
                thread::spawn(move || hand.push(&mut Things(vec![number])))
            })
            .collect();
        let stopper = hand.clone();
        thread::spawn(move || {
            pushers.into_iter().for_each(|pusher| pusher.join().expect("it ends"));
            stopper.stop();
        });
        let (mut taken, mut all) = (Things::default(), Vec::new());
        while hand.take(&mut taken, FOR_EVER) {
            all.append(&mut taken.0);
        }
        all.sort_unstable();
        assert_eq!(all, [0, 1]);
        assert!(hand.is_to_stop());
    });
}

/// A replacement of the engine's data is seen in every kind of sleep.
#[test]
fn a_replacement_ends_the_sleep() {
    assert_sound(|| {
        let hand = Arc::new(Hand::default());
        let other = hand.clone();
        thread::spawn(move || other.replace(7));
        while hand.take_replacement() != Some(7) {
            hand.take(&mut Things::default(), FOR_EVER);
        }
    });
}

/// The engine of an ensemble sleeps while it waits for its links.
#[test]
fn an_engine_that_sleeps_elsewhere_is_woken() {
    assert_sound(|| {
        let bell = Bell(Arc::new((Some(Doze::new()), Notify::default())));
        let hand = Arc::new(Hand::default());
        hand.wake_by(bell.clone());
        let other = hand.clone();
        thread::spawn(move || {
            other.push(&mut Things(vec![1]));
            other.stop();
        });
        let (doze, ring) = (bell.0.0.as_ref().expect("it has one"), &bell.0.1);
        let (mut taken, mut all) = (Things::default(), Vec::new());
        loop {
            if doze.fall_asleep() {
                ring.wait();
            }
            doze.awake();
            let stop = hand.take_waiting(&mut taken);
            all.append(&mut taken.0);
            if stop {
                break;
            }
        }
        assert_eq!(all, [1]);
    });
}

/// Like `Proposing`, but the engine checks and sleeps in two steps.
#[derive(Default)]
struct Careless {
    waiting: Mutex<Vec<u32>>,
    arrived: Condvar,
}

#[test]
fn a_sleep_behind_a_look_is_found() {
    assert_found(|| {
        let hand = Arc::new(Careless::default());
        let other = hand.clone();
        thread::spawn(move || {
            other.waiting.lock().push(1);
            other.arrived.notify_one();
        });
        let is_empty = hand.waiting.lock().is_empty();
        if is_empty {
            hand.arrived.wait(&mut hand.waiting.lock());
        }
        assert_eq!(*hand.waiting.lock(), [1]);
    });
}

/// Like `Proposing`, but a stop does not notify anyone.
#[test]
fn a_stop_without_a_wake_is_found() {
    assert_found(|| {
        let hand = Arc::new(Careless::default());
        let other = hand.clone();
        thread::spawn(move || other.waiting.lock().push(1));
        let mut waiting = hand.waiting.lock();
        if waiting.is_empty() {
            hand.arrived.wait(&mut waiting);
        }
    });
}
