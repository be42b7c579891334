//! Deliveries and orders to a thread that owns connections, and the two waits for room:
//! `mailbox.rs`.

use std::sync::Arc;

use shuttle::{future, thread};

use crate::mailbox::Mailbox;
use crate::proposing::Proposing;
use crate::sync::{Batch, Wake};
use crate::{Things, assert_found, assert_sound};

type Box = Mailbox<Things, u32>;

/// The engine makes three deliveries and gives one order; the thread takes them after each wake.
/// `early`: the thread is woken before its mailbox is filled, and no order wakes it later.
fn delivery(early: bool) {
    let mailbox = Arc::new(Box::default());
    let engine = mailbox.clone();
    thread::spawn(move || {
        for number in 0..3 {
            if early {
                engine.wake();
            }
            engine.fill(&mut Things(vec![number]));
            if !early {
                engine.wake();
            }
            engine.wait_for_room();
        }
        if !early {
            engine.order(9);
        }
    });
    let (mut delivered, mut orders) = (Vec::new(), Vec::new());
    while delivered.len() < 3 || orders.is_empty() && !early {
        future::block_on(mailbox.woken());
        let mut taken = Things::default();
        if mailbox.empty_into(&mut taken) {
            delivered.append(&mut taken.0);
        }
        orders.append(&mut mailbox.orders());
    }
    assert_eq!(delivered, [0, 1, 2]);
    assert!(early || orders == [9]);
}

#[test]
fn every_delivery_arrives_and_the_engine_gets_room() {
    assert_sound(|| delivery(false));
}

#[test]
fn a_wake_before_the_delivery_is_found() {
    assert_found(|| delivery(true));
}

struct Silent;

impl Wake for Silent {
    fn wake(&self) {}
}

/// A thread whose clients have pushed too much announces that it waits, and continues once the
/// engine has made room; this happens twice. `looks_again`: checks again for room made before the
/// announcement.
fn relief(looks_again: bool) {
    let hand = Arc::new(Proposing::<Things, u32, Silent>::default());
    let mailbox = Arc::new(Box::default());
    let (engine, relieved) = (hand.clone(), mailbox.clone());
    thread::spawn(move || {
        let mut left = 4;
        while left > 0 {
            let mut taken = Things::default();
            engine.take_waiting(&mut taken);
            if taken.is_empty() {
                thread::yield_now();
                continue;
            }
            left -= taken.len();
            engine.note_unapplied(taken.len());
            engine.note_unapplied(0);
            relieved.relieve();
        }
    });
    for _ in 0..2 {
        hand.push(&mut Things(vec![1, 2]));
        while hand.is_congested() {
            mailbox.wait_for_relief();
            if looks_again && !hand.is_congested() {
                mailbox.relieve();
            }
            future::block_on(mailbox.woken());
        }
    }
}

#[test]
fn who_waits_for_relief_gets_it() {
    assert_sound(|| relief(true));
}

#[test]
fn waiting_for_relief_without_a_second_look_is_found() {
    assert_found(|| relief(false));
}
