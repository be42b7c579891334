//! Measures the processor time of getChildren by the number of children: in ZooKeeper's order, and
//! in the order in which the tree links them.
//!
//! `cargo run --release -p oxkeeper-state --example list_children`

use std::fs;
use std::hint::black_box;

use oxkeeper_proto::records::{Acl, CreateRequest, Id};
use oxkeeper_proto::{Jute, OpCode, SessionId};
use oxkeeper_state::{Caller, Command, Identities, Settings, State};

const SESSION: SessionId = SessionId(0x100_0000_0000_0001);
const NOBODY: Caller<'_> = Caller { identities: Identities(&[]), settings: Settings(0) };

fn main() {
    println!("{:>9} {:>14} {:>14} {:>14}", "children", "names", "ZooKeeper's ns", "as linked ns");
    for count in [1, 3, 10, 30, 100, 1_000, 10_000, 100_000] {
        measure("sequential", count, |number| format!("n-{number:010}"));
        measure("random", count, |number| format!("{:016x}", (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    }
}

fn measure(kind: &str, count: u64, name: impl Fn(u64) -> String) {
    let mut state = State::new(1);
    apply(&mut state, OpCode::CreateSession, &6000i32.to_be_bytes());
    create(&mut state, "/p");
    (0..count).for_each(|number| create(&mut state, &format!("/p/{}", name(number))));
    let mut out = Vec::new();
    let listed = per_child(count, || {
        out.clear();
        state.get_children("/p", &NOBODY, false, &mut out).expect("it is there");
        black_box(&out);
    });
    let parent = state.tree().lookup("/p").expect("it is there");
    let linked = per_child(count, || {
        out.clear();
        for child in state.tree().child_slots(parent) {
            Some(state.tree().znode(child).name().as_bytes()).encode(&mut out);
        }
        black_box(&out);
    });
    println!("{count:>9} {kind:>14} {listed:>14.1} {linked:>14.1}");
}

/// Returns the processor time per child, ns, averaged over many runs.
fn per_child(count: u64, mut list: impl FnMut()) -> f64 {
    let runs = (10_000_000 / count).clamp(50, 200_000);
    let start = processor_time_ns();
    (0..runs).for_each(|_| list());
    (processor_time_ns() - start) as f64 / (runs * count) as f64
}

/// Returns the processor time of this thread. Linux only.
fn processor_time_ns() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    status.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).expect("a number first")
}

fn create(state: &mut State, path: &str) {
    let id = Id { scheme: Some("world".into()), id: Some("anyone".into()) };
    let acl = Some(vec![Acl { perms: 31, id }]);
    let mut body = Vec::new();
    CreateRequest { path: Some(path.into()), data: Some(b""), acl, flags: 0 }.encode(&mut body);
    apply(state, OpCode::Create, &body);
}

fn apply(state: &mut State, op: OpCode, body: &[u8]) {
    let (settings, identities) = (Settings::default(), Identities(&[]));
    let command = Command { from: None, session: SESSION, xid: 1, op, settings, identities, body };
    state.apply(&command, 1, &mut Vec::new(), &mut ()).expect("a write that is in order");
}
