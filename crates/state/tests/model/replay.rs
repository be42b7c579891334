//! Replay: the same batches lead every server to the same state, whatever its seed; batches survive
//! encoding and decoding; and no content of a batch makes the state machine panic.

use oxkeeper_proto::{ErrorCode, OpCode, SessionId};
use oxkeeper_state::command::begin_batch;
use oxkeeper_state::{Batch, Command, Identities, Settings, State};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::model::Told;
use crate::pair::{Listener, Pair, admin};
use crate::request::{Step, steps};

/// Outcome of one command.
type Outcome = (Result<(), ErrorCode>, Vec<u8>, Vec<Told>, i64, u64);

/// Applies batches as a server does and returns all outcomes.
fn replay(seed: u64, batches: &[Vec<u8>]) -> (State, Vec<Outcome>) {
    let mut state = State::new(seed);
    let mut outcomes = Vec::new();
    for bytes in batches {
        let batch = Batch::decode(bytes).expect("our own encoding");
        let time_ms = batch.time_ms;
        for command in batch {
            let (mut body, mut listener) = (Vec::new(), Listener::default());
            let result = state.apply(&command.expect("our own encoding"), time_ms, &mut body, &mut listener);
            outcomes.push((result, body, listener.0, state.zxid().0, state.tree().digest()));
        }
        state.end_entry();
    }
    (state, outcomes)
}

/// Encodes the steps as batches of three; a separate run resolves their paths.
fn batches(steps: &[Step]) -> Vec<Vec<u8>> {
    let mut pair = Pair::new();
    steps.chunks(3).map(|steps| batch(steps, &mut pair)).collect()
}

fn batch(steps: &[Step], pair: &mut Pair) -> Vec<u8> {
    let mut bytes = Vec::new();
    pair.now += steps[0].waited;
    begin_batch(pair.now, &mut bytes);
    for step in steps {
        let ask = pair.resolve(&step.ask, step);
        let _ = pair.tell(&step.order, &ask);
        step.order.command(ask.op(), &step.order.identity_bytes(), &ask.body()).encode(&mut bytes);
    }
    pair.end_entry();
    bytes
}

fn any_command() -> impl Strategy<Value = (i64, i32, OpCode, u32, Vec<u8>, Vec<u8>)> {
    let bytes = || vec(any::<u8>(), 0..40);
    (any::<i64>(), any::<i32>(), select(OpCode::ALL), prop_oneof![0..256u32, any::<u32>()], bytes(), bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn replay_is_deterministic(steps in steps(1..40)) {
        let batches = batches(&steps);
        let (first, second) = (replay(1, &batches), replay(u64::MAX, &batches));
        assert_eq!(first.1, second.1);
        assert_eq!(first.1.len(), steps.len());
        second.0.check();
    }

    #[test]
    fn a_command_survives_its_encoding(commands in vec(any_command(), 0..5), time_ms: i64) {
        let mut bytes = Vec::new();
        begin_batch(time_ms, &mut bytes);
        for (session, xid, op, settings, identities, body) in &commands {
            let (session, settings) = (SessionId(*session), Settings(*settings));
            let identities = Identities(identities);
            Command { from: None, session, xid: *xid, op: *op, settings, identities, body }.encode(&mut bytes);
        }
        let batch = Batch::decode(&bytes).expect("our own encoding");
        assert_eq!(batch.time_ms, time_ms);
        let fields = |command: Command<'_>| {
            let Command { from: _, session, xid, op, settings, identities, body } = command;
            (session.0, xid, op, settings.0, identities.0.to_vec(), body.to_vec())
        };
        let decoded: Vec<_> = batch.map(|command| fields(command.expect("our own encoding"))).collect();
        assert_eq!(decoded, commands);
    }

    #[test]
    fn no_bytes_make_a_batch_panic_or_endless(mut bytes in vec(any::<u8>(), 0..200), honest: bool) {
        if honest && !bytes.is_empty() {
            bytes[0] = 1;
        }
        if let Ok(batch) = Batch::decode(&bytes) {
            let count = batch.take(1000).count();
            assert!(count <= bytes.len() / 4 + 1, "{count} commands in {} bytes", bytes.len());
        }
    }

    /// A batch with changed bytes, and bodies of pure noise.
    #[test]
    fn no_command_makes_the_state_panic(
        steps in steps(1..20),
        noise in vec((any::<Index>(), any::<u8>()), 0..20),
        wild in vec(any_command(), 0..20),
    ) {
        let mut pair = Pair::furnished();
        let identities = admin().identity_bytes();
        for step in &steps {
            let ask = pair.resolve(&step.ask, step);
            let mut body = ask.body();
            for (at, byte) in noise.iter().filter(|_| !body.is_empty()).collect::<Vec<_>>() {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            let _ = pair.state.apply(&step.order.command(ask.op(), &identities, &body), pair.now, &mut vec![], &mut ());
        }
        for (session, xid, op, settings, identities, body) in &wild {
            let (session, settings) = (SessionId(*session | 1), Settings(*settings));
            let command = Command { from: None, session, xid: *xid, op: *op, settings, identities: Identities(identities), body };
            let _ = pair.state.apply(&command, pair.now, &mut vec![], &mut ());
        }
        pair.state.check();
    }
}
