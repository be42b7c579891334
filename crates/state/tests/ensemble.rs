//! The state machine in an ensemble: entries with a ballot and numbered commands, epochs, the
//! filter for duplicates, sessions with owners; and checkpoints, which keep all of it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use oxkeeper_proto::multi::{MULTI_END, encode_multi_error};
use oxkeeper_proto::records::{Acl, CreateRequest, Id, MultiHeader, PathRecord, SetDataRequest};
use oxkeeper_proto::{DecodeError, ErrorCode, Jute, OpCode, ServerId, SessionId, Zxid};
use oxkeeper_state::checkpoint::Loading;
use oxkeeper_state::command::{OWN_BOOT, begin_agreed, begin_batch, put_section};
use oxkeeper_state::{
    BadEntry, BallotId, Batch, Command, Entry, Epoch, Identities, Level, Number, Renewal, Settings, State,
};
use proptest::collection::vec;
use proptest::prelude::*;

const SESSION: SessionId = SessionId(0x100_0000_0000_0001);
const FIRST: BallotId = BallotId([1; 20]);
const SECOND: BallotId = BallotId([2; 20]);

fn bytes<'a>(record: impl Jute<'a>) -> Vec<u8> {
    let mut out = Vec::new();
    record.encode(&mut out);
    out
}

fn create(path: &str, flags: i32) -> Vec<u8> {
    let acl = Some(vec![Acl { perms: 31, id: Id { scheme: Some("world".into()), id: Some("anyone".into()) } }]);
    bytes(CreateRequest { path: Some(path.into()), data: None, acl, flags })
}

fn command(op: OpCode, body: &[u8]) -> Command<'_> {
    let (settings, identities) = (Settings::default(), Identities::default());
    Command { from: None, session: SESSION, xid: 3, op, settings, identities, body }
}

fn encoded(commands: &[(OpCode, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    commands.iter().for_each(|(op, body)| command(*op, body).encode(&mut out));
    out
}

fn number(server: u8, boot: u64, seq: u64) -> Number {
    Number { server: ServerId(server), boot, seq }
}

fn epoch(ballot: BallotId) -> Epoch<'static> {
    Epoch { ballot, time_ms: 5, ensemble: 77, config_version: 0, config: b"" }
}

/// Applies a command that server `from` submitted. Returns its result and the number of zxids it
/// took.
fn apply(state: &mut State, from: u8, op: OpCode, body: &[u8]) -> (Result<Vec<u8>, ErrorCode>, i64) {
    let from = (from != 0).then_some(number(from, 1, 1));
    let (before, mut reply) = (state.zxid(), Vec::new());
    let result = state.apply(&Command { from, ..command(op, body) }, 1, &mut reply, &mut ());
    (result.map(|()| reply), state.zxid().0 - before.0)
}

fn done(state: &mut State, from: u8, op: OpCode, body: &[u8]) {
    apply(state, from, op, body).0.unwrap();
}

const TIMEOUT: [u8; 4] = 6000i32.to_be_bytes();

/// Returns a state with the session, whose owner is server 1.
fn state() -> State {
    let mut state = State::new(1);
    state.begin_epoch(&epoch(FIRST), &mut ());
    assert_eq!(apply(&mut state, 1, OpCode::CreateSession, &TIMEOUT), (Ok(vec![]), 1));
    state
}

fn owner(state: &State) -> Option<u8> {
    state.sessions().get(SESSION).map(|session| session.owner.0)
}

#[test]
fn sections_number_their_commands() {
    let (one, two) =
        (encoded(&[(OpCode::Delete, b"a"), (OpCode::Create, b"")]), encoded(&[(OpCode::CloseSession, b"")]));
    let mut entry = Vec::new();
    begin_agreed(FIRST, 9, &mut entry);
    put_section(ServerId(3), 7, 41, &one, &mut entry);
    put_section(ServerId(2), 1, 1, &[], &mut entry);
    put_section(ServerId(0), OWN_BOOT, 3, &two, &mut entry);
    put_section(ServerId(0), 7, 5, &two, &mut entry);
    put_section(ServerId(2), 2, u64::MAX - two.len() as u64, &two, &mut entry);
    let Ok(Entry::Batch(batch)) = Entry::decode(&entry, Level::KNOWN) else { panic!("it is a batch") };
    assert_eq!((batch.time_ms, batch.ballot), (9, Some(FIRST)));
    let commands: Vec<_> = batch.map(|command| command.map(|command| (command.from, command.op))).collect();
    let from = |server, boot, seq| Some(number(server, boot, seq));
    let expected = [
        (from(3, 7, 41), OpCode::Delete),
        (from(3, 7, 42), OpCode::Create),
        (None, OpCode::CloseSession),
        (from(0, 7, 5), OpCode::CloseSession),
        (from(2, 2, u64::MAX - two.len() as u64), OpCode::CloseSession),
    ];
    assert_eq!(commands, expected.map(Ok));
}

#[test]
fn numbers_that_cannot_be_are_refused() {
    let commands = encoded(&[(OpCode::CloseSession, b"")]);
    for (server, seq) in [(1, 0), (1, u64::MAX), (0, 0), (0, u64::MAX)] {
        let mut entry = Vec::new();
        begin_agreed(FIRST, 9, &mut entry);
        put_section(ServerId(server), 1, seq, &commands, &mut entry);
        let mut batch = Batch::decode(&entry).unwrap();
        assert_eq!(batch.next().map(|command| command.is_err()), Some(true), "{seq}");
        assert!(batch.next().is_none(), "{seq}");
    }
}

/// A standalone server's format is fixed, because it is on the disks of running servers.
#[test]
fn a_batch_of_a_server_alone_is_what_it_was() {
    let mut entry = Vec::new();
    begin_batch(0x0102, &mut entry);
    command(OpCode::Delete, b"xy").encode(&mut entry);
    let expected = [
        &[1, 0, 0, 0, 0, 0, 0, 1, 2][..],
        &[0, 0, 0, 23, 1, 0, 0, 0, 0, 0, 0, 1],
        &[0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 0, 0],
        b"xy",
    ];
    assert_eq!(entry, expected.concat());
    let batch = Batch::decode(&entry).unwrap();
    assert!(batch.ballot.is_none() && batch.flatten().all(|command| command.from.is_none()));
}

#[test]
fn an_epoch_survives_its_encoding() {
    let mut entry = Vec::new();
    epoch(SECOND).encode(&mut entry);
    assert!(matches!(Entry::decode(&entry, Level::KNOWN), Ok(Entry::Epoch(decoded)) if decoded == epoch(SECOND)));
    assert!(Batch::decode(&entry).is_err(), "it is no batch");
    for len in 0..entry.len() {
        assert!(Entry::decode(&entry[..len], Level::KNOWN).is_err(), "{len} bytes");
    }
    entry.extend_from_slice(b"server.1=");
    let with_members = Epoch { config: b"server.1=", ..epoch(SECOND) };
    assert!(matches!(Entry::decode(&entry, Level::KNOWN), Ok(Entry::Epoch(decoded)) if decoded == with_members));
}

#[test]
fn a_renewal_survives_its_encoding() {
    let renewal = Renewal { ballot: SECOND, time_ms: 5, servers: vec![] };
    let mut entry = Vec::new();
    renewal.encode(&mut entry);
    assert!(matches!(Entry::decode(&entry, Level::KNOWN), Ok(Entry::Renewal(decoded)) if decoded == renewal));
    assert!(Batch::decode(&entry).is_err(), "it is no batch");
    for len in 0..entry.len() {
        assert!(Entry::decode(&entry[..len], Level::KNOWN).is_err(), "{len} bytes");
    }
    entry.extend_from_slice(&[3, 200]);
    let of_two = Renewal { servers: [3, 200].map(ServerId).into(), ..renewal };
    assert!(matches!(Entry::decode(&entry, Level::KNOWN), Ok(Entry::Renewal(decoded)) if decoded == of_two));
}

/// Clients see nothing of a renewal; a checkpoint keeps it.
#[test]
fn a_renewal_ends_a_configuration_and_nothing_else() {
    let mut state = state();
    let renew = |state: &mut State, ballot| {
        let (before, digest) = (state.configurations_ended(), state.tree().digest());
        let (zxid, membership) = (state.zxid(), state.membership().clone());
        state.renew(&Renewal { ballot, time_ms: 9, servers: vec![ServerId(1)] });
        assert_eq!((state.tree().digest(), state.zxid(), state.membership()), (digest, zxid, &membership));
        state.configurations_ended() - before
    };
    assert_eq!(renew(&mut state, FIRST), 0, "nobody is known to vote");
    state.begin_epoch(&Epoch { config: b"server.1=a:1:2:participant\nversion=0", ..epoch(FIRST) }, &mut ());
    assert_eq!([SECOND, FIRST, FIRST].map(|ballot| renew(&mut state, ballot)), [0, 1, 1], "a former leader's is void");
    assert_eq!(state.voter_changes(), 0);
    assert!(state.admit(number(0, 5, 1)), "its place in a checkpoint begins like that of the renewals");
    let loaded = reload(&mut state, None).unwrap();
    assert_eq!(loaded.last_admitted(ServerId(0)), Some((5, 1)));
    assert_eq!((loaded.configurations_ended(), loaded.voter_changes()), (2, 0));
    assert_eq!(loaded.membership(), state.membership());
}

#[test]
fn an_epoch_shows_the_membership_once() {
    #[derive(Default)]
    struct Told(Vec<String>);
    impl oxkeeper_state::ChangeSink for Told {
        fn changed(&mut self, change: oxkeeper_state::Change<'_>) {
            self.0.push(change.path.to_owned());
        }
    }
    let (mut state, mut told) = (State::new(1), Told::default());
    let (a, b) = (b"server.1=a:1:2:participant\nversion=0", b"server.1=b:1:2:participant\nversion=0");
    for (time_ms, config) in [(5, &a[..]), (6, a), (7, b), (8, b""), (9, b"nonsense")] {
        state.begin_epoch(&Epoch { time_ms, config, ..epoch(FIRST) }, &mut told);
    }
    assert_eq!(told.0, ["/zookeeper/config"; 2]);
    let znode = state.tree().znode(state.tree().lookup("/zookeeper/config").unwrap());
    assert_eq!(znode.data(), Some(&b[..]));
    assert_eq!((znode.versions.mzxid, znode.versions.mtime, znode.versions.version), (0, 7, -1));
    state.check();
}

/// Generates sections: the server, its boot, its first number, and the number of commands.
fn sections() -> impl Strategy<Value = Vec<(u8, u64, u64, usize)>> {
    vec((0..4u8, 0..4u64, 1..1_000_000u64, 0..4usize), 0..5)
}

fn agreed(sections: &[(u8, u64, u64, usize)]) -> Vec<u8> {
    let mut entry = Vec::new();
    begin_agreed(FIRST, 9, &mut entry);
    for &(server, boot, first, count) in sections {
        put_section(ServerId(server), boot, first, &encoded(&vec![(OpCode::Delete, &b"abc"[..]); count]), &mut entry);
    }
    entry
}

/// Returns everything an entry holds, up to the first thing that is invalid.
fn read(entry: &[u8]) -> (Vec<Option<Number>>, Option<DecodeError>) {
    let batch = match Entry::decode(entry, Level::KNOWN) {
        Ok(Entry::Batch(batch)) => batch,
        Ok(Entry::Epoch(_) | Entry::Raise(_) | Entry::Renewal(_)) => return (vec![], None),
        Err(BadEntry::Malformed(error)) => return (vec![], Some(error)),
        Err(BadEntry::Newer { .. }) => return (vec![], Some(DecodeError::NotAllowed("level"))),
    };
    let (mut numbers, mut failed) = (vec![], None);
    for command in batch {
        assert!(failed.is_none(), "nothing follows what is broken");
        match command {
            Ok(command) => numbers.push(command.from),
            Err(error) => failed = Some(error),
        }
    }
    (numbers, failed)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_agreed_batch_survives_its_encoding(sections in sections()) {
        let numbered = |&(server, boot, first, count): &(u8, u64, u64, usize)| {
            let is_own = (server, boot) == (0, OWN_BOOT);
            (0..count as u64).map(move |at| (!is_own).then_some(number(server, boot, first + at)))
        };
        let expected: Vec<_> = sections.iter().flat_map(numbered).collect();
        prop_assert_eq!(read(&agreed(&sections)), (expected, None));
    }

    /// A truncated entry yields a part of its commands, and an error unless it is cut between
    /// sections.
    #[test]
    fn a_part_of_an_entry_is_a_part_of_its_commands(sections in sections(), at: prop::sample::Index) {
        let entry = agreed(&sections);
        let (whole, part) = (read(&entry).0, read(&entry[..at.index(entry.len() + 1)]));
        prop_assert!(whole.starts_with(&part.0));
        prop_assert!(part.1.is_some() || (0..=sections.len()).any(|count| part.0 == read(&agreed(&sections[..count])).0));
    }

    #[test]
    fn no_bytes_make_an_entry_panic(
        mut bytes in vec(any::<u8>(), 0..200),
        version in 0..4u8,
        sections in sections(),
        noise in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        if let Some(first) = bytes.first_mut() {
            *first = version;
        }
        let count = read(&bytes).0.len();
        prop_assert!(count <= bytes.len() / 4, "{count} commands in {} bytes", bytes.len());
        let mut entry = agreed(&sections);
        for (at, byte) in noise {
            let at = at.index(entry.len());
            entry[at] = byte;
        }
        read(&entry);
    }

    /// In whatever order and however often commands come, those of each boot are applied in order,
    /// each once.
    #[test]
    fn what_is_admitted_is_each_command_once_in_order(numbers in vec((1..3u8, 0..3u64, 0..6u64), 0..80)) {
        let mut state = State::new(1);
        let mut admitted: BTreeMap<u8, Vec<(u64, u64)>> = BTreeMap::new();
        for (server, boot, seq) in numbers {
            let before = state.last_admitted(ServerId(server));
            let expected = match before {
                Some((last_boot, last)) if last_boot == boot => seq == last + 1,
                Some((last_boot, _)) => boot > last_boot && seq == 1,
                None => seq == 1,
            };
            prop_assert_eq!(state.admit(number(server, boot, seq)), expected);
            if expected {
                admitted.entry(server).or_default().push((boot, seq));
            }
            prop_assert_eq!(state.last_admitted(ServerId(server)), if expected { Some((boot, seq)) } else { before });
        }
        for all in admitted.values() {
            prop_assert!(all.is_sorted_by(|one, next| one < next), "{all:?}");
        }
    }
}

#[test]
fn an_epoch_begins_zxids_anew_and_voids_former_ballots() {
    let mut state = State::new(1);
    let batch = |ballot| {
        let mut entry = Vec::new();
        begin_agreed(ballot, 0, &mut entry);
        entry
    };
    let accepts = |state: &State, ballot| state.accepts(&Batch::decode(&batch(ballot)).unwrap());
    assert_eq!((state.epoch_ballot(), state.ensemble(), state.last_admitted(ServerId(1))), (None, 0, None));
    assert!(!accepts(&state, FIRST), "no leader has begun");
    state.begin_epoch(&epoch(FIRST), &mut ());
    assert_eq!((state.zxid(), state.time_ms(), state.ensemble()), (Zxid::new(1, 0), 5, 77));
    assert!(accepts(&state, FIRST) && !accepts(&state, SECOND));
    done(&mut state, 1, OpCode::CreateSession, &TIMEOUT);
    assert_eq!(state.zxid(), Zxid::new(1, 1));
    state.begin_epoch(&Epoch { ballot: SECOND, time_ms: 4, ensemble: 78, config_version: 0, config: b"" }, &mut ());
    assert_eq!((state.zxid(), state.time_ms(), state.ensemble()), (Zxid::new(2, 0), 5, 77), "one id for ever");
    assert!(!accepts(&state, FIRST) && accepts(&state, SECOND));
    let mut alone = Vec::new();
    begin_batch(0, &mut alone);
    assert!(state.accepts(&Batch::decode(&alone).unwrap()), "what was written before there was an ensemble");
}

#[test]
fn only_the_owner_speaks_for_a_session() {
    let mut state = state();
    assert_eq!(owner(&state), Some(1));
    assert_eq!(apply(&mut state, 1, OpCode::Create, &create("/a", 1)).1, 1);
    let moved = (Err(ErrorCode::SessionMoved), 1);
    let set = bytes(SetDataRequest { path: Some("/a".into()), data: None, version: -1 });
    let mut multi = Vec::new();
    MultiHeader { op: OpCode::SetData.wire(), done: false, err: -1 }.encode(&mut multi);
    multi.extend(&set);
    MULTI_END.encode(&mut multi);
    for (op, body) in [(OpCode::SetData, &set), (OpCode::Multi, &multi), (OpCode::CloseSession, &vec![])] {
        assert_eq!(apply(&mut state, 2, op, body), moved, "{op:?}");
    }
    let sync = bytes(PathRecord { path: Some("/".into()) });
    assert_eq!(apply(&mut state, 2, OpCode::Sync, &sync), (Err(ErrorCode::SessionMoved), 0), "sync takes no zxid");
    assert_eq!(apply(&mut state, 2, OpCode::SetData, b"?"), (Err(ErrorCode::Marshalling), 0), "the body comes first");
    assert_eq!(apply(&mut state, 1, OpCode::Sync, &sync), (Ok(sync), 0));
    assert_eq!(apply(&mut state, 1, OpCode::SetData, &set).1, 1);
    assert_eq!(state.ephemerals_of(SESSION), 1);
    state.check();
}

#[test]
fn a_session_moves_by_being_resumed() {
    let mut state = state();
    done(&mut state, 1, OpCode::Create, &create("/a", 1));
    assert_eq!(apply(&mut state, 2, OpCode::ResumeSession, &7000i32.to_be_bytes()), (Ok(vec![]), 0));
    let session = state.sessions().get(SESSION).unwrap();
    assert_eq!((session.owner.0, session.timeout_ms, session.ephemerals.len()), (2, 7000, 1));
    assert_eq!(apply(&mut state, 1, OpCode::Create, &create("/b", 0)), (Err(ErrorCode::SessionMoved), 1));
    assert_eq!(apply(&mut state, 1, OpCode::CloseSession, &[]), (Err(ErrorCode::SessionMoved), 1));
    assert_eq!(apply(&mut state, 2, OpCode::Create, &create("/b", 0)).1, 1);
    assert_eq!(apply(&mut state, 2, OpCode::ResumeSession, b"?"), (Err(ErrorCode::Marshalling), 0));
    assert_eq!(owner(&state), Some(2));
    // The leader's own closeSession, after the session has expired.
    assert_eq!(apply(&mut state, 0, OpCode::CloseSession, &[]), (Ok(vec![]), 1));
    assert_eq!((owner(&state), state.tree().lookup("/a")), (None, None));
    state.check();
}

/// An expiry is void once the session was resumed, on any server and any number of times.
#[test]
fn an_expiry_that_was_found_before_a_resumption_does_nothing() {
    let mut state = state();
    done(&mut state, 1, OpCode::Create, &create("/a", 1));
    let mut known = vec![state.expiry(SESSION)];
    for server in [2, 3, 3] {
        done(&mut state, server, OpCode::ResumeSession, &TIMEOUT);
        for known in &known {
            assert_eq!(apply(&mut state, 0, OpCode::CloseSession, known), (Err(ErrorCode::SessionMoved), 1));
        }
        known.push(state.expiry(SESSION));
    }
    assert_eq!((owner(&state), state.ephemerals_of(SESSION)), (Some(3), 1));
    // A restart keeps the count.
    let mut loaded = reload(&mut state, None).unwrap();
    assert_eq!(loaded.expiry(SESSION), state.expiry(SESSION));
    for state in [&mut state, &mut loaded] {
        // A client may send any body.
        assert_eq!(
            apply(state, 1, OpCode::CloseSession, &known[0]),
            (Err(ErrorCode::SessionMoved), 1),
            "not its owner"
        );
        assert_eq!(apply(state, 0, OpCode::CloseSession, &known[3]), (Ok(vec![]), 1));
        assert_eq!(owner(state), None);
        assert_eq!(state.expiry(SESSION), [0; 4]);
    }
}

#[test]
fn only_what_a_server_proposes_of_itself_may_be_an_expiry() {
    for (identities, from) in [(&[][..], Some(number(2, 1, 1))), (&[0, 0, 0, 0][..], None)] {
        let mut state = state();
        done(&mut state, 2, OpCode::ResumeSession, &TIMEOUT);
        let client = Command { from, identities: Identities(identities), ..command(OpCode::CloseSession, &[0; 4]) };
        assert_eq!(state.apply(&client, 1, &mut Vec::new(), &mut ()), Ok(()), "a client closes its session");
        assert_eq!(owner(&state), None);
    }
}

/// A leader knows what was agreed on before it began, so the count restarts. Servers that learned
/// of a resumption from a checkpoint of an older version then agree with those that learned of it
/// from the log.
#[test]
fn a_leader_counts_resumptions_from_its_beginning() {
    let mut state = state();
    done(&mut state, 2, OpCode::ResumeSession, &TIMEOUT);
    let older = state.begin_checkpoint();
    state.end_checkpoint(&older, false);
    state.begin_epoch(&epoch(SECOND), &mut ());
    assert_eq!(state.expiry(SESSION), [0; 4]);
    let mut loaded = reload(&mut state, None).unwrap();
    assert_eq!(loaded.expiry(SESSION), [0; 4]);
    for record in [older.sessions[0].1.as_ref().unwrap(), &TIMEOUT.to_vec(), &[&TIMEOUT[..], &[2]].concat()] {
        let mut loading = Loading::new(2, &older.scalars, &[]).unwrap();
        assert_eq!(loading.session(SESSION.0, record), Ok(()), "{record:?}");
    }
    assert_eq!(apply(&mut loaded, 0, OpCode::CloseSession, &[0; 4]), (Ok(vec![]), 1));
}

#[test]
fn a_session_that_has_ended_does_nothing() {
    let mut state = state();
    done(&mut state, 1, OpCode::CloseSession, &[]);
    assert_eq!(apply(&mut state, 1, OpCode::ResumeSession, &TIMEOUT), (Err(ErrorCode::SessionExpired), 0));
    let set = bytes(SetDataRequest { path: Some("/".into()), data: None, version: -1 });
    for (op, body) in [(OpCode::Create, &create("/a", 0)), (OpCode::SetData, &set)] {
        assert_eq!(apply(&mut state, 2, op, body), (Err(ErrorCode::SessionExpired), 1), "{op:?}");
    }
    let mut multi = Vec::new();
    MultiHeader { op: OpCode::Create.wire(), done: false, err: -1 }.encode(&mut multi);
    multi.extend(create("/a", 0));
    MULTI_END.encode(&mut multi);
    let mut failed = Vec::new();
    encode_multi_error(ErrorCode::SessionExpired.wire(), &mut failed);
    MULTI_END.encode(&mut failed);
    assert_eq!(apply(&mut state, 2, OpCode::Multi, &multi), (Ok(failed), 1));
    // ZooKeeper: closing a closed session is not an error.
    assert_eq!(apply(&mut state, 1, OpCode::CloseSession, &[]), (Ok(vec![]), 1));
}

/// Takes a whole checkpoint and loads it; `ensemble` replaces its record of the ensemble.
fn reload(state: &mut State, ensemble: Option<&[u8]>) -> Result<State, DecodeError> {
    let head = state.begin_checkpoint();
    let mut loading = Loading::new(2, &head.scalars, ensemble.unwrap_or(&head.ensemble))?;
    for (id, record) in &head.sessions {
        record.as_ref().map_or(Ok(()), |record| loading.session(*id, record))?;
    }
    for (id, record) in &head.acls {
        record.as_ref().map_or(Ok(()), |record| loading.acl(*id, record))?;
    }
    let mut znodes = loading.part();
    for (slot, record) in state.capture(usize::MAX) {
        record.map_or(Ok(()), |record| znodes.znode(slot, &record))?;
    }
    loading.adopt(znodes);
    state.end_checkpoint(&head, false);
    loading.finish()
}

#[test]
fn a_checkpoint_keeps_what_an_ensemble_adds() {
    let mut state = state();
    done(&mut state, 1, OpCode::Create, &create("/a", 1));
    assert!(state.admit(number(1, 4, 1)) && state.admit(number(200, 9, 1)) && state.admit(number(200, 9, 2)));
    let mut loaded = reload(&mut state, None).unwrap();
    assert_eq!((loaded.epoch_ballot(), loaded.ensemble(), loaded.zxid()), (Some(FIRST), 77, state.zxid()));
    assert_eq!([1, 2, 200].map(|server| loaded.last_admitted(ServerId(server))), [Some((4, 1)), None, Some((9, 2))]);
    assert_eq!((owner(&loaded), loaded.ephemerals_of(SESSION)), (Some(1), 1));
    assert!(!loaded.admit(number(200, 9, 2)) && loaded.admit(number(200, 9, 3)));
    loaded.check();
    // The next checkpoint holds a session only if it changed, for example because it was resumed.
    let changed = |state: &mut State| {
        let head = state.begin_checkpoint();
        state.end_checkpoint(&head, true);
        head.sessions
    };
    assert_eq!(changed(&mut loaded), []);
    done(&mut loaded, 2, OpCode::ResumeSession, &TIMEOUT);
    let resumed = [&TIMEOUT[..], &[2], &FIRST.0, &1u32.to_be_bytes()].concat();
    assert_eq!(changed(&mut loaded), [(SESSION.0, Some(resumed))]);
}

#[test]
fn a_checkpoint_knows_server_0_beside_the_members() {
    let mut state = State::new(1);
    let config = b"server.0=a:1:2\nserver.255=b:1:2";
    state.begin_epoch(&Epoch { config, ..epoch(FIRST) }, &mut ());
    let admits = |state: &mut State, boot, seq| state.admit(number(0, boot, seq));
    assert!(admits(&mut state, 5, 1) && !admits(&mut state, 5, 1) && state.admit(number(255, 1, 1)));
    let mut loaded = reload(&mut state, None).unwrap();
    assert_eq!([0, 1, 255].map(|server| loaded.last_admitted(ServerId(server))), [Some((5, 1)), None, Some((1, 1))]);
    assert_eq!(
        (loaded.membership(), loaded.membership().voters()),
        (state.membership(), [0, 255].map(ServerId).into())
    );
    assert!(!admits(&mut loaded, 5, 1) && admits(&mut loaded, 5, 2));
}

#[test]
fn a_checkpoint_without_an_ensemble_loads_as_one_of_a_server_alone() {
    let mut state = State::new(1);
    done(&mut state, 0, OpCode::CreateSession, &TIMEOUT);
    let head = state.begin_checkpoint();
    assert_eq!((head.ensemble.len(), &head.sessions), (0, &vec![(SESSION.0, Some(TIMEOUT.to_vec()))]), "as ever");
    state.end_checkpoint(&head, false);
    let loaded = reload(&mut state, None).unwrap();
    assert_eq!((loaded.epoch_ballot(), loaded.ensemble(), loaded.last_admitted(ServerId(1))), (None, 0, None));
    assert_eq!(owner(&loaded), Some(0));
}

#[test]
fn damaged_records_are_errors() {
    let mut state = state();
    let (begun, ensemble) = (state.admit(number(1, 1, 1)), state.begin_checkpoint().ensemble);
    assert!(begun);
    for len in 1..ensemble.len() {
        // Without the record of the last server it is valid, but different.
        let result = Loading::new(1, &[0; 32], &ensemble[..len]);
        assert_eq!(result.is_err(), len != ensemble.len() - 17, "{len}");
    }
    let mut loading = Loading::new(1, &[0; 32], &[]).unwrap();
    let records = [&[][..], &[0; 3], &[0; 6]].map(|record| loading.session(1, record).is_err());
    assert_eq!(records, [true; 3]);
    assert_eq!(loading.session(1, &[0, 0, 0, 9, 3]), Ok(()));
}
