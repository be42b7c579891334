//! A listener that moves to the last requested place: `errand.rs`.

use std::convert::Infallible;
use std::sync::Arc;

use shuttle::thread;

use crate::errand::Errand;
use crate::sync::Mutex;
use crate::{assert_found, assert_sound};

/// Places tried, and whether one is being tried.
#[derive(Default)]
struct Tried {
    places: Mutex<Vec<u32>>,
    is_busy: Mutex<bool>,
}

impl Tried {
    fn go(&self, place: u32) {
        assert!(!std::mem::replace(&mut *self.is_busy.lock(), true), "two tries at once");
        thread::yield_now();
        self.places.lock().push(place);
        *self.is_busy.lock() = false;
    }
}

/// Two threads request places, one after the other. `next` returns the next place for the worker.
fn model(next: fn(&Errand<u32>) -> Option<u32>) {
    let (errand, tried) = (Arc::new(Errand::<u32>::default()), Arc::new(Tried::default()));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let askers: Vec<_> = [[1, 2], [3, 4]]
        .into_iter()
        .map(|places| {
            let (errand, tried, asked) = (errand.clone(), tried.clone(), asked.clone());
            thread::spawn(move || {
                for place in places {
                    let mut asked = asked.lock();
                    asked.push(place);
                    let (mover, there) = (errand.clone(), tried.clone());
                    let set_out = || -> Result<(), Infallible> {
                        thread::spawn(move || {
                            while let Some(place) = next(&mover) {
                                there.go(place);
                            }
                        });
                        Ok(())
                    };
                    let Ok(()) = errand.ask(place, set_out);
                }
            })
        })
        .collect();
    askers.into_iter().for_each(|asker| asker.join().expect("it ends"));
    while errand.is_busy() {
        thread::yield_now();
    }
    assert_eq!(tried.places.lock().last(), asked.lock().last(), "the last place asked for is tried last");
}

#[test]
fn the_last_place_is_tried_last_and_by_one_at_a_time() {
    assert_sound(|| model(Errand::next));
}

#[test]
fn a_place_that_is_forgotten_on_the_way_is_found() {
    // This variant forgets a place requested during the last attempt.
    assert_found(|| {
        model(|errand| {
            let place = errand.next();
            if place.is_some() { place } else { errand.next().and(None) }
        });
    });
}
