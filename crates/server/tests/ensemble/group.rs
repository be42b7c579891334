//! An ensemble in this process: each server on a disk of its own, all on one loopback address that no other test uses.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use oxkeeper_config::{Config, Properties};
use oxkeeper_proto::OpCode;
use oxkeeper_proto::records::{PathRecord, Stat};
use oxkeeper_server::{Server, StartError, StartOptions};
use oxkeeper_store::RealDisk;
use oxkeeper_store::fake::FakeDisk;

use crate::support::gate::{Gate, GatedDisk};
use crate::support::raw::{Raw, Session, dial};
use crate::support::{LONG_MS, until};

/// One server's place: it may run or not.
pub(crate) struct Seat {
    pub(crate) id: u8,
    /// Where its peers reach it.
    pub(crate) peer: SocketAddr,
    pub(crate) dir: PathBuf,
    /// `None`: files in `dir`.
    pub(crate) disk: Option<FakeDisk>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) server: Option<Server>,
}

/// See the module.
pub(crate) struct Group {
    pub(crate) seats: Vec<Seat>,
    lines: Vec<String>,
    /// `SERVER_JVMFLAGS` of every server.
    pub(crate) flags: String,
    _root: tempfile::TempDir,
}

/// Everything that clients see of a server, by path.
pub(crate) type Contents = BTreeMap<String, (Vec<u8>, Stat)>;

impl Group {
    /// Servers with these ids, on fake disks; `lines` go into every zoo.cfg. None runs yet.
    pub(crate) fn new(ids: &[u8], lines: &[&str]) -> Group {
        let root = tempfile::tempdir().unwrap();
        let host = own_host();
        let seat = |&id: &u8| {
            let dir = root.path().join(id.to_string());
            std::fs::create_dir(&dir).unwrap();
            // Free at every address, for servers that listen everywhere.
            let port = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap().local_addr().unwrap().port();
            let peer = SocketAddr::from((host, port));
            Seat { id, peer, dir, disk: Some(FakeDisk::new()), gate: Arc::default(), server: None }
        };
        let seats = ids.iter().map(seat).collect();
        Group { seats, lines: lines.iter().map(|&line| line.to_owned()).collect(), flags: String::new(), _root: root }
    }

    /// The same, and all of them run and serve.
    pub(crate) fn running(ids: &[u8], lines: &[&str]) -> Group {
        let mut group = Group::new(ids, lines);
        group.start_all();
        group.wait_serving();
        group
    }

    /// The same with files.
    pub(crate) fn running_on_files(ids: &[u8]) -> Group {
        let mut group = Group::new(ids, &[]);
        group.seats.iter_mut().for_each(|seat| seat.disk = None);
        group.start_all();
        group.wait_serving();
        group
    }

    /// As operators write it.
    pub(crate) fn zoo_cfg(&self, id: u8) -> String {
        let dir = self.seat(id).dir.display();
        let server = |seat: &Seat| format!("server.{}={}:{}:3888", seat.id, seat.peer.ip(), seat.peer.port());
        let mut lines = vec![
            format!("dataDir={dir}"),
            "clientPort=0".to_owned(),
            "clientPortAddress=127.0.0.1".to_owned(),
            "tickTime=1000".to_owned(),
            "initLimit=10".to_owned(),
            "syncLimit=5".to_owned(),
            "maxSessionTimeout=120000".to_owned(),
            "oxkeeper.heartbeatMs=100".to_owned(),
        ];
        lines.extend(self.seats.iter().map(server));
        lines.extend(self.lines.clone());
        lines.join("\n")
    }

    pub(crate) fn ids(&self) -> Vec<u8> {
        self.seats.iter().map(|seat| seat.id).collect()
    }

    pub(crate) fn seat(&self, id: u8) -> &Seat {
        self.seats.iter().find(|seat| seat.id == id).unwrap()
    }

    pub(crate) fn seat_mut(&mut self, id: u8) -> &mut Seat {
        self.seats.iter_mut().find(|seat| seat.id == id).unwrap()
    }

    /// Starts a server with a zoo.cfg of one's own.
    pub(crate) fn start_with(&mut self, id: u8, zoo_cfg: &str) -> Result<(), StartError> {
        let mut properties = Properties::from_jvm_flags(&self.flags);
        properties.extend(Properties::from_file_text(zoo_cfg).unwrap());
        let config = Config::from_properties(&properties).unwrap().with_my_id(Some(i64::from(id))).unwrap();
        let options = StartOptions { in_memory: false, io_threads: 2 };
        let seat = self.seat_mut(id);
        let inner: Arc<dyn oxkeeper_store::Disk> = match &seat.disk {
            Some(disk) => Arc::new(disk.clone()),
            None => Arc::new(RealDisk),
        };
        let disk = Arc::new(GatedDisk { inner, gate: seat.gate.clone() });
        seat.server = Some(Server::start_on(config, options, disk)?);
        Ok(())
    }

    pub(crate) fn start(&mut self, id: u8) {
        let zoo_cfg = self.zoo_cfg(id);
        self.start_with(id, &zoo_cfg).unwrap();
    }

    pub(crate) fn start_all(&mut self) {
        self.ids().into_iter().for_each(|id| self.start(id));
    }

    /// Stops a server as a signal does. Panics when that takes for ever.
    pub(crate) fn stop(&mut self, id: u8) {
        let server = self.seat_mut(id).server.take().unwrap();
        let stopping = std::thread::spawn(move || server.stop());
        until(&format!("server {id} stops"), || stopping.is_finished());
        stopping.join().unwrap();
    }

    /// All disks as a power failure of all servers would leave them, which then start again. `before` is called at the
    /// moment of the failure.
    pub(crate) fn crash_all<T>(&mut self, seed: u64, before: impl FnOnce() -> T) -> T {
        let gates: Vec<_> = self.seats.iter().map(|seat| seat.gate.clone()).collect();
        // Nobody makes anything durable that another's disk would not know of.
        let closed: Vec<_> = gates.iter().map(|gate| gate.close()).collect();
        let answer = before();
        let left: Vec<_> = self.seats.iter().map(|seat| seat.disk.as_ref().unwrap().crash(seed)).collect();
        drop(closed);
        self.ids().into_iter().for_each(|id| self.stop(id));
        self.seats.iter_mut().zip(left).for_each(|(seat, left)| seat.disk = Some(left));
        self.start_all();
        answer
    }

    /// An empty disk in the place of the one there was.
    pub(crate) fn wipe(&mut self, id: u8) {
        let seat = self.seat_mut(id);
        assert!(seat.server.is_none(), "only of a server that does not run");
        seat.disk = Some(FakeDisk::new());
    }

    /// Where its clients reach it.
    pub(crate) fn address(&self, id: u8) -> SocketAddr {
        self.seat(id).server.as_ref().unwrap().address()
    }

    pub(crate) fn running_ids(&self) -> Vec<u8> {
        self.seats.iter().filter(|seat| seat.server.is_some()).map(|seat| seat.id).collect()
    }

    /// What `srvr` calls the server's mode; `None` while it does not serve.
    pub(crate) fn mode(&self, id: u8) -> Option<String> {
        let text = word(self.address(id), "srvr");
        text.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
    }

    /// Until every running server serves, exactly one of them as the leader. Its id.
    pub(crate) fn wait_serving(&self) -> u8 {
        self.wait_serving_of(&self.running_ids())
    }

    /// The same of these servers.
    pub(crate) fn wait_serving_of(&self, ids: &[u8]) -> u8 {
        let mut leader = 0;
        until("one leads and all others follow", || {
            let modes: Vec<_> = ids.iter().map(|&id| (id, self.mode(id))).collect();
            let leaders = || modes.iter().filter(|(_, mode)| mode.as_deref() == Some("leader"));
            leader = leaders().map(|(id, _)| *id).next().unwrap_or(0);
            leaders().count() == 1 && modes.iter().all(|(_, mode)| mode.is_some())
        });
        leader
    }

    /// A server that runs and does not lead.
    pub(crate) fn follower(&self) -> u8 {
        let leader = self.wait_serving();
        self.running_ids().into_iter().find(|&id| id != leader).unwrap()
    }

    /// A new session at a server, as soon as that gives one.
    pub(crate) fn client(&self, id: u8) -> Raw {
        self.client_of(id, LONG_MS, Session::default())
    }

    /// The same with this session, or of this timeout.
    pub(crate) fn client_of(&self, id: u8, timeout_ms: i32, session: Session) -> Raw {
        let mut client = None;
        until("a server takes a client", || {
            client = Raw::open(self.address(id), timeout_ms, session).ok();
            client.is_some()
        });
        client.unwrap()
    }

    /// What a server holds, up to everything that was acknowledged anywhere before.
    pub(crate) fn contents(&self, id: u8) -> Contents {
        let mut client = self.client(id);
        sync(&mut client);
        let mut contents = Contents::new();
        let mut paths = vec!["/".to_owned()];
        while let Some(path) = paths.pop() {
            let prefix = if path == "/" { "" } else { &path };
            paths.extend(client.children(&path).iter().map(|child| format!("{prefix}/{child}")));
            contents.insert(path.clone(), client.get(&path).unwrap());
        }
        contents
    }

    /// All running servers hold the same; what it is.
    pub(crate) fn assert_equal(&self) -> Contents {
        let ids = self.running_ids();
        let first = self.contents(ids[0]);
        for &id in &ids[1..] {
            let other = self.contents(id);
            assert_eq!(first.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>(), "{} and {id}", ids[0]);
            for (path, (data, stat)) in &first {
                assert_eq!((data, stat), (&other[path].0, &other[path].1), "{path} at {} and {id}", ids[0]);
            }
        }
        first
    }

    /// Stops whatever runs.
    pub(crate) fn end(mut self) {
        self.running_ids().into_iter().for_each(|id| self.stop(id));
    }
}

/// Everything acknowledged before is in what this client reads from now on.
pub(crate) fn sync(client: &mut Raw) {
    let reply = client.call(OpCode::Sync, &PathRecord { path: Some("/".into()) }).unwrap();
    assert_eq!(reply.err, 0);
}

/// The answer to a four-letter word; nothing while a server moves its port.
pub(crate) fn word(address: SocketAddr, word: &str) -> String {
    let Ok(mut stream) = dial(address) else { return String::new() };
    let mut text = String::new();
    match stream.write_all(word.as_bytes()).and_then(|()| stream.read_to_string(&mut text)) {
        Ok(_) => text,
        // Connected, and not accepted before the port closed.
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
            assert!(dial(address).is_err(), "{error}, and the port is still there");
            String::new()
        }
        Err(error) => panic!("{word} at {address}: {error}"),
    }
}

/// An address of the loopback network that only this test has: its ports are in nobody's way.
fn own_host() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id();
    Ipv4Addr::new(127, 64 + (process % 128) as u8, (process / 128 % 256) as u8, NEXT.fetch_add(1, Ordering::Relaxed))
}
