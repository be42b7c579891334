//! An ensemble in this process. Each server has its own disk; all use a loopback address that no
//! other test uses.

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

/// Place of one server, running or not.
pub(crate) struct Seat {
    pub(crate) id: u8,
    /// Address for peers.
    pub(crate) peer: SocketAddr,
    pub(crate) dir: PathBuf,
    /// `None`: real files in `dir`.
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

/// All znodes of a server as clients see them, by path.
pub(crate) type Contents = BTreeMap<String, (Vec<u8>, Stat)>;

impl Group {
    /// Creates servers with these ids, on fake disks. `lines` are added to every zoo.cfg. None is
    /// running.
    pub(crate) fn new(ids: &[u8], lines: &[&str]) -> Group {
        let root = tempfile::tempdir().unwrap();
        let host = own_host();
        let seat = |&id: &u8| {
            let dir = root.path().join(id.to_string());
            std::fs::create_dir(&dir).unwrap();
            // The port is free at every address, for servers that listen on wildcards.
            let port = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap().local_addr().unwrap().port();
            let peer = SocketAddr::from((host, port));
            Seat { id, peer, dir, disk: Some(FakeDisk::new()), gate: Arc::default(), server: None }
        };
        let seats = ids.iter().map(seat).collect();
        Group { seats, lines: lines.iter().map(|&line| line.to_owned()).collect(), flags: String::new(), _root: root }
    }

    /// Like [`Group::new`], with all servers running and serving.
    pub(crate) fn running(ids: &[u8], lines: &[&str]) -> Group {
        let mut group = Group::new(ids, lines);
        group.start_all();
        group.wait_serving();
        group
    }

    /// Like [`Group::running`], with real files.
    pub(crate) fn running_on_files(ids: &[u8]) -> Group {
        let mut group = Group::new(ids, &[]);
        group.seats.iter_mut().for_each(|seat| seat.disk = None);
        group.start_all();
        group.wait_serving();
        group
    }

    /// Returns the configuration as an operator would write it.
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

    /// Starts a server with a custom zoo.cfg.
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

    /// Stops a server as a signal would. Panics if that takes too long.
    pub(crate) fn stop(&mut self, id: u8) {
        let server = self.seat_mut(id).server.take().unwrap();
        let stopping = std::thread::spawn(move || server.stop());
        until(&format!("server {id} stops"), || stopping.is_finished());
        stopping.join().unwrap();
    }

    /// Leaves all disks as a simultaneous power failure would, then restarts the servers. `before`
    /// is called at the moment of the failure.
    pub(crate) fn crash_all<T>(&mut self, seed: u64, before: impl FnOnce() -> T) -> T {
        let gates: Vec<_> = self.seats.iter().map(|seat| seat.gate.clone()).collect();
        // No server makes anything durable after another's disk has stopped.
        let closed: Vec<_> = gates.iter().map(|gate| gate.close()).collect();
        let answer = before();
        let left: Vec<_> = self.seats.iter().map(|seat| seat.disk.as_ref().unwrap().crash(seed)).collect();
        drop(closed);
        self.ids().into_iter().for_each(|id| self.stop(id));
        self.seats.iter_mut().zip(left).for_each(|(seat, left)| seat.disk = Some(left));
        self.start_all();
        answer
    }

    /// Replaces the disk with an empty one.
    pub(crate) fn wipe(&mut self, id: u8) {
        let seat = self.seat_mut(id);
        assert!(seat.server.is_none(), "only of a server that does not run");
        seat.disk = Some(FakeDisk::new());
    }

    /// Returns the address for clients.
    pub(crate) fn address(&self, id: u8) -> SocketAddr {
        self.seat(id).server.as_ref().unwrap().address()
    }

    pub(crate) fn running_ids(&self) -> Vec<u8> {
        self.seats.iter().filter(|seat| seat.server.is_some()).map(|seat| seat.id).collect()
    }

    /// Returns the server's mode from `srvr`, or `None` while it does not serve.
    pub(crate) fn mode(&self, id: u8) -> Option<String> {
        let text = word(self.address(id), "srvr");
        text.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
    }

    /// Waits until every running server serves, with exactly one leader. Returns the id of the
    /// leader.
    pub(crate) fn wait_serving(&self) -> u8 {
        self.wait_serving_of(&self.running_ids())
    }

    /// Like [`Group::wait_serving`], for these servers.
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

    /// Returns a running server that is not the leader.
    pub(crate) fn follower(&self) -> u8 {
        let leader = self.wait_serving();
        self.running_ids().into_iter().find(|&id| id != leader).unwrap()
    }

    /// Opens a new session at a server as soon as it accepts one.
    pub(crate) fn client(&self, id: u8) -> Raw {
        self.client_of(id, LONG_MS, Session::default())
    }

    /// Like [`Group::client`], with this session or timeout.
    pub(crate) fn client_of(&self, id: u8, timeout_ms: i32, session: Session) -> Raw {
        let mut client = None;
        until("a server takes a client", || {
            client = Raw::open(self.address(id), timeout_ms, session).ok();
            client.is_some()
        });
        client.unwrap()
    }

    /// Returns the contents of a server, including everything acknowledged anywhere before.
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

    /// Checks that all running servers have the same contents, and returns them.
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

    /// Stops all running servers.
    pub(crate) fn end(mut self) {
        self.running_ids().into_iter().for_each(|id| self.stop(id));
    }
}

/// Makes everything acknowledged before visible to this client's later reads.
pub(crate) fn sync(client: &mut Raw) {
    let reply = client.call(OpCode::Sync, &PathRecord { path: Some("/".into()) }).unwrap();
    assert_eq!(reply.err, 0);
}

/// Returns the answer to a four-letter word, or nothing while a server moves its port.
pub(crate) fn word(address: SocketAddr, word: &str) -> String {
    let Ok(mut stream) = dial(address) else { return String::new() };
    let mut text = String::new();
    match stream.write_all(word.as_bytes()).and_then(|()| stream.read_to_string(&mut text)) {
        Ok(_) => text,
        // The connection was not accepted before the port closed.
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
            assert!(dial(address).is_err(), "{error}, and the port is still there");
            String::new()
        }
        Err(error) => panic!("{word} at {address}: {error}"),
    }
}

/// Returns a loopback address unique to this test, so that its ports do not conflict with others.
fn own_host() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id();
    Ipv4Addr::new(127, 64 + (process % 128) as u8, (process / 128 % 256) as u8, NEXT.fetch_add(1, Ordering::Relaxed))
}
