//! Feature levels: entries that need one, commands with more switches, and what a checkpoint keeps
//! of the level.

use oxkeeper_proto::{DecodeError, OpCode, ServerId, SessionId, Zxid};
use oxkeeper_state::checkpoint::Loading;
use oxkeeper_state::command::{begin_agreed, begin_agreed_at, put_section};
use oxkeeper_state::{BadEntry, BallotId, Batch, Command, Entry, Epoch, Identities, Level, Raise, Settings, State};

const BALLOT: BallotId = BallotId([7; 20]);

fn epoch(ballot: BallotId) -> Epoch<'static> {
    Epoch { ballot, time_ms: 5, ensemble: 7, config_version: 0, config: b"" }
}

fn raise(level: u32, ballot: Option<BallotId>) -> Vec<u8> {
    let mut entry = Vec::new();
    Raise { level: Level(level), ballot, time_ms: 9 }.encode(&mut entry);
    entry
}

fn apply_raise(state: &mut State, level: u32, ballot: Option<BallotId>) {
    state.raise(&Raise { level: Level(level), ballot, time_ms: 9 });
}

fn command(settings: Settings) -> Command<'static> {
    let (session, identities) = (SessionId(1), Identities::default());
    Command { from: None, session, xid: 3, op: OpCode::SetData, settings, identities, body: b"body" }
}

#[test]
fn a_raise_survives_the_log_in_a_layout_that_stays() {
    let entry = raise(1, Some(BALLOT));
    assert_eq!(entry, [&[4, 0, 0, 0, 1][..], &[7; 20], &[0, 0, 0, 0, 0, 0, 0, 9]].concat());
    let decoded = Entry::decode(&entry, Level(1));
    assert!(matches!(decoded, Ok(Entry::Raise(Raise { level: Level(1), ballot: Some(BALLOT), time_ms: 9 }))));
    assert!(matches!(Entry::decode(&raise(1, None), Level(1)), Ok(Entry::Raise(Raise { ballot: None, .. }))));
    for len in 0..entry.len() {
        assert!(Entry::decode(&entry[..len], Level(1)).is_err(), "{len} bytes");
    }
}

#[test]
fn an_entry_says_which_level_it_needs_before_anything_else() {
    let newer = |entry: &[u8]| match Entry::check(entry, Level::KNOWN) {
        Err(BadEntry::Newer { kind, needs, .. }) => Some((kind, needs)),
        Err(BadEntry::Malformed(_)) | Ok(()) => None,
    };
    let above = Level::KNOWN.0 + 1;
    assert_eq!(newer(&raise(above, Some(BALLOT))), Some((4, Level(above))));
    // The kind does not matter, nor do the bytes after the level.
    assert_eq!(newer(&[&[200][..], &above.to_be_bytes(), b"who knows"].concat()), Some((200, Level(above))));
    assert_eq!(newer(&[200, 0, 0, 0, 0]), None, "damaged: this program would know it");
    assert_eq!(newer(&[200, 0, 0]), None, "damaged: it has no level");
    let problem = Entry::check(&raise(above, None), Level::KNOWN).unwrap_err().to_string();
    assert_eq!(
        problem,
        format!("it is of kind 4 and needs feature level {above}, this program knows {}", Level::KNOWN)
    );
}

#[test]
fn a_check_finds_what_apply_would_stumble_over() {
    let mut commands = Vec::new();
    command(Settings::default()).encode(&mut commands);
    let entry = |commands: &[u8]| {
        let mut entry = Vec::new();
        begin_agreed(BALLOT, 5, &mut entry);
        put_section(ServerId(1), 1, 1, commands, &mut entry);
        entry
    };
    assert_eq!(Entry::check(&entry(&commands), Level::NONE), Ok(()));
    let mut unknown = commands.clone();
    unknown[16..20].copy_from_slice(&77_777i32.to_be_bytes());
    let problem = Err(BadEntry::Malformed(DecodeError::NotAllowed("operation")));
    assert_eq!(Entry::check(&entry(&unknown), Level::KNOWN), problem);
    for len in 1..commands.len() {
        assert!(Entry::check(&entry(&commands[..len]), Level::KNOWN).is_err(), "{len} bytes");
    }
    assert!(Entry::check(b"", Level::KNOWN).is_err());
}

#[test]
fn the_first_eight_switches_have_one_byte_and_the_others_find_room() {
    let encoded = |settings| {
        let mut out = Vec::new();
        command(settings).encode(&mut out);
        out
    };
    let narrow = encoded(Settings(255));
    assert_eq!(narrow.len(), encoded(Settings(0)).len(), "as before there were levels");
    assert_eq!(encoded(Settings(256)).len(), narrow.len() + 7);
    for settings in [Settings(0), Settings(255), Settings(256), Settings(u32::MAX)] {
        let mut entry = Vec::new();
        begin_agreed(BALLOT, 5, &mut entry);
        put_section(ServerId(1), 1, 1, &encoded(settings), &mut entry);
        let decoded = Batch::decode(&entry).unwrap().next().unwrap().unwrap();
        let Command { session, xid, op, identities, body, .. } = command(settings);
        assert_eq!(
            (decoded.session, decoded.xid, decoded.op, decoded.settings, decoded.identities.0, decoded.body),
            (session, xid, op, settings, identities.0, body)
        );
    }
}

#[test]
fn the_level_only_rises_and_only_in_its_own_epoch() {
    let mut state = State::new(1);
    assert_eq!(state.level(), Level::NONE);
    apply_raise(&mut state, 1, Some(BALLOT));
    assert_eq!(state.level(), Level::NONE, "nobody leads");
    apply_raise(&mut state, 2, None);
    assert_eq!(state.level(), Level(2), "of a standalone server");
    state.begin_epoch(&epoch(BALLOT), &mut ());
    apply_raise(&mut state, 1, Some(BALLOT));
    assert_eq!(state.level(), Level(2), "it never falls");
    apply_raise(&mut state, 3, Some(BallotId([8; 20])));
    apply_raise(&mut state, 3, None);
    assert_eq!(state.level(), Level(2), "of a leader that is none any more");
    apply_raise(&mut state, 3, Some(BALLOT));
    assert_eq!((state.level(), state.zxid()), (Level(3), Zxid::new(1, 0)), "it is no transaction");
}

#[test]
fn a_checkpoint_keeps_the_level_and_an_older_one_has_none() {
    let mut state = State::new(1);
    apply_raise(&mut state, 1, None);
    let head = state.begin_checkpoint();
    let load = |level: &[u8]| {
        let mut loading = Loading::new(1, &head.scalars, &head.ensemble).unwrap().at_level(level)?;
        let mut znodes = loading.part();
        for (slot, record) in &captured(&mut State::new(1)) {
            znodes.znode(*slot, record.as_ref().unwrap()).unwrap();
        }
        loading.adopt(znodes);
        for (id, record) in &head.acls {
            loading.acl(*id, record.as_ref().unwrap()).unwrap();
        }
        loading.finish().map(|state| state.level())
    };
    assert_eq!(Level::decode(&head.level), Ok(Level(1)));
    assert_eq!(load(&head.level), Ok(Level(1)));
    assert_eq!(load(&[]), Ok(Level::NONE), "written before there were levels");
    assert!(load(&[0, 0]).is_err());
}

fn captured(state: &mut State) -> Vec<oxkeeper_state::Captured> {
    state.begin_checkpoint();
    state.capture(100)
}

#[test]
fn below_the_next_level_batches_are_laid_out_as_every_program_reads_them() {
    for level in [Level::NONE, Level::KNOWN] {
        let (mut at, mut plain) = (Vec::new(), Vec::new());
        begin_agreed_at(level, BALLOT, 5, &mut at);
        begin_agreed(BALLOT, 5, &mut plain);
        assert_eq!(at, plain);
        assert_eq!(Entry::check(&at, Level::NONE), Ok(()));
    }
}

#[cfg(feature = "next-version")]
#[test]
fn the_next_version_has_a_kind_of_entry_that_this_one_refuses() {
    let mut entry = Vec::new();
    begin_agreed_at(Level::NEXT, BALLOT, 5, &mut entry);
    assert!(matches!(Entry::check(&entry, Level::KNOWN), Err(BadEntry::Newer { kind: 6, needs: Level::NEXT, .. })));
    let Ok(Entry::Batch(batch)) = Entry::decode(&entry, Level::NEXT) else { panic!("it is a batch") };
    assert_eq!((batch.time_ms, batch.ballot), (5, Some(BALLOT)));
}
