//! reconfig in the state machine: its errors and their order, its changes, and their persistence.
//!
//! The table is Apache ZooKeeper's: `compat-tests` runs it against real servers.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use oxkeeper_proto::records::{GetDataResponse, Id, ReconfigRequest, SetDataRequest};
use oxkeeper_proto::{ErrorCode, Jute, OpCode, ServerId, SessionId};
use oxkeeper_state::checkpoint::Loading;
use oxkeeper_state::command::VERSION_WANTED;
use oxkeeper_state::reconfig::{self, Ruling};
use oxkeeper_state::{BallotId, Change, ChangeSink, Command, Epoch, Identities, Membership, Number, Settings, State};

const SESSION: SessionId = SessionId(0x100_0000_0000_0001);
const SYNCED: Ruling = Ruling::SYNCED;
const THREE: &str = "server.1=a:2888:3888:participant;0.0.0.0:2181\n\
    server.2=b:2888:3888:participant;0.0.0.0:2181\nserver.3=c:2888:3888:participant;0.0.0.0:2181\nversion=0";

/// Fields of a request: joining, leaving, newMembers, curConfigId.
type Request = (Option<&'static str>, Option<&'static str>, Option<&'static str>, i64);

fn bytes<'a>(record: impl Jute<'a>) -> Vec<u8> {
    let mut out = Vec::new();
    record.encode(&mut out);
    out
}

fn body((joining, leaving, members, cur_config_id): Request) -> Vec<u8> {
    let mut out = Vec::new();
    let request = bytes(ReconfigRequest {
        joining_servers: joining.map(Into::into),
        leaving_servers: leaving.map(Into::into),
        new_members: members.map(Into::into),
        cur_config_id,
    });
    reconfig::put_body(&request, &mut out);
    out
}

fn root() -> Vec<u8> {
    bytes(Id { scheme: Some("super".into()), id: Some("".into()) })
}

fn epoch(config: &str, config_version: i64) -> Epoch<'_> {
    Epoch { ballot: BallotId([1; 20]), time_ms: 5, ensemble: 77, config_version, config: config.as_bytes() }
}

fn state() -> State {
    let mut state = State::new(1);
    state.begin_epoch(&epoch(THREE, 0), &mut ());
    let timeout = 6000i32.to_be_bytes();
    let open = Command { op: OpCode::CreateSession, ..command(&[], &timeout) };
    state.apply(&open, 1, &mut Vec::new(), &mut ()).unwrap();
    state
}

fn command<'a>(identities: &'a [u8], body: &'a [u8]) -> Command<'a> {
    let from = Some(Number { server: ServerId(1), boot: 1, seq: 1 });
    let (op, settings, identities) = (OpCode::Reconfig, Settings::RECONFIG, Identities(identities));
    Command { from, session: SESSION, xid: 3, op, settings, identities, body }
}

/// Encodes a command with a ruling, as a leader does before the command is applied.
fn ruled(command: &Command<'_>, ruling: Ruling) -> Vec<u8> {
    let mut encoded = Vec::new();
    command.encode(&mut encoded);
    reconfig::judge(&mut encoded, |_| ruling);
    encoded[encoded.len() - command.body.len()..].to_vec()
}

fn apply(state: &mut State, command: &Command<'_>, ruling: Ruling) -> Result<Vec<u8>, ErrorCode> {
    let (mut reply, body) = (Vec::new(), ruled(command, ruling));
    state.apply(&Command { body: &body, ..*command }, 7, &mut reply, &mut ())?;
    Ok(reply)
}

fn reconfigure(state: &mut State, request: Request) -> Result<Vec<u8>, ErrorCode> {
    apply(state, &command(&root(), &body(request)), SYNCED)
}

/// Charts write the wildcard into each server's own line, so other servers cannot dial the
/// address that a leader's configuration has for the leader itself.
#[test]
fn a_wildcard_gives_way_to_a_host_that_anybody_knows() {
    let own =
        |id: u8| THREE.replace(&format!("server.{id}={}", char::from(b'a' + id - 1)), &format!("server.{id}=0.0.0.0"));
    let mut state = State::new(1);
    state.begin_epoch(&epoch(&own(1), VERSION_WANTED), &mut ());
    let version = state.membership().version();
    let hosts = |state: &State| {
        let servers = state.membership().members().servers.values();
        servers.map(|server| server.addresses[0].host.clone()).collect::<Vec<_>>()
    };
    assert_eq!(hosts(&state), ["0.0.0.0", "b", "c"], "nobody else has said anything");
    state.begin_epoch(&epoch(&own(2), VERSION_WANTED), &mut ());
    assert_eq!((hosts(&state), state.membership().version()), (["a", "b", "c"].map(str::to_owned).to_vec(), version));
    let shown = state.tree().znode(state.tree().lookup("/zookeeper/config").unwrap()).data().unwrap().to_vec();
    assert_eq!(String::from_utf8(shown).unwrap(), state.membership().to_string());
    state.begin_epoch(&epoch(&own(3), VERSION_WANTED), &mut ());
    assert_eq!(hosts(&state), ["a", "b", "c"]);

    // The same holds for a wildcard in a client's request. A client can also replace a wildcard that was
    // agreed on before.
    let mut state = self::state();
    reconfigure(&mut state, (Some("server.2=0.0.0.0:2888:3888;2182"), None, None, -1)).unwrap();
    assert_eq!(hosts(&state), ["a", "b", "c"]);
    let mut state = State::new(1);
    state.begin_epoch(&epoch(&own(1), 0), &mut ());
    let timeout = 6000i32.to_be_bytes();
    let open = Command { op: OpCode::CreateSession, ..command(&[], &timeout) };
    state.apply(&open, 1, &mut Vec::new(), &mut ()).unwrap();
    reconfigure(&mut state, (Some("server.1=a:2888:3888;2181"), None, None, -1)).unwrap();
    assert_eq!(hosts(&state), ["a", "b", "c"]);
}

#[test]
fn the_first_and_the_last_number_there_is_join() {
    let mut state = state();
    reconfigure(&mut state, (Some("server.0=d:1:2;3,server.255=e:1:2;3"), None, None, -1)).unwrap();
    assert_eq!(state.membership().voters(), [0, 1, 2, 3, 255].map(ServerId));
}

const D: &str = "server.4=d:2888:3888;2181";

#[test]
fn errors_come_in_zookeepers_order() {
    use ErrorCode::{
        BadArguments, BadVersion, Marshalling, NewConfigNoQuorum, NoAuth, ReconfigDisabled, ReconfigInProgress,
        Unimplemented,
    };
    let good: Request = (Some(D), None, None, -1);
    let bad: Request = (Some("server.4=d"), None, None, 77);
    let none = Ruling::default();
    let (root, nobody) = (root(), vec![]);
    let cases: [(Request, Ruling, &[u8], ErrorCode); 24] = [
        (bad, Ruling::IN_PROGRESS, &nobody, ReconfigInProgress),
        (bad, none, &nobody, BadVersion),
        ((Some("server.4=d"), None, None, 0), none, &nobody, BadArguments),
        (good, none, &nobody, NewConfigNoQuorum),
        (good, SYNCED, &nobody, NoAuth),
        // Joining, one server at a time.
        ((Some("server.4=d:1:2:participant"), None, None, -1), SYNCED, &root, BadArguments), // no client port
        ((Some("server.4"), None, None, -1), SYNCED, &root, BadArguments),
        ((Some("server.4=a=b"), None, None, -1), SYNCED, &root, BadArguments),
        ((Some("server.x=d:1:2;3"), None, None, -1), SYNCED, &root, Marshalling),
        ((Some("server.4=d:1:70000;3"), None, None, -1), SYNCED, &root, Marshalling),
        ((Some("server.4=d:x:2;3"), None, None, -1), SYNCED, &root, BadArguments),
        ((Some("server.4=d:1:2:voter;3"), None, None, -1), SYNCED, &root, BadArguments),
        ((Some("server.4=a:2888:5;6"), None, None, -1), SYNCED, &root, BadArguments), // the address of server 1
        ((Some("server.4=d:1:2|e:1:2;3"), None, None, -1), SYNCED, &root, BadArguments),
        // Leaving.
        ((None, Some("x"), None, -1), SYNCED, &root, Marshalling),
        ((None, Some("2,3"), None, -1), SYNCED, &root, BadArguments), // fewer than two who vote
        // All members.
        ((None, None, Some(""), -1), SYNCED, &root, BadArguments),
        ((None, None, Some("server.1=a:1:2;3"), -1), SYNCED, &root, BadArguments),
        ((None, None, Some("server.1=a:1:2:observer;3"), -1), SYNCED, &root, Marshalling),
        ((None, None, Some("clientPort=1"), -1), SYNCED, &root, BadArguments),
        ((None, None, Some("server.1=a:1:2,server.2=b:1:2,version=x"), -1), SYNCED, &root, Marshalling),
        // Ours: values that do not fit.
        ((Some("server.256=d:1:2;3"), None, None, -1), SYNCED, &root, BadArguments),
        ((Some("server.-1=d:1:2;3"), None, None, -1), SYNCED, &root, BadArguments),
        ((None, None, Some("server.1=a:1:2,server.2=b:1:2,group.1=1:2,weight.1=1"), -1), SYNCED, &root, BadArguments),
    ];
    let mut state = state();
    for (request, ruling, identities, expected) in cases {
        let before = (state.zxid(), state.membership().clone());
        let result = apply(&mut state, &command(identities, &body(request)), ruling);
        assert_eq!(result, Err(expected), "{request:?}");
        assert_eq!(state.zxid().0, before.0.0 + 1, "ZooKeeper: an error takes a zxid");
        assert_eq!(state.membership(), &before.1);
    }
    let (bad, good) = (body(bad), body(good));
    let disabled = Command { settings: Settings::default(), ..command(&[], &bad) };
    assert_eq!(apply(&mut state, &disabled, SYNCED), Err(ReconfigDisabled));
    let alone = Command { from: None, ..command(&[], &bad) };
    assert_eq!(apply(&mut state, &alone, SYNCED), Err(Unimplemented));
    let skipped = Command { settings: Settings::RECONFIG.with(Settings::SKIP_ACL), ..command(&[], &good) };
    assert!(apply(&mut state, &skipped, SYNCED).is_ok());
}

#[test]
fn what_is_no_request_takes_no_zxid_and_needs_no_ruling() {
    let mut state = state();
    let before = state.zxid();
    let mut half = Vec::new();
    reconfig::put_body(&bytes(SetDataRequest { path: None, data: None, version: 0 })[..3], &mut half);
    assert_eq!(half.len(), 3);
    assert_eq!(apply(&mut state, &command(&root(), &half), SYNCED), Err(ErrorCode::Marshalling));
    assert_eq!(state.zxid(), before);
}

#[test]
fn a_client_cannot_rule() {
    let mut request = body((Some(D), None, None, -1));
    request.pop();
    request.push(SYNCED.0 as u8);
    let mut body = Vec::new();
    reconfig::put_body(&request, &mut body);
    let mut state = state();
    let result = state.apply(&command(&root(), &body), 7, &mut Vec::new(), &mut ());
    assert_eq!(result, Err(ErrorCode::NewConfigNoQuorum));
}

#[test]
fn servers_join_leave_and_change() {
    struct Told(Vec<(String, i64)>);
    impl ChangeSink for Told {
        fn changed(&mut self, change: Change<'_>) {
            self.0.push((change.path.to_owned(), change.zxid.0));
        }
    }
    let (mut state, mut told, mut reply) = (state(), Told(vec![]), vec![]);
    let (root, add) =
        (root(), body((Some("server.4=d:2888:3888:observer;10.0.0.4:2181,2=e:1:2;3"), Some("3,9"), None, 0)));
    let add = command(&root, &add);
    let expected = reconfig::preview(&state, &add, SYNCED).unwrap();
    let ruled = ruled(&add, SYNCED);
    state.apply(&Command { body: &ruled, ..add }, 7, &mut reply, &mut told).unwrap();
    assert_eq!((state.membership(), state.voter_changes()), (&expected, 1));
    assert_eq!(
        (state.membership().voters(), state.membership().observers()),
        ([1, 2].map(ServerId).into(), [4].map(ServerId).into())
    );
    assert_eq!(told.0, [("/zookeeper/config".to_owned(), state.zxid().0)]);
    let text = format!(
        "server.1=a:2888:3888:participant;0.0.0.0:2181\nserver.2=e:1:2:participant;0.0.0.0:3\n\
         server.4=d:2888:3888:observer;10.0.0.4:2181\nversion={:x}",
        state.zxid().0
    );
    let reply = GetDataResponse::from_bytes(&reply).unwrap();
    assert_eq!(std::str::from_utf8(reply.data.unwrap()), Ok(text.as_str()));
    assert_eq!((reply.stat.version, reply.stat.mzxid, reply.stat.mtime), (-1, state.zxid().0, 7));
    // Changes of addresses and observers alone change no vote.
    let version = state.membership().version();
    assert_eq!(reconfigure(&mut state, (None, None, None, version)).map(|_| ()), Ok(()));
    assert!(reconfigure(&mut state, (None, Some("4"), None, -1)).is_ok());
    assert_eq!((state.voter_changes(), state.membership().observers()), (1, vec![]));
    assert!(reconfigure(&mut state, (None, None, Some("server.7=x:1:2,server.8=y:1:2"), -1)).is_ok());
    assert_eq!((state.voter_changes(), state.membership().voters()), (2, [7, 8].map(ServerId).into()));
    let one = body((None, Some("8"), None, -1));
    assert!(apply(&mut state, &command(&root, &one), SYNCED.with(Ruling::ONE_VOTER)).is_ok());
    assert_eq!(state.membership().voters(), [ServerId(7)]);
    state.check();
}

#[test]
fn what_a_configuration_says_counts_only_where_it_is_newer_and_keeps_the_votes() {
    let members = |state: &State| state.membership().to_string();
    let mut state = state();
    assert!(reconfigure(&mut state, (None, Some("3"), None, -1)).is_ok());
    let (now, version) = (members(&state), state.membership().version());
    for (config, version) in [
        (THREE, 0),
        (THREE, version + 1),                        // it has another vote
        ("server.1=x:1:2\nserver.2=y:1:2", version), // a version names one membership
        ("server.1=x:1:2\nserver.2=y:1:2", 0),
        ("", version + 1),
    ] {
        state.begin_epoch(&epoch(config, version), &mut ());
        assert_eq!(members(&state), now, "{config} {version}");
    }
    state.begin_epoch(&epoch("server.1=x:1:2\nserver.2=y:1:2", version + 1), &mut ());
    assert!(members(&state).starts_with("server.1=x:1:2:participant\n"));
    assert_eq!(state.membership().version(), version + 1);
}

#[test]
fn a_membership_without_a_version_is_given_that_of_the_epoch_if_wanted() {
    let mut state = State::new(1);
    for (wanted, expected) in
        [(0, 0), (VERSION_WANTED, 0x2_0000_0000), (VERSION_WANTED, 0x2_0000_0000), (0, 0x2_0000_0000)]
    {
        state.begin_epoch(&epoch(THREE, wanted), &mut ());
        assert_eq!(state.membership().version(), expected);
    }
}

#[test]
fn a_checkpoint_keeps_the_members_whatever_their_znode_says() {
    let mut state = state();
    assert!(reconfigure(&mut state, (None, Some("3"), None, -1)).is_ok());
    let root = root();
    let set =
        bytes(SetDataRequest { path: Some("/zookeeper/config".into()), data: Some(b"server.9=z:1:2"), version: -1 });
    let set = Command { op: OpCode::SetData, ..command(&root, &set) };
    state.apply(&set, 8, &mut Vec::new(), &mut ()).unwrap();
    let head = state.begin_checkpoint();
    let mut loading = Loading::new(1, &head.scalars, &head.ensemble).unwrap();
    let mut part = loading.part();
    loop {
        let captured = state.capture(100);
        if captured.is_empty() {
            break;
        }
        captured.iter().for_each(|(slot, record)| part.znode(*slot, record.as_ref().unwrap()).unwrap());
    }
    loading.adopt(part);
    head.acls.iter().for_each(|(id, record)| loading.acl(*id, record.as_ref().unwrap()).unwrap());
    head.sessions.iter().for_each(|(id, record)| loading.session(*id, record.as_ref().unwrap()).unwrap());
    let loaded = loading.finish().unwrap();
    assert_eq!((loaded.membership(), loaded.voter_changes()), (state.membership(), 1));
    assert_eq!(loaded.membership().voters(), [1, 2].map(ServerId));
    // A standalone server has no membership.
    assert_eq!(State::new(1).membership(), &Membership::default());
}
