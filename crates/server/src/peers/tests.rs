//! Links over the loopback interface, between two [`Peers`] or with a scripted dialler.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use socket2::SockRef;

use super::hello::{self, CONFIRMATION, HEAD_LEN, Hello, Levels, Purpose};
use super::stream::{GREETINGS_MAX, STATES_MAX};
use super::*;
use oxkeeper_replica::ensemble::frame::Frame as PeerFrame;

mod tls;

/// Far longer than any step here takes.
const PATIENCE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(2);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Up(u8),
    Down(u8, bool),
    Frame(u8, Vec<u8>),
}

impl Seen {
    /// Returns `None` for events that depend on timing; only tests about those look at them.
    fn of(event: PeerEvent<'_>) -> Option<Seen> {
        match event {
            PeerEvent::LinkUp(peer) => Some(Seen::Up(peer.0)),
            PeerEvent::LinkDown { peer, by_peer } => Some(Seen::Down(peer.0, by_peer)),
            PeerEvent::Frame(peer, frame) => Some(Seen::Frame(peer.0, frame.to_vec())),
            PeerEvent::Stirs(_) | PeerEvent::Drains(_) => None,
        }
    }
}

/// Returns listeners and members 1, 2, … of an ensemble on this machine.
fn ensemble(count: u8) -> (Vec<TcpListener>, Vec<Member>) {
    let bound = (1..=count).map(|id| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, Member { id: ServerId(id), host: "127.0.0.1".to_owned(), port })
    });
    bound.unzip()
}

fn config(me: u8, members: &[Member]) -> PeersConfig {
    let port = members[usize::from(me) - 1].port;
    PeersConfig::new(ServerId(me), members.to_vec(), HostPort { host: Some("127.0.0.1".to_owned()), port })
}

fn no_state() -> OnState {
    Arc::new(|_, _| panic!("nobody asks for the state"))
}

/// Returns servers 1 and 2, linked.
fn pair() -> (Peers, Peers) {
    let (listeners, members) = ensemble(2);
    let mut started = listeners
        .into_iter()
        .zip(1..)
        .map(|(listener, me)| Peers::start_on(vec![listener], config(me, &members), no_state()).unwrap());
    let (mut one, mut two) = (started.next().unwrap(), started.next().unwrap());
    assert_eq!(turn(&mut [&mut one, &mut two], |seen| seen.iter().all(|seen| !seen.is_empty()))[0], [Seen::Up(2)]);
    (one, two)
}

/// Returns server 2 of three, without the others, and its address. `change` adapts its
/// configuration.
fn lone(change: impl FnOnce(&mut PeersConfig)) -> (Peers, SocketAddr) {
    lone_with(change, no_state())
}

fn lone_with(change: impl FnOnce(&mut PeersConfig), on_state: OnState) -> (Peers, SocketAddr) {
    let (mut listeners, members) = ensemble(3);
    let mut config = config(2, &members);
    change(&mut config);
    let listener = listeners.swap_remove(1);
    let address = listener.local_addr().unwrap();
    (Peers::start_on(vec![listener], config, on_state).unwrap(), address)
}

/// Runs the servers until what they have seen is `enough`.
fn turn(servers: &mut [&mut Peers], mut enough: impl FnMut(&[Vec<Seen>]) -> bool) -> Vec<Vec<Seen>> {
    let until = Instant::now() + PATIENCE;
    let mut seen = vec![Vec::new(); servers.len()];
    while !enough(&seen) {
        assert!(Instant::now() < until, "only this happened: {seen:.200?}");
        for (peers, seen) in servers.iter_mut().zip(&mut seen) {
            peers.wait(STEP);
            peers.poll(&mut |event| seen.extend(Seen::of(event)));
        }
    }
    seen
}

/// Runs one server until it has seen `count` events.
fn see(peers: &mut Peers, count: usize) -> Vec<Seen> {
    turn(&mut [peers], |seen| seen[0].len() >= count).remove(0)
}

fn greeting(purpose: Purpose) -> Hello {
    Hello {
        purpose,
        from: ServerId(1),
        to: ServerId(2),
        ensemble: 0,
        members: [1, 2, 3].map(ServerId).into(),
        levels: Levels::default(),
    }
}

/// Sends a hello and reads the answer.
fn knock(address: SocketAddr, hello: &[u8]) -> (TcpStream, Result<(), String>) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    // The hello is sent even if the socket is reset next.
    socket.set_nodelay(true).unwrap();
    socket.write_all(hello).unwrap();
    let mut head = [0; HEAD_LEN];
    socket.read_exact(&mut head).unwrap();
    let mut body = vec![0; hello::answer_head(&head).unwrap().1];
    socket.read_exact(&mut body).unwrap();
    (socket, hello::verdict(&body))
}

/// Opens a link or state connection as server 1 would.
fn dial(address: SocketAddr, purpose: Purpose) -> TcpStream {
    let (mut socket, answer) = knock(address, &greeting(purpose).encode());
    assert_eq!(answer, Ok(()));
    socket.write_all(&[CONFIRMATION]).unwrap();
    socket
}

/// Waits until the other side has hung up.
fn await_end(mut socket: &TcpStream) {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let ended = match socket.read(&mut [0]) {
        Ok(len) => len == 0,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    };
    assert!(ended, "the connection goes on");
}

fn prefixed(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as u32).to_be_bytes(), frame].concat()
}

#[test]
fn each_refusal_says_why() {
    let check = |restrict: bool, hello: &[u8], expected: &str| {
        let (mut peers, address) = lone(|config| {
            config.restrict = restrict;
            config.members[0].host = "127.0.0.2".to_owned();
            config.ensemble.store(7, Ordering::Release);
        });
        let (socket, answer) = knock(address, hello);
        let reason = answer.expect_err(expected);
        assert!(reason.contains(expected), "{reason:?}");
        await_end(&socket);
        peers.wait(Duration::ZERO);
        peers.poll(&mut |event| panic!("{event:?}"));
    };
    let hello = || greeting(Purpose::Link);
    let mut newer = hello().encode();
    (newer[5], newer[9]) = (4, 5);
    check(false, &newer, "speaks version 3 of the protocol between servers, the one that dials versions 4 to 5");
    let newer = Levels { agreed: Level(9), knows: Level(9) };
    check(false, &Hello { levels: newer, ..hello() }.encode(), "server 2 knows feature levels up to 1");
    check(false, &Hello { to: ServerId(3), ..hello() }.encode(), "this is server 2, not 3");
    check(false, &Hello { from: ServerId(9), ..hello() }.encode(), "server 9 is not among the members here, [1, 2, 3]");
    check(false, &Hello { from: ServerId(2), ..hello() }.encode(), "two servers have the same myid");
    check(
        false,
        &Hello { members: [1, 2].map(ServerId).into(), ..hello() }.encode(),
        "the members here are [1, 2, 3], not [1, 2]",
    );
    check(false, &Hello { ensemble: 8, ..hello() }.encode(), "ensemble 0000000000000007, not 0000000000000008");
    check(false, &Hello { from: ServerId(3), ..hello() }.encode(), "server 2 dials server 3");
    check(true, &hello().encode(), "127.0.0.1 is not an address of server 1's host 127.0.0.2");
}

#[test]
fn names_are_resolved_for_the_restriction() {
    let (mut peers, address) = lone(|config| {
        config.restrict = true;
        config.members[0].host = "localhost".to_owned();
    });
    let _link = dial(address, Purpose::Link);
    assert_eq!(see(&mut peers, 1), [Seen::Up(1)]);
}

#[test]
fn the_dialler_learns_why_it_is_refused() {
    let (mut listeners, members) = ensemble(3);
    let _three = listeners.pop();
    let (two, one) = (listeners.pop().unwrap(), listeners.pop().unwrap());
    let _two = Peers::start_on(vec![two], config(2, &members), no_state()).unwrap();
    let one = Peers::start_on(vec![one], config(1, &members[..2]), no_state()).unwrap();
    let refused = one.connector().connect_for_state(ServerId(2)).unwrap_err().to_string();
    assert!(refused.contains("it refused the connection: the members here are [1, 2, 3], not [1, 2]"), "{refused}");
    assert_eq!(one.connector().connect_for_state(ServerId(3)).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn garbage_costs_only_its_connection() {
    let (mut peers, address) = lone(|_| {});
    let mut too_long = greeting(Purpose::Link).encode();
    too_long[6..8].copy_from_slice(&u16::MAX.to_be_bytes());
    let mut runner = TestRunner::new(Config::with_cases(32));
    let check = |garbage: &[u8]| {
        let mut socket = TcpStream::connect(address).unwrap();
        // The other side may hang up before this write.
        let _ = socket.write_all(garbage).and_then(|()| socket.shutdown(std::net::Shutdown::Write));
        await_end(&socket);
    };
    check(&too_long);
    check(b"GET / HTTP/1.1\r\n\r\n");
    check(&greeting(Purpose::Link).encode()[..HEAD_LEN + 3]);
    let garbage = proptest::collection::vec(any::<u8>(), 0..2000);
    runner
        .run(&garbage, |garbage| {
            check(&garbage);
            Ok(())
        })
        .unwrap();
    let _link = dial(address, Purpose::Link);
    assert_eq!(see(&mut peers, 1), [Seen::Up(1)]);
}

#[test]
fn silence_costs_no_more_than_its_time() {
    let (_peers, address) = lone(|config| config.hello_timeout = Duration::from_millis(100));
    await_end(&TcpStream::connect(address).unwrap());
    // A trickle of bytes does not extend the deadline.
    let since = Instant::now();
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    for byte in greeting(Purpose::Link).encode() {
        let gone = socket.write_all(&[byte]).is_err();
        if gone || !matches!(socket.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            assert!(since.elapsed() >= Duration::from_millis(80));
            return;
        }
    }
    panic!("the greeting was waited for");
}

#[test]
fn the_silent_make_room() {
    let (mut peers, address) = lone(|config| config.hello_timeout = 2 * PATIENCE);
    let silent: Vec<_> = (0..GREETINGS_MAX + 3).map(|_| TcpStream::connect(address).unwrap()).collect();
    let _link = dial(address, Purpose::Link);
    assert_eq!(see(&mut peers, 1), [Seen::Up(1)]);
    silent[..4].iter().for_each(await_end);
}

#[test]
fn a_stale_dial_is_no_link() {
    let (mut peers, address) = lone(|_| {});
    // One is abandoned before the answer; one is confirmed only after a newer one.
    drop(knock(address, &greeting(Purpose::Link).encode()));
    let (mut slow, _) = knock(address, &greeting(Purpose::Link).encode());
    let mut link = dial(address, Purpose::Link);
    assert_eq!(see(&mut peers, 1), [Seen::Up(1)]);
    slow.write_all(&[CONFIRMATION]).unwrap();
    turn(&mut [&mut peers], |seen| {
        assert_eq!(seen[0], [], "the link stays");
        slow.set_read_timeout(Some(STEP)).unwrap();
        slow.read(&mut [0]).is_ok()
    });
    link.write_all(&prefixed(b"still here")).unwrap();
    assert_eq!(see(&mut peers, 1), [Seen::Frame(1, b"still here".to_vec())]);
}

#[test]
fn of_two_links_at_once_the_newer_one_stays() {
    let (mut peers, address) = lone(|_| {});
    let (mut older, _) = knock(address, &greeting(Purpose::Link).encode());
    let mut newer = dial(address, Purpose::Link);
    older.write_all(&[CONFIRMATION]).unwrap();
    // The engine has not looked yet.
    await_end(&older);
    newer.write_all(&prefixed(b"newer")).unwrap();
    assert_eq!(see(&mut peers, 2), [Seen::Up(1), Seen::Frame(1, b"newer".to_vec())]);
}

#[test]
fn a_new_link_replaces_the_old() {
    let (mut peers, address) = lone(|_| {});
    let old = dial(address, Purpose::Link);
    assert_eq!(see(&mut peers, 1), [Seen::Up(1)]);
    let mut new = dial(address, Purpose::Link);
    new.write_all(&prefixed(b"hello")).unwrap();
    assert_eq!(see(&mut peers, 3), [Seen::Down(1, true), Seen::Up(1), Seen::Frame(1, b"hello".to_vec())]);
    await_end(&old);
}

#[test]
fn a_frame_too_long_ends_the_link() {
    let (mut peers, address) = lone(|_| {});
    let mut link = dial(address, Purpose::Link);
    link.write_all(&[&prefixed(b"")[..], &prefixed(b"good"), &(FRAME_LEN_MAX as u32 + 1).to_be_bytes()].concat())
        .unwrap();
    let expected = [Seen::Up(1), Seen::Frame(1, Vec::new()), Seen::Frame(1, b"good".to_vec()), Seen::Down(1, false)];
    assert_eq!(see(&mut peers, 4), expected);
    await_end(&link);
}

#[test]
fn what_came_before_the_end_is_told() {
    for reset in [false, true] {
        let (mut peers, address) = lone(|_| {});
        let mut link = dial(address, Purpose::Link);
        assert_eq!(see(&mut peers, 1), [Seen::Up(1)]);
        link.write_all(&[prefixed(b"last"), vec![0, 0]].concat()).unwrap();
        if reset {
            SockRef::from(&link).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(link);
        // Writing fails before anything is read.
        for _ in 0..3 {
            peers.send(ServerId(1), b"too late");
            peers.flush();
        }
        let seen = turn(&mut [&mut peers], |seen| seen[0].last() == Some(&Seen::Down(1, true))).remove(0);
        assert_eq!(seen, [Seen::Frame(1, b"last".to_vec()), Seen::Down(1, true)]);
        peers.send(ServerId(1), b"no link");
        assert_eq!(peers.unsent(ServerId(1)), 0);
    }
}

#[test]
fn whoever_does_not_read_is_given_up() {
    let (mut peers, address) = lone(|config| config.unsent_len_max = 1 << 20);
    let link = dial(address, Purpose::Link);
    assert_eq!(see(&mut peers, 1), [Seen::Up(1)]);
    let frame = vec![0; 64 << 10];
    let mut sent = 0;
    let mut seen = Vec::new();
    while seen.is_empty() {
        peers.send(ServerId(1), &frame);
        assert!(peers.unsent(ServerId(1)) <= 1 << 20);
        peers.flush();
        peers.poll(&mut |event| seen.extend(Seen::of(event)));
        sent += frame.len();
        assert!(sent < 512 << 20, "nobody reads, yet everything is taken");
    }
    assert_eq!(seen, [Seen::Down(1, false)]);
    drop(link);
}

#[test]
fn a_killed_link_is_dialled_anew() {
    let (mut one, mut two) = pair();
    one.kill(ServerId(2), "a test");
    one.kill(ServerId(2), "a test");
    one.send(ServerId(2), b"lost");
    let seen = turn(&mut [&mut one, &mut two], |seen| seen.iter().all(|seen| seen.len() >= 2));
    assert_eq!(seen[0], [Seen::Down(2, false), Seen::Up(2)]);
    assert_eq!(seen[1], [Seen::Down(1, true), Seen::Up(1)]);
    two.kill(ServerId(1), "a test");
    let seen = turn(&mut [&mut one, &mut two], |seen| seen.iter().all(|seen| seen.len() >= 2));
    assert_eq!(seen[0], [Seen::Down(2, true), Seen::Up(2)]);
    assert_eq!(seen[1], [Seen::Down(1, false), Seen::Up(1)]);
}

/// A link that ended while its peer was not a member is dialled once the peer is a member again
/// (`compat-tests/faults`, reconfig-empty-disk).
#[test]
fn a_member_that_was_none_for_a_while_is_dialled_again() {
    let (mut one, mut two) = pair();
    let members: Vec<Member> = one.helpers.ids().iter().filter_map(|&id| one.helpers.member(id)).collect();
    one.set_members(members[..1].to_vec(), true);
    two.kill(ServerId(1), "a test");
    turn(&mut [&mut one, &mut two], |seen| seen.iter().all(|seen| !seen.is_empty()));
    one.set_members(members, true);
    let seen = turn(&mut [&mut one, &mut two], |seen| seen.iter().all(|seen| !seen.is_empty()));
    assert_eq!(seen, [[Seen::Up(2)], [Seen::Up(1)]]);
}

#[test]
fn a_stopped_server_frees_its_port_and_is_found_again() {
    let (mut listeners, members) = ensemble(2);
    let (two, one) = (listeners.pop().unwrap(), listeners.pop().unwrap());
    let mut one = Peers::start_on(vec![one], config(1, &members), no_state()).unwrap();
    let two = Peers::start_on(vec![two], config(2, &members), no_state()).unwrap();
    assert_eq!(see(&mut one, 1), [Seen::Up(2)]);
    drop(two);
    assert_eq!(see(&mut one, 1), [Seen::Down(2, true)]);
    let mut two = Peers::start(config(2, &members), no_state()).unwrap();
    let seen = turn(&mut [&mut one, &mut two], |seen| seen.iter().all(|seen| !seen.is_empty()));
    assert_eq!(seen, [[Seen::Up(2)], [Seen::Up(1)]]);
    let taken = Peers::start(config(2, &members), no_state()).err().unwrap();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
}

/// Two servers share a port: where server 1 would dial, it listens itself.
#[test]
fn nobody_dials_a_wildcard() {
    let (mut listeners, mut members) = ensemble(2);
    members[1] = Member { id: ServerId(2), host: "0".to_owned(), port: members[0].port };
    let one = Peers::start_on(vec![listeners.remove(0)], config(1, &members), no_state()).unwrap();
    for host in ["0", "0.0.0.0", "::", "::ffff:0.0.0.0"] {
        members[1].host = host.to_owned();
        one.helpers.set_members(members.clone(), true);
        let error = one.connector().connect_for_state(ServerId(2)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{host} is an address to listen on, not one to connect to")), "{error}");
    }
}

#[test]
fn a_host_is_bound_at_all_its_addresses() {
    let bind = |host: Option<&str>| accept::bind(&HostPort { host: host.map(str::to_owned), port: 0 });
    for host in [None, Some("localhost"), Some("127.0.0.3")] {
        for listener in bind(host).unwrap() {
            let address = listener.local_addr().unwrap();
            let at = if address.ip().is_unspecified() { ([127, 0, 0, 1], address.port()).into() } else { address };
            TcpStream::connect::<SocketAddr>(at).unwrap();
        }
    }
    // An address for documentation belongs to nobody.
    assert!(bind(Some("192.0.2.1")).unwrap_err().to_string().starts_with("cannot listen on 192.0.2.1:0: "));
}

#[test]
fn big_frames_pass_in_pieces() {
    let (mut one, mut two) = pair();
    let frame = |len: usize, salt: u8| -> Vec<u8> { (0..len).map(|at| (at % 251) as u8 ^ salt).collect() };
    let lens = [0, 1, 40 << 20, 3, (64 << 10) - 4, 1 << 20, 17 << 20, 5];
    for (salt, len) in lens.into_iter().enumerate() {
        one.send(ServerId(2), &frame(len, salt as u8));
        two.send(ServerId(1), &frame(len, salt as u8 + 100));
    }
    one.flush();
    two.flush();
    assert!(one.unsent(ServerId(2)) > 0 && two.unsent(ServerId(1)) > 0, "no socket takes that at once");
    let seen = turn(&mut [&mut one, &mut two], |seen| seen.iter().all(|seen| seen.len() == lens.len()));
    for (salt, len) in lens.into_iter().enumerate() {
        assert!(seen[0][salt] == Seen::Frame(2, frame(len, salt as u8 + 100)), "frame {salt} to server 1");
        assert!(seen[1][salt] == Seen::Frame(1, frame(len, salt as u8)), "frame {salt} to server 2");
    }
    assert_eq!((one.unsent(ServerId(2)), two.unsent(ServerId(1))), (0, 0));
}

/// A peer that receives a long frame still hears heartbeats, and neither side considers the other
/// dead.
#[test]
fn a_heartbeat_overtakes_a_long_frame() {
    let (mut peers, address) = lone(|_| {});
    let mut link = dial(address, Purpose::Link);
    assert_eq!(see(&mut peers, 1), [Seen::Up(1)]);
    let urgent = {
        let mut bytes = Vec::new();
        PeerFrame::Pong(5).encode(&mut bytes);
        bytes
    };
    assert!(PeerFrame::is_urgent(&urgent));
    peers.send(ServerId(1), &vec![0; 40 << 20]);
    peers.flush();
    assert!(peers.unsent(ServerId(1)) > 30 << 20, "the system takes little");
    peers.send(ServerId(1), &urgent);
    let until = Instant::now() + PATIENCE;
    let (mut heard, mut buffer, mut drains) = (0, vec![0; 256 << 10], false);
    link.set_nonblocking(true).unwrap();
    // A frame of one piece: head and bytes.
    let wanted = [&(1u32 << 30 | urgent.len() as u32).to_be_bytes()[..], &urgent].concat();
    let mut tail = Vec::new();
    while !tail.windows(wanted.len()).any(|bytes| bytes == wanted) {
        assert!(Instant::now() < until && heard < 20 << 20, "{heard} bytes came before it");
        if let Ok(len) = link.read(&mut buffer) {
            heard += len;
            tail.extend_from_slice(&buffer[..len]);
        }
        peers.wait(Duration::ZERO);
        peers.poll(&mut |event| drains |= event == PeerEvent::Drains(ServerId(1)));
    }
    assert!(drains, "what takes bytes again is not dead");
}

#[test]
fn a_part_of_a_frame_is_life() {
    let (mut peers, address) = lone(|_| {});
    let mut link = dial(address, Purpose::Link);
    assert_eq!(see(&mut peers, 1), [Seen::Up(1)]);
    let frame = prefixed(b"slow");
    for byte in &frame[..frame.len() - 1] {
        link.write_all(&[*byte]).unwrap();
        let (until, mut stirs) = (Instant::now() + PATIENCE, false);
        while !stirs {
            assert!(Instant::now() < until, "nobody heard of it");
            peers.wait(STEP);
            peers.poll(&mut |event| stirs |= event == PeerEvent::Stirs(ServerId(1)));
        }
    }
    link.write_all(&frame[frame.len() - 1..]).unwrap();
    assert_eq!(see(&mut peers, 1), [Seen::Frame(1, b"slow".to_vec())]);
}

#[test]
fn many_frames_stay_in_order() {
    const COUNT: u64 = 100_000;
    /// Maximum number of frames between two flushes.
    const BATCH: u64 = 97;
    // A frame repeats its number, so that frames differ in length.
    let frame = |number: u64| number.to_be_bytes().repeat(1 + (number % 13) as usize);
    let exchange = move |mut peers: Peers, to: u8| {
        let until = Instant::now() + PATIENCE;
        let (mut sent, mut received) = (0, 0);
        while received < COUNT || sent < COUNT || peers.unsent(ServerId(to)) > 0 {
            assert!(Instant::now() < until, "{sent} sent, {received} received");
            for _ in 0..BATCH.min(COUNT - sent) {
                peers.send(ServerId(to), &frame(sent));
                sent += 1;
            }
            peers.flush();
            peers.wait(if sent < COUNT { Duration::ZERO } else { STEP });
            peers.poll(&mut |event| {
                let Some(seen) = Seen::of(event) else { return };
                assert_eq!(seen, Seen::Frame(to, frame(received)));
                received += 1;
            });
        }
        peers
    };
    let (one, two) = pair();
    let other = thread::spawn(move || exchange(two, 1));
    let one = exchange(one, 2);
    // Neither side hangs up before the other has everything.
    drop((one, other.join().unwrap()));
}

#[test]
fn a_waker_ends_the_wait() {
    let (mut peers, _) = lone(|_| {});
    let waker = peers.waker();
    let done = Arc::new(AtomicU64::new(0));
    let since = Instant::now();
    let other = thread::spawn({
        let done = done.clone();
        move || {
            for count in 1..=1000 {
                done.store(count, Ordering::Relaxed);
                waker.wake();
            }
        }
    });
    // Each wake is seen, even if several coincide.
    while done.load(Ordering::Relaxed) < 1000 {
        peers.wait(PATIENCE);
    }
    other.join().unwrap();
    assert!(since.elapsed() < PATIENCE);
    // At most one wake is left, in either case.
    peers.wait(Duration::ZERO);
    peers.wait(Duration::ZERO);
    let since = Instant::now();
    peers.wait(Duration::from_millis(20));
    assert!(since.elapsed() >= Duration::from_millis(20), "nothing woke us");
}

#[test]
fn state_has_its_own_connections() {
    let (listeners, members) = ensemble(2);
    let on_state: OnState = Arc::new(|mut stream, peer| stream.write_all(&vec![peer.0; 1 << 20]).unwrap());
    let mut started = listeners
        .into_iter()
        .zip(1..)
        .map(|(listener, me)| Peers::start_on(vec![listener], config(me, &members), on_state.clone()).unwrap());
    let (one, two) = (started.next().unwrap(), started.next().unwrap());
    for (from, to) in [(&one, 2), (&two, 1)] {
        let mut stream = from.connector().connect_for_state(ServerId(to)).unwrap();
        let mut state = Vec::new();
        stream.read_to_end(&mut state).unwrap();
        assert!(state == vec![3 - to; 1 << 20], "the whole state");
    }
}

#[test]
fn a_state_transfer_does_not_wait_for_the_dead() {
    let (sender, sent) = std::sync::mpsc::channel();
    let sender = Arc::new(parking_lot::Mutex::new(sender));
    // The sender has more data than the other side ever reads.
    let on_state: OnState = Arc::new(move |mut stream, _| {
        let failed = (0..1000).find_map(|_| stream.write_all(&vec![0; 1 << 20]).err());
        sender.lock().send(failed.map(|error| error.kind())).unwrap();
    });
    let (peers, address) = lone_with(|config| config.state_timeout = Duration::from_millis(50), on_state);
    let state = dial(address, Purpose::State);
    assert_eq!(sent.recv_timeout(PATIENCE), Ok(Some(io::ErrorKind::WouldBlock)));
    drop((state, peers));
}

#[test]
fn a_silent_sender_of_state_is_given_up() {
    let (mut listeners, members) = ensemble(2);
    // The callback holds the stream until the other side hangs up.
    let on_state: OnState = Arc::new(|mut stream, _| while stream.read(&mut [0]).is_err() {});
    let two = Peers::start_on(listeners.split_off(1), config(2, &members), on_state.clone()).unwrap();
    let impatient = PeersConfig { state_timeout: Duration::from_millis(50), ..config(1, &members) };
    let one = Peers::start_on(listeners, impatient, on_state).unwrap();
    let mut stream = one.connector().connect_for_state(ServerId(2)).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop((stream, one, two));
}

#[test]
fn stopping_ends_state_transfers() {
    let over = Arc::new(AtomicBool::new(false));
    let on_state: OnState = Arc::new({
        let over = over.clone();
        move |mut stream, _| {
            // The transfer lasts until one side hangs up.
            let _ = stream.read(&mut [0]);
            over.store(true, Ordering::Release);
        }
    });
    let (peers, address) = lone_with(|config| config.hello_timeout = 2 * PATIENCE, on_state);
    let state = dial(address, Purpose::State);
    let silent = TcpStream::connect(address).unwrap();
    // The silent transfer may take twice this time, and the state has no end.
    let since = Instant::now();
    drop(peers);
    assert!(over.load(Ordering::Acquire), "whoever sends the state has let go of it");
    assert!(since.elapsed() < PATIENCE);
    await_end(&state);
    await_end(&silent);
}

#[test]
fn state_transfers_are_counted() {
    let (_peers, address) = lone_with(|_| {}, Arc::new(|mut stream, _| drop(stream.read(&mut [0]))));
    let states: Vec<_> = (0..STATES_MAX).map(|_| dial(address, Purpose::State)).collect();
    let (_, answer) = knock(address, &greeting(Purpose::State).encode());
    assert_eq!(answer, Err("too many state transfers are under way".to_owned()));
    drop(states);
    let until = Instant::now() + PATIENCE;
    while knock(address, &greeting(Purpose::State).encode()).1.is_err() {
        assert!(Instant::now() < until, "their places are free again");
    }
}

#[test]
fn an_unknown_name_harms_nobody_else() {
    // A label has at most 63 bytes, so the resolver can fail without a query.
    let (mut peers, address) = lone(|config| config.members[2].host = "x".repeat(64));
    let _link = dial(address, Purpose::Link);
    assert_eq!(see(&mut peers, 1), [Seen::Up(1)]);
    let error = peers.connector().connect_for_state(ServerId(3)).unwrap_err().to_string();
    assert!(error.contains("cannot resolve xxx"), "{error}");
}
