//! Frames from a malfunctioning member: a server accepts or refuses every frame that decodes, and
//! continues.

use std::sync::Arc;

use oxkeeper_proto::{OpCode, ServerId, SessionId};
use oxkeeper_replica::ensemble::frame::{Frame, Roster};
use oxkeeper_replica::ensemble::journal::scalar;
use oxkeeper_replica::ensemble::{BadFrame, Journal, JournalOp, MemoryJournal};
use oxkeeper_state::command::{begin_agreed, put_section};
use oxkeeper_state::{BallotId, Command, Epoch, Identities, Level, Settings};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::pure::{Pure, voter_ping};

/// Every frame kind, and adjacent numbers that are not kinds.
const KINDS: [u8; 30] =
    [1, 2, 3, 4, 5, 6, 7, 8, 16, 17, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 47, 48, 49, 50, 0, 45, 51];
/// Bytes of a ping's fixed part.
const PING_LEN: usize = 1 + 8 + 4 + 8 + 20 + 4 + 32;
/// Servers of the ensemble. The second one is under test.
const MEMBERS: [u8; 3] = [1, 2, 3];
const ROSTER: Roster = Roster { configuration: 1, from: 1, to: 2, processes: 3, knows: Level::KNOWN };
/// Log of the server under test: trimmed up to, decided up to, end.
const LOG: (u64, u64, u64) = (4, 6, 8);

fn ballot_bytes(number: u32, process: u64) -> [u8; 20] {
    let mut bytes = [0; 20];
    if number > 0 {
        bytes[3] = 1;
        bytes[4..8].copy_from_slice(&number.to_be_bytes());
        bytes[12..].copy_from_slice(&process.to_be_bytes());
    }
    bytes
}

/// Returns a log entry as a leader writes it.
fn entry(epoch: bool, ballot: [u8; 20]) -> Vec<u8> {
    let (mut entry, mut commands) = (Vec::new(), Vec::new());
    if epoch {
        let ballot = BallotId(ballot);
        Epoch { ballot, time_ms: 5, ensemble: 7, config_version: 0, config: b"x" }.encode(&mut entry);
    } else {
        Command {
            from: None,
            session: SessionId(1),
            xid: 1,
            op: OpCode::SetData,
            settings: Settings::default(),
            identities: Identities::default(),
            body: b"no setData",
        }
        .encode(&mut commands);
        begin_agreed(BallotId(ballot), 5, &mut entry);
        put_section(ServerId(1), 1, 1, &commands, &mut entry);
    }
    entry
}

prop_compose! {
    fn ballot()(number in prop_oneof![4 => 0u32..5, 1 => Just(u32::MAX), 1 => Just(u32::MAX - 1)], process in 1u64..=3)
        -> Vec<u8> {
        ballot_bytes(number, process).to_vec()
    }
}

fn index() -> impl Strategy<Value = Vec<u8>> {
    let index = prop_oneof![8 => 0u64..14, 1 => (1u64 << 56) - 2..=1 << 56, 1 => any::<u64>()];
    index.prop_map(|index| index.to_be_bytes().to_vec())
}

fn sequence() -> impl Strategy<Value = Vec<u8>> {
    let number = || prop_oneof![8 => 0u64..4, 1 => Just(u64::MAX)];
    (number(), number()).prop_map(|(a, b)| [a.to_be_bytes(), b.to_be_bytes()].concat())
}

fn flag() -> impl Strategy<Value = Vec<u8>> {
    any::<bool>().prop_map(|flag| vec![u8::from(flag)])
}

fn entries() -> impl Strategy<Value = Vec<u8>> {
    let entry = (any::<bool>(), 0u32..5, 1u64..=3).prop_map(|(epoch, number, process)| {
        let entry = entry(epoch, ballot_bytes(number, process));
        [&(entry.len() as u32).to_be_bytes()[..], &entry].concat()
    });
    vec(entry, 0..4).prop_map(|entries| entries.concat())
}

fn words(len: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), len)
}

/// Generates the round of a heartbeat. The receiver's own rounds are small numbers.
fn round() -> impl Strategy<Value = Vec<u8>> {
    (0u32..6).prop_map(|round| round.to_be_bytes().to_vec())
}

/// Generates the fields after a ping's fixed part. Most servers know the first tag, and none the
/// others.
fn fields() -> impl Strategy<Value = Vec<u8>> {
    let field = (1u8..4, words(4)).prop_map(|(tag, value)| [&[tag, value.len() as u8][..], &value].concat());
    vec(field, 0..4).prop_map(|fields| fields.concat())
}

/// Generates a configuration, usually the receiver's.
fn configuration() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![8 => Just(1u32), 1 => 0u32..3].prop_map(|id| id.to_be_bytes().to_vec()).boxed()
}

/// Generates the status of a server and its time.
fn status() -> Vec<BoxedStrategy<Vec<u8>>> {
    vec![
        words(8).boxed(),
        (0u32..3).prop_map(|id| id.to_be_bytes().to_vec()).boxed(),
        index().boxed(),
        ballot().boxed(),
        flag().boxed(),
        flag().boxed(),
        flag().boxed(),
        flag().boxed(),
        index().boxed(),
        index().boxed(),
        words(8).boxed(),
        words(8).boxed(),
        fields().boxed(),
    ]
}

fn of(kind: u8, fields: Vec<BoxedStrategy<Vec<u8>>>) -> BoxedStrategy<Vec<u8>> {
    fields.prop_map(move |fields| [&[kind][..], &fields.concat()].concat()).boxed()
}

/// Generates frames of every kind, most of which decode.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let sync = || vec![index().boxed(), entries().boxed()];
    let with = |mut fields: Vec<BoxedStrategy<Vec<u8>>>, more: Vec<BoxedStrategy<Vec<u8>>>| {
        fields.extend(more);
        fields
    };
    let promise = || vec![ballot().boxed(), index().boxed(), index().boxed(), ballot().boxed()];
    prop_oneof![
        of(1, vec![ballot().boxed()]),
        of(2, promise()),
        of(3, with(promise(), vec![Just(vec![0]).boxed()])),
        of(3, with(promise(), with(vec![Just(vec![1]).boxed()], sync()))),
        of(4, with(vec![ballot().boxed(), index().boxed(), sequence().boxed()], sync())),
        of(5, vec![ballot().boxed(), index().boxed(), sequence().boxed(), entries().boxed()]),
        of(6, vec![ballot().boxed(), index().boxed()]),
        of(7, vec![ballot().boxed()]),
        of(8, vec![ballot().boxed(), index().boxed(), sequence().boxed()]),
        of(16, vec![configuration(), words(4).boxed()]),
        of(17, vec![configuration(), round().boxed(), ballot().boxed(), ballot().boxed(), flag().boxed()]),
        of(32, status()),
        of(48, status()),
        of(33, vec![ballot().boxed()]),
        of(34, vec![sequence().boxed(), words(40).boxed()]),
        of(34, vec![sequence().boxed(), entries().boxed()]),
        of(35, vec![words(24).boxed()]),
        of(36, vec![]),
        of(37, vec![]),
        of(38, vec![index().boxed()]),
        of(39, vec![words(8).boxed()]),
        of(40, vec![index().boxed()]),
        of(41, vec![index().boxed()]),
        of(42, vec![index().boxed(), entries().boxed()]),
        of(43, vec![index().boxed()]),
        of(44, vec![]),
        of(47, vec![index().boxed(), vec(any::<u8>(), 56).boxed()]),
        of(49, vec![]),
        of(50, vec![index().boxed()]),
    ]
}

/// Sets ballots that must belong to the sender or the receiver; otherwise, few frames would pass.
fn signed(mut frame: Vec<u8>, from: u64) -> Vec<u8> {
    let process = match frame[0] {
        2 | 4 | 5 | 8 | 33 => Some((13, from)),
        3 | 6 => Some((13, 2)),
        17 => Some((21, from)),
        _ => None,
    };
    if let Some((at, process)) = process {
        frame[at - 9] = 1;
        frame[at..at + 8].copy_from_slice(&process.to_be_bytes());
    }
    frame
}

/// An event for a server.
#[derive(Clone, Debug)]
enum Happening {
    /// A frame from server 1 or 3.
    Frame(bool, Vec<u8>),
    /// A link to server 1 or 3 goes up or down.
    Link(bool, bool),
    Step(u64),
    Persist,
    Trim,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        20 => (any::<bool>(), frame()).prop_map(|(first, frame)| {
            Happening::Frame(first, signed(frame, if first { 1 } else { 3 }))
        }),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(first, up)| Happening::Link(first, up)),
        4 => (0u64..200).prop_map(Happening::Step),
        3 => Just(Happening::Persist),
        1 => Just(Happening::Trim),
    ]
}

/// Returns the journal of a member, whose log has trimmed, decided and undecided entries.
fn journal() -> MemoryJournal {
    let (first, decided, end) = LOG;
    let round = ballot_bytes(1, 1);
    let mut journal = MemoryJournal::default();
    for index in 0..end {
        journal.write(vec![JournalOp::Append(Arc::from(entry(index == 0, round)))]).unwrap();
    }
    let scalars = [
        (scalar::MEMBERS, MEMBERS.to_vec()),
        (scalar::ROUND, round.to_vec()),
        (scalar::PROMISE, round.to_vec()),
        (scalar::DECIDED, decided.to_be_bytes().to_vec()),
    ];
    journal.write(scalars.map(|(key, value)| JournalOp::Scalar(key, value)).to_vec()).unwrap();
    journal.trim(first);
    journal
}

struct Server {
    server: Pure,
    now_ms: u64,
}

impl Server {
    fn new(journal: MemoryJournal, decided: u64) -> Server {
        Server { server: Pure::new(2, &MEMBERS, Box::new(journal), decided), now_ms: 0 }
    }

    fn link_up(&mut self, peer: ServerId) {
        self.server.replica.link_up(peer, self.now_ms);
        self.server.replica.receive(peer, &voter_ping(), self.now_ms).unwrap();
    }

    fn meet(&mut self, happening: &Happening) {
        let peer = |first: bool| ServerId(if first { 1 } else { 3 });
        match happening {
            Happening::Frame(first, bytes) => {
                // A refused frame ends the link, which then comes up again.
                if self.server.replica.receive(peer(*first), bytes, self.now_ms).is_err() {
                    self.server.replica.link_down(peer(*first), self.now_ms);
                    self.link_up(peer(*first));
                }
            }
            Happening::Link(first, true) => self.link_up(peer(*first)),
            Happening::Link(first, false) => self.server.replica.link_down(peer(*first), self.now_ms),
            Happening::Step(ms) => {
                self.now_ms += ms;
                self.server.step(self.now_ms);
            }
            Happening::Persist => {
                self.server.persist(self.now_ms);
                for peer in MEMBERS {
                    while self.server.replica.next_frame(ServerId(peer)).is_some() {}
                }
            }
            Happening::Trim => self.server.replica.trim(self.server.replica.applied()),
        }
        self.server.replica.take_want();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic_and_what_decodes_is_what_was_encoded(
        kind in 0..KINDS.len(),
        body in vec(any::<u8>(), 0..200),
        valid in frame().prop_map(|frame| signed(frame, 1)),
        flipped: prop::sample::Index,
        bit in 0..8u32,
    ) {
        let bytes = [&[KINDS[kind]][..], &body].concat();
        let mut other = valid.clone();
        other[flipped.index(valid.len())] ^= 1 << bit;
        for bytes in [bytes, valid, other] {
            if let Ok(frame) = Frame::decode(&bytes, ROSTER) {
                let mut again = Vec::new();
                frame.encode(&mut again);
                if let Frame::Ping { .. } = frame {
                    // Unknown fields are dropped.
                    prop_assert_eq!(bytes.get(..PING_LEN), again.get(..PING_LEN));
                } else {
                    prop_assert_eq!(&bytes, &again);
                }
            }
        }
    }

    #[test]
    fn no_sequence_of_frames_panics(happenings in vec(happening(), 1..80), blank: bool) {
        let mut server = match blank {
            true => Server::new(MemoryJournal::default(), 0),
            false => Server::new(journal(), LOG.1),
        };
        for peer in [1, 3] {
            server.link_up(ServerId(peer));
        }
        for happening in &happenings {
            server.meet(happening);
        }
    }
}

/// A ping may end after its fixed part, or continue after everything that this server knows.
#[test]
fn a_ping_of_an_older_or_newer_server_is_understood() {
    let knows = |fields: &[u8]| {
        let ping = [&[32][..], &[0; PING_LEN - 1], fields].concat();
        match Frame::decode(&ping, ROSTER) {
            Ok(Frame::Ping { status, .. }) => Some(status.knows),
            Ok(_) | Err(_) => None,
        }
    };
    assert_eq!(knows(&[]), Some(Level::NONE));
    assert_eq!(knows(&[1, 4, 0, 0, 0, 9]), Some(Level(9)));
    assert_eq!(knows(&[200, 3, 1, 2, 3, 1, 4, 0, 0, 0, 9, 201, 0]), Some(Level(9)));
    // A value may have bytes after the known ones, but not fewer; and none may extend past the end.
    assert_eq!(knows(&[1, 5, 0, 0, 0, 9, 7]), Some(Level(9)));
    for broken in [&[0, 0][..], &[1, 3, 0, 0, 9], &[1, 4, 0, 0], &[200], &[200, 2, 1]] {
        assert_eq!(knows(broken), None, "{broken:?}");
    }
}

/// An entry of a newer release, from the leader or a candidate.
#[test]
fn a_newer_entry_is_refused_and_the_server_is_outdated() {
    let newer = [200, 0, 0, 0, 9];
    let frame = |number: u32, from: u64| {
        let entries = [&(newer.len() as u32).to_be_bytes()[..], &newer].concat();
        [&[5][..], &ballot_bytes(number, from), &6u64.to_be_bytes(), &[0; 16], &entries].concat()
    };
    let mut server = Server::new(journal(), LOG.1);
    [1, 3].into_iter().for_each(|peer| server.link_up(ServerId(peer)));
    let replica = &mut server.server.replica;
    let refused =
        |problem: Result<(), BadFrame>| matches!(problem, Err(BadFrame::Newer { kind: 200, needs: Level(9), .. }));
    assert!(refused(replica.receive(ServerId(3), &frame(9, 3), 0)));
    assert_eq!(replica.outdated(), None, "nobody follows that one");
    assert!(refused(replica.receive(ServerId(1), &frame(1, 1), 0)));
    let outdated = replica.outdated().unwrap();
    assert_eq!((outdated.peer.0, outdated.kind, outdated.needs, outdated.knows), (1, 200, Level(9), Level::KNOWN));
    assert!(!replica.wants_disk(), "nothing of it is to be written");
    let text = outdated.to_string();
    assert!(text.contains("server 1 sends") && text.contains("start a newer release"), "{text}");
}

/// Most generated frames decode; otherwise, most of the frames above would simply be refused.
#[test]
fn most_frames_of_the_generator_decode() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let frames: Vec<Vec<u8>> =
        (0..2000).map(|_| frame().new_tree(&mut runner).unwrap().current()).map(|frame| signed(frame, 1)).collect();
    let decodes = |frame: &&Vec<u8>| Frame::decode(frame, ROSTER).is_ok();
    let mut kinds: Vec<u8> = frames.iter().filter(decodes).map(|frame| frame[0]).collect();
    assert!(kinds.len() > 1200, "{} of 2000", kinds.len());
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, KINDS[..27], "every kind there is");
}
