//! A session that outlives its connections: a list of servers, identities and watches that are restored on
//! each connection, and a stream of events.
//!
//! One task owns the connection; only it changes the [`State`] and sends events. Invariants: (1) an event
//! that the server sent before an answer is in the stream before a call of [`Handle::fence`] by the receiver
//! of that answer returns; (2) no event follows `Closed`, `Expired` or `AuthFailed`. Source: `ZooKeeper`,
//! `ClientCnxn`, `StaticHostProvider`.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use oxkeeper_proto::op::{AddWatchMode, EventType, WatcherType};
use oxkeeper_proto::records::Stat;
use oxkeeper_proto::{ErrorCode, Zxid};
use parking_lot::Mutex;
use tokio::net::lookup_host;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::search::writable;
use crate::watches::{Kind, Removed, Watches};
use crate::{Client, ConnectString, EVENTS_MAX, Error, Events, Options, Session, WatchEvent};

/// ZooKeeper: pause of a client after it has tried every server in vain.
const ROUND_REST: Duration = Duration::from_secs(1);
/// Minimal time for a server to answer a handshake, regardless of the number of servers.
const ATTEMPT_MIN: Duration = Duration::from_millis(500);
/// Requests waiting for the task that owns the connection.
const CONTROLS_MAX: usize = 64;

/// State of the session. Source: `ZooKeeper.States`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No server serves the session now.
    Connecting,
    /// A server serves the session.
    Connected,
    /// A server that takes no writes serves the session.
    ConnectedReadOnly,
    /// The session has been closed or has expired.
    Closed,
    /// The session has ended because an identity was refused.
    AuthFailed,
}

impl State {
    /// Returns whether calls can still succeed.
    pub fn is_alive(self) -> bool {
        !matches!(self, State::Closed | State::AuthFailed)
    }

    /// Returns whether a server serves the session.
    pub fn is_connected(self) -> bool {
        matches!(self, State::Connected | State::ConnectedReadOnly)
    }
}

/// Prints the state as ZooKeeper's shell does.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Connecting => "CONNECTING",
            State::Connected => "CONNECTED",
            State::ConnectedReadOnly => "CONNECTEDREADONLY",
            State::Closed => "CLOSED",
            State::AuthFailed => "AUTH_FAILED",
        })
    }
}

/// Changes of the connection or the session. Source: `Watcher.Event.KeeperState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A server serves the session.
    SyncConnected,
    /// A server without a quorum serves our reads.
    ConnectedReadOnly,
    /// We have authenticated with SASL.
    SaslAuthenticated,
    /// The connection is lost; the session may still exist.
    Disconnected,
    /// The session has expired.
    Expired,
    /// An identity was refused.
    AuthFailed,
    /// We closed the session.
    Closed,
}

/// An event of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The connection or the session has changed.
    Session(Change),
    /// A watch fired.
    Watch(WatchEvent),
    /// One-shot data, child, or persistent watches at a path were removed.
    Removed(WatcherType, String),
}

/// An identity that is sent on every connection.
#[derive(Clone, Debug)]
struct Identity {
    scheme: String,
    auth: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
struct Status {
    state: State,
    client: Option<Client>,
    /// Number of times that every server was tried in vain.
    failed_rounds: u64,
    /// Each server that has failed to serve us since we were last served, with the reason.
    troubles: Vec<(String, String)>,
}

#[derive(Debug, Default)]
struct Kept {
    identities: Vec<Identity>,
    watches: Watches,
}

#[derive(Debug)]
enum Control {
    Fence(oneshot::Sender<()>),
    Tell(Vec<Event>),
    AuthFailed,
    Close(oneshot::Sender<()>),
}

/// A session. Dropping it drops the connection, and the session lasts until its timeout; [`Handle::close`] ends it.
#[derive(Clone, Debug)]
pub struct Handle {
    status: watch::Receiver<Status>,
    controls: mpsc::Sender<Control>,
    kept: Arc<Mutex<Kept>>,
}

impl Handle {
    /// Begins to connect. Uses the chroot of `servers`. Needs a tokio runtime.
    pub fn open(servers: ConnectString, mut options: Options) -> (Handle, mpsc::Receiver<Event>) {
        options.chroot = servers.chroot;
        let status = Status { state: State::Connecting, client: None, failed_rounds: 0, troubles: Vec::new() };
        let (status, seen) = watch::channel(status);
        let (controls, received) = mpsc::channel(CONTROLS_MAX);
        let (events, told) = mpsc::channel(EVENTS_MAX);
        let kept = Arc::new(Mutex::new(Kept::default()));
        let servers = shuffled(servers.servers);
        let keeper =
            Keeper { servers, next: 0, options, session: None, status, controls: received, events, kept: kept.clone() };
        tokio::spawn(keeper.run());
        (Handle { status: seen, controls, kept }, told)
    }

    /// Returns the current state of the session.
    pub fn state(&self) -> State {
        self.status.borrow().state
    }

    /// Returns the reasons why there is no connection: each server that was tried, and its failure. Returns
    /// `None` while a server serves us.
    pub fn trouble(&self) -> Option<String> {
        let status = self.status.borrow();
        let mut told: Vec<_> = status.troubles.iter().map(|(server, reason)| format!("{server}: {reason}")).collect();
        told.sort_unstable();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// Returns the current connection; waits for one while servers remain to be tried.
    ///
    /// *Errors*: `ConnectionLost` if every server was tried in vain, `SessionExpired` and `AuthFailed` if the
    /// session has ended.
    pub async fn client(&self) -> Result<Client, Error> {
        let mut status = self.status.clone();
        let rounds = status.borrow().failed_rounds;
        let settled = |status: &Status| status.state != State::Connecting || status.failed_rounds > rounds;
        // The sender lives as long as the task, which sets the final state before it ends.
        let status = status.wait_for(settled).await.map_err(|_| Error::SessionExpired)?;
        match (&status.client, status.state) {
            (Some(client), _) => Ok(client.clone()),
            (None, State::AuthFailed) => Err(Error::Server(ErrorCode::AuthFailed)),
            (None, State::Closed) => Err(Error::SessionExpired),
            (None, State::Connecting | State::Connected | State::ConnectedReadOnly) => {
                Err(Error::ConnectionLost(std::io::ErrorKind::NotConnected))
            }
        }
    }

    /// Waits without a time limit until a server serves us; returns false if the session ends instead.
    pub async fn connected(&self) -> bool {
        let mut status = self.status.clone();
        let settled = |status: &Status| status.state != State::Connecting;
        status.wait_for(settled).await.is_ok_and(|status| status.state.is_connected())
    }

    /// Waits until every event that the server sent before the answers received so far is in the stream.
    pub async fn fence(&self) {
        let (passed, told) = oneshot::channel();
        if self.controls.send(Control::Fence(passed)).await.is_ok() {
            let _ = told.await;
        }
    }

    /// Closes the session.
    pub async fn close(&self) {
        let (passed, told) = oneshot::channel();
        if self.controls.send(Control::Close(passed)).await.is_ok() {
            let _ = told.await;
        }
    }

    /// Sends an identity, on this and on later connections. A refused identity ends the session.
    pub async fn add_auth(&self, scheme: &str, auth: Option<&[u8]>) -> Result<(), Error> {
        let client = self.client().await?;
        let shown = client.add_auth(scheme, auth).await;
        if let Err(Error::Server(ErrorCode::AuthFailed)) = shown {
            let _ = self.controls.send(Control::AuthFailed).await;
            self.fence().await;
        } else {
            self.kept.lock().identities.push(Identity { scheme: scheme.to_owned(), auth: auth.map(<[u8]>::to_vec) });
        }
        shown
    }

    /// Sends a read that sets a watch. The watch is recorded before the request is sent, because its event
    /// may directly follow the answer.
    async fn watching<T>(
        &self,
        kind: Option<Kind>,
        path: &str,
        read: impl AsyncFnOnce(Client) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let client = self.client().await?;
        let added = kind.filter(|kind| self.kept.lock().watches.add(*kind, path));
        let answer = read(client).await;
        if let (Err(_), Some(kind)) = (&answer, added) {
            self.kept.lock().watches.forget(kind, path);
        }
        answer
    }

    /// Sends exists (3), optionally with a watch.
    pub async fn exists(&self, path: &str, watch: bool) -> Result<Option<Stat>, Error> {
        let kind = watch.then_some(Kind::Data);
        let stat = self.watching(kind, path, async |client| client.exists(path, watch).await).await?;
        if watch && stat.is_none() {
            let mut kept = self.kept.lock();
            if kept.watches.forget(Kind::Data, path) {
                kept.watches.add(Kind::Exist, path);
            }
        }
        Ok(stat)
    }

    /// Sends getData (4), optionally with a watch.
    pub async fn get_data(&self, path: &str, watch: bool) -> Result<(Option<Vec<u8>>, Stat), Error> {
        let kind = watch.then_some(Kind::Data);
        self.watching(kind, path, async |client| client.get_data(path, watch).await).await
    }

    /// Sends getData (4) for the ensemble's configuration, optionally with a watch.
    pub async fn get_config(&self, watch: bool) -> Result<(Option<Vec<u8>>, Stat), Error> {
        let kind = watch.then_some(Kind::Data);
        self.watching(kind, crate::calls::CONFIG_PATH, async |client| client.get_config(watch).await).await
    }

    /// Sends getChildren2 (12), optionally with a watch.
    pub async fn get_children2(&self, path: &str, watch: bool) -> Result<(Vec<String>, Stat), Error> {
        let kind = watch.then_some(Kind::Child);
        self.watching(kind, path, async |client| client.get_children2(path, watch).await).await
    }

    /// Sends addWatch (106).
    pub async fn add_watch(&self, path: &str, mode: AddWatchMode) -> Result<(), Error> {
        let kind = match mode {
            AddWatchMode::Persistent => Kind::Persistent,
            AddWatchMode::PersistentRecursive => Kind::Recursive,
        };
        self.watching(Some(kind), path, async |client| client.add_watch(path, mode).await).await
    }

    /// Sends removeWatches (18): removes all watches of `kind` at `path`. With `local`, removes them even if
    /// the server cannot be asked.
    ///
    /// *Errors*: `NoWatcher` if there is none, here or at the server.
    pub async fn remove_watches(&self, path: &str, kind: WatcherType, local: bool) -> Result<(), Error> {
        let asked = match self.client().await {
            Ok(client) => client.remove_watches(path, kind).await,
            Err(error) => Err(error),
        };
        if asked.is_err() && !local {
            return asked;
        }
        let known = self.kept.lock().watches.has(kind, path);
        if !known {
            return asked.and(Err(Error::Server(ErrorCode::NoWatcher)));
        }
        let removed = self.kept.lock().watches.remove(kind, path);
        let told = removed.into_iter().map(|removed| Event::Removed(removed.kind(), path.to_owned())).collect();
        let _ = self.controls.send(Control::Tell(told)).await;
        asked
    }
}

impl Removed {
    fn kind(self) -> WatcherType {
        match self {
            Removed::Child => WatcherType::Children,
            Removed::Data => WatcherType::Data,
            Removed::Persistent => WatcherType::Persistent,
        }
    }
}

/// Shuffles the servers. ZooKeeper: each client has its own order, so that not all go to the first server.
fn shuffled(mut servers: Vec<(String, u16)>) -> Vec<(String, u16)> {
    let seed = RandomState::new();
    servers.sort_by_cached_key(|server| seed.hash_one(server));
    servers
}

/// The task that owns the connection.
struct Keeper {
    servers: Vec<(String, u16)>,
    next: usize,
    options: Options,
    /// Session to resume on the next connection.
    session: Option<Session>,
    status: watch::Sender<Status>,
    controls: mpsc::Receiver<Control>,
    events: mpsc::Sender<Event>,
    kept: Arc<Mutex<Kept>>,
}

/// Reasons why the task ends.
#[derive(Debug)]
enum End {
    Expired,
    AuthFailed,
    /// A caller closed the session; the sender is dropped when the task has finished.
    Closed(#[expect(dead_code, reason = "dropping it tells")] oneshot::Sender<()>),
    /// All handles have been dropped.
    Dropped,
}

impl Keeper {
    async fn run(mut self) {
        let end = loop {
            match self.connect().await {
                Err(end) => break end,
                Ok((client, events)) => {
                    let ended = self.serve(&client, events).await;
                    self.options.last_zxid_seen = client.last_zxid();
                    if let Some(end) = ended {
                        break end;
                    }
                    self.enter(State::Connecting, None);
                    self.tell(Event::Session(Change::Disconnected));
                }
            }
        };
        let (state, change) = match &end {
            End::Expired => (State::Closed, Change::Expired),
            End::AuthFailed => (State::AuthFailed, Change::AuthFailed),
            End::Closed(_) | End::Dropped => (State::Closed, Change::Closed),
        };
        self.enter(state, None);
        self.tell(Event::Session(change));
    }

    fn enter(&self, state: State, client: Option<Client>) {
        self.status.send_modify(|status| {
            if client.is_some() {
                status.troubles.clear();
            }
            (status.state, status.client) = (state, client);
        });
    }

    /// Sends an event. Events beyond [`EVENTS_MAX`] unread ones, and those without a receiver, are lost.
    fn tell(&self, event: Event) {
        let _ = self.events.try_send(event);
    }

    /// Records why a server does not serve us.
    fn note(&self, (host, port): &(String, u16), error: &Error) {
        let (mut server, reason) = (format!("{host}:{port}"), refusal(error));
        if matches!(error, Error::Tls(_)) {
            server = format!("TLS with {server}");
        }
        self.status.send_modify(|status| {
            status.troubles.retain(|(known, _)| *known != server);
            status.troubles.push((server, reason));
        });
    }

    /// Tries the servers in turn until one serves us.
    async fn connect(&mut self) -> Result<(Client, Events), End> {
        let mut tried = 0;
        loop {
            let server = self.servers[self.next % self.servers.len()].clone();
            let attempt = attempt(server.clone(), self.options.clone(), self.session.clone(), self.servers.len());
            let connected = while_listening(&mut self.controls, &self.events, attempt).await?;
            match connected {
                Ok((client, events)) => match self.greet(&client).await {
                    Ok(()) => return Ok((client, events)),
                    Err(Error::Server(ErrorCode::AuthFailed)) => return Err(End::AuthFailed),
                    Err(error) => self.note(&server, &error),
                },
                Err(Error::SessionExpired) => return Err(End::Expired),
                Err(error) => self.note(&server, &error),
            }
            (self.next, tried) = (self.next + 1, tried + 1);
            if tried % self.servers.len() == 0 {
                self.status.send_modify(|status| status.failed_rounds += 1);
                while_listening(&mut self.controls, &self.events, sleep(ROUND_REST)).await?;
            }
        }
    }

    /// Sends our identities, sets our watches again, and announces the connection.
    async fn greet(&mut self, client: &Client) -> Result<(), Error> {
        let (identities, watches) = {
            let kept = self.kept.lock();
            (kept.identities.clone(), kept.watches.clone())
        };
        let (state, change) = if client.session().read_only {
            (State::ConnectedReadOnly, Change::ConnectedReadOnly)
        } else {
            (State::Connected, Change::SyncConnected)
        };
        // ZooKeeper: a read-only server invents session ids; other servers do not know these sessions.
        self.session = (!client.session().read_only).then(|| client.session().clone());
        self.tell(Event::Session(change));
        if let Some(credentials) = &self.options.credentials
            && client.authenticate(credentials).await?
        {
            self.tell(Event::Session(Change::SaslAuthenticated));
        }
        for Identity { scheme, auth } in identities {
            client.add_auth(&scheme, auth.as_deref()).await?;
        }
        client.leave_again(self.options.last_zxid_seen.0, &watches).await?;
        self.enter(state, Some(client.clone()));
        Ok(())
    }

    /// Passes events on until the connection is lost (`None`) or the task has to end.
    async fn serve(&mut self, client: &Client, mut events: Events) -> Option<End> {
        let options = &self.options;
        let mut found = pin!(writable(&self.servers, self.next + 1, options.tls.as_ref()));
        loop {
            tokio::select! {
                biased;
                event = events.recv() => {
                    let Some(event) = event else { return client.auth_refused().then_some(End::AuthFailed) };
                    let awaited = self.kept.lock().watches.fire(event.event, &event.path);
                    if awaited {
                        self.tell(Event::Watch(event));
                    }
                }
                control = self.controls.recv() => match control {
                    Some(Control::Fence(passed)) => _ = passed.send(()),
                    Some(Control::Tell(told)) => told.into_iter().for_each(|event| self.tell(event)),
                    Some(Control::AuthFailed) => return Some(End::AuthFailed),
                    Some(Control::Close(passed)) => {
                        let _ = client.close().await;
                        return Some(End::Closed(passed));
                    }
                    None => return Some(End::Dropped),
                },
                at = &mut found, if client.session().read_only => {
                    self.next = at;
                    return None;
                }
            }
        }
    }
}

async fn attempt(
    (host, port): (String, u16),
    options: Options,
    session: Option<Session>,
    servers: usize,
) -> Result<(Client, Events), Error> {
    let servers = u32::try_from(servers).unwrap_or(u32::MAX);
    let limit = (options.timeout / servers).max(ATTEMPT_MIN);
    let mut options = options;
    if let Some(tls) = &mut options.tls {
        tls.name.get_or_insert_with(|| host.clone());
    }
    let connecting = async {
        let found = lookup_host((host.as_str(), port)).await.map_err(Error::UnknownHost)?;
        let found: Vec<_> = found.collect();
        match &session {
            Some(session) => Client::resume(&found[..], &options, session).await,
            None => Client::connect(&found[..], &options).await,
        }
    };
    timeout(limit, connecting).await.unwrap_or(Err(Error::HandshakeTimeout))
}

/// Returns the reason why a server does not serve us, and a possible cause.
fn refusal(error: &Error) -> String {
    match error {
        Error::UnknownHost(reason) => {
            let reason = reason.to_string();
            format!("unknown host ({})", reason.trim_start_matches("failed to lookup address information: "))
        }
        Error::Io(reason) if reason.kind() == ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        Error::Io(reason) => format!("cannot connect: {reason}"),
        Error::Tls(reason) => reason.clone(),
        Error::ConnectionLost(_) => {
            "it closed the connection without an answer: it has no quorum or is starting, or the port is for TLS"
                .to_owned()
        }
        Error::FrameLength(_) | Error::Decode(_) => {
            "it does not answer in the ZooKeeper protocol: the port is for TLS, or for something else".to_owned()
        }
        Error::Server(_)
        | Error::UnknownCode(_)
        | Error::SessionExpired
        | Error::HandshakeTimeout
        | Error::Silent
        | Error::OutOfOrder { .. }
        | Error::EventsOverflow => error.to_string(),
    }
}

/// Does `work`. Meanwhile answers the requests that need no connection.
async fn while_listening<T>(
    controls: &mut mpsc::Receiver<Control>,
    events: &mpsc::Sender<Event>,
    work: impl Future<Output = T>,
) -> Result<T, End> {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            control = controls.recv() => match control {
                Some(Control::Fence(passed)) => _ = passed.send(()),
                Some(Control::Tell(told)) => told.into_iter().for_each(|event| _ = events.try_send(event)),
                Some(Control::AuthFailed) => return Err(End::AuthFailed),
                Some(Control::Close(passed)) => return Err(End::Closed(passed)),
                None => return Err(End::Dropped),
            },
        }
    }
}

/// Names of events in Java's client. Removals have no number in the protocol: the client itself reports them.
impl Event {
    /// Returns the name of the type; `None` is its name for a change of the session.
    pub fn type_name(&self) -> &'static str {
        match self {
            Event::Session(_) => "None",
            Event::Watch(event) => match event.event {
                EventType::NodeCreated => "NodeCreated",
                EventType::NodeDeleted => "NodeDeleted",
                EventType::NodeDataChanged => "NodeDataChanged",
                EventType::NodeChildrenChanged => "NodeChildrenChanged",
            },
            Event::Removed(WatcherType::Children, _) => "ChildWatchRemoved",
            Event::Removed(WatcherType::Data | WatcherType::Any, _) => "DataWatchRemoved",
            Event::Removed(WatcherType::Persistent | WatcherType::PersistentRecursive, _) => "PersistentWatchRemoved",
        }
    }

    /// Returns the name of the session's state at the event.
    pub fn state_name(&self) -> &'static str {
        match self {
            Event::Session(Change::SyncConnected) | Event::Watch(_) | Event::Removed(..) => "SyncConnected",
            Event::Session(Change::ConnectedReadOnly) => "ConnectedReadOnly",
            Event::Session(Change::SaslAuthenticated) => "SaslAuthenticated",
            Event::Session(Change::Disconnected) => "Disconnected",
            Event::Session(Change::Expired) => "Expired",
            Event::Session(Change::AuthFailed) => "AuthFailed",
            Event::Session(Change::Closed) => "Closed",
        }
    }

    /// Returns the path of the znode, if the event is about one.
    pub fn path(&self) -> Option<&str> {
        match self {
            Event::Session(_) => None,
            Event::Watch(event) => Some(&event.path),
            Event::Removed(_, path) => Some(path),
        }
    }

    /// Returns the transaction that fired the watch; -1 for other events.
    pub fn zxid(&self) -> Zxid {
        match self {
            Event::Watch(event) => event.zxid,
            Event::Session(_) | Event::Removed(..) => Zxid(-1),
        }
    }
}
