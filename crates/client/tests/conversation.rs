//! The client against scripted servers: the requests that it sends, the matching of replies, and the handling
//! of bad ones.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use oxkeeper_client::handle::{Change, Event};
use oxkeeper_client::{Client, ConnectString, Error, Events, Handle, Options};
use oxkeeper_proto::frame::{FRAME_LEN_MAX, put_frame, split_frame};
use oxkeeper_proto::op::{EventType, STATE_SYNC_CONNECTED, XID_NOTIFICATION, XID_PING};
use oxkeeper_proto::records::{ConnectRequest, ConnectResponse, PathRecord, ReplyHeader, RequestHeader, WatcherEvent};
use oxkeeper_proto::{ErrorCode, Jute, OpCode, Reader, Zxid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PASSWORD: [u8; 16] = *b"sixteen bytes...";

/// The server's end of one connection.
struct Peer {
    socket: TcpStream,
    input: Vec<u8>,
}

impl Peer {
    async fn frame(&mut self) -> Vec<u8> {
        loop {
            if let Some((frame, rest)) = split_frame(&self.input, FRAME_LEN_MAX).unwrap() {
                let (frame, rest) = (frame.to_vec(), rest.to_vec());
                self.input = rest;
                return frame;
            }
            assert_ne!(self.socket.read_buf(&mut self.input).await.unwrap(), 0, "the client closed");
        }
    }

    async fn request(&mut self) -> (RequestHeader, Vec<u8>) {
        let frame = self.frame().await;
        let mut reader = Reader::new(&frame);
        let header = RequestHeader::decode(&mut reader).unwrap();
        (header, reader.rest().to_vec())
    }

    async fn send<'a>(&mut self, xid: i32, err: i32, body: Option<impl Jute<'a>>) {
        let mut out = Vec::new();
        put_frame(&mut out, |out| {
            ReplyHeader { xid, zxid: 9, err }.encode(out);
            if let Some(body) = body {
                body.encode(out);
            }
        });
        self.socket.write_all(&out).await.unwrap();
    }

    async fn answer(&mut self, xid: i32, err: i32) {
        self.send(xid, err, None::<i32>).await;
    }

    /// Answers the handshake with `session_id`, 0 to refuse it. Returns the request.
    async fn shake_hands(&mut self, session_id: i64, timeout_ms: i32) -> (i64, Vec<u8>) {
        self.shake_hands_as(session_id, timeout_ms, false).await
    }

    /// Does the same as a server that is read-only or not, for a client that accepts either.
    async fn shake_hands_as(&mut self, session_id: i64, timeout_ms: i32, is_read_only: bool) -> (i64, Vec<u8>) {
        let frame = self.frame().await;
        let (request, _) = ConnectRequest::decode_with_read_only(&frame).unwrap();
        let mut out = Vec::new();
        let response = ConnectResponse { protocol_version: 0, timeout_ms, session_id, passwd: Some(&PASSWORD) };
        put_frame(&mut out, |out| {
            response.encode(out);
            is_read_only.encode(out);
        });
        self.socket.write_all(&out).await.unwrap();
        (request.session_id, request.passwd.unwrap_or_default().to_vec())
    }
}

async fn pair(timeout_ms: i32) -> (Client, Events, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = Options::default();
    let accept = async {
        let mut peer = Peer { socket: listener.accept().await.unwrap().0, input: Vec::new() };
        assert_eq!(peer.shake_hands(7, timeout_ms).await, (0, vec![0; 16]));
        peer
    };
    let (client, peer) = tokio::join!(Client::connect(address, &options), accept);
    let (client, events) = client.unwrap();
    (client, events, peer)
}

fn path_body(body: &[u8]) -> String {
    PathRecord::from_bytes(body).unwrap().path.unwrap().into_owned()
}

#[tokio::test]
async fn pipelined_calls_are_answered_in_order() {
    let (client, _events, mut peer) = pair(30_000).await;
    let serve = async {
        let requests = [peer.request().await, peer.request().await, peer.request().await];
        for (header, body) in requests {
            let err = if path_body(&body) == "/b" { ErrorCode::NoNode.wire() } else { 0 };
            peer.answer(header.xid, err).await;
        }
    };
    let (a, b, c, ()) = tokio::join!(client.sync("/a"), client.delete("/b", -1), client.sync("/c"), serve);
    assert!(a.is_ok() && c.is_ok());
    assert!(matches!(b, Err(Error::Server(ErrorCode::NoNode))));
}

#[tokio::test]
async fn events_arrive_beside_replies() {
    let (client, mut events, mut peer) = pair(30_000).await;
    let serve = async {
        let (header, _) = peer.request().await;
        let path = Some("/w".into());
        let event = WatcherEvent { event_type: EventType::NodeDeleted.wire(), state: STATE_SYNC_CONNECTED, path };
        peer.send(XID_NOTIFICATION, 0, Some(event)).await;
        peer.answer(header.xid, ErrorCode::NoNode.wire()).await;
    };
    let (found, ()) = tokio::join!(client.exists("/w", true), serve);
    assert_eq!(found.unwrap(), None);
    let event = events.try_recv().expect("the event came before the reply");
    assert_eq!((event.event, event.path.as_str(), event.zxid), (EventType::NodeDeleted, "/w", Zxid(9)));
}

#[tokio::test]
async fn a_reply_out_of_order_ends_the_connection() {
    let (client, _events, mut peer) = pair(30_000).await;
    let serve = async {
        let (header, _) = peer.request().await;
        peer.answer(header.xid + 1, 0).await;
    };
    let (reply, ()) = tokio::join!(client.sync("/"), serve);
    assert!(matches!(reply, Err(Error::OutOfOrder { found: 2, expected: Some(1) })), "{reply:?}");
    assert!(matches!(client.sync("/").await, Err(Error::ConnectionLost(_))));
}

#[tokio::test]
async fn a_closed_connection_fails_every_call_in_flight() {
    let (client, _events, peer) = pair(30_000).await;
    let serve = async {
        let mut peer = peer;
        peer.request().await;
        peer.request().await;
    };
    let (a, b, ()) = tokio::join!(client.sync("/a"), client.sync("/b"), serve);
    assert!(matches!((a, b), (Err(Error::ConnectionLost(_)), Err(Error::ConnectionLost(_)))));
}

#[tokio::test]
async fn an_idle_session_is_kept_alive() {
    let (_client, _events, mut peer) = pair(6_000).await;
    tokio::time::pause();
    for _ in 0..3 {
        let (header, body) = peer.request().await;
        assert_eq!((header, body.len()), (RequestHeader { xid: XID_PING, op: OpCode::Ping.wire() }, 0));
        peer.answer(XID_PING, 0).await;
    }
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let (client, _events, _peer) = pair(6_000).await;
    tokio::time::pause();
    assert!(matches!(client.sync("/").await, Err(Error::Silent)));
}

#[tokio::test]
async fn resuming_shows_the_password_and_learns_of_expiry() {
    let (client, _events, _peer) = pair(30_000).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = Options { timeout: Duration::from_secs(5), ..Options::default() };
    for answered in [7, 0] {
        let accept = async {
            let mut peer = Peer { socket: listener.accept().await.unwrap().0, input: Vec::new() };
            assert_eq!(peer.shake_hands(answered, 5_000).await, (7, PASSWORD.to_vec()));
        };
        let (resumed, ()) = tokio::join!(Client::resume(address, &options, client.session()), accept);
        match resumed {
            Ok((resumed, _)) => assert_eq!((answered, resumed.session().id.0), (7, 7)),
            Err(error) => assert!(answered == 0 && matches!(error, Error::SessionExpired)),
        }
    }
}

/// One address whose server is read-only at first and has a quorum when it is asked for the second time.
#[tokio::test]
async fn a_server_that_takes_writes_is_looked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let servers = ConnectString::parse(&listener.local_addr().unwrap().to_string()).unwrap();
    let (_handle, mut events) = Handle::open(servers, Options { read_only: true, ..Options::default() });
    let peer = async || Peer { socket: listener.accept().await.unwrap().0, input: Vec::new() };
    let mut first = peer().await;
    assert_eq!(first.shake_hands_as(7, 30_000, true).await.0, 0);
    assert_eq!(events.recv().await, Some(Event::Session(Change::ConnectedReadOnly)));
    for answer in ["ro", "rw"] {
        let mut asked = peer().await.socket;
        let mut word = [0; 4];
        asked.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"isro");
        asked.write_all(answer.as_bytes()).await.unwrap();
    }
    assert_eq!(events.recv().await, Some(Event::Session(Change::Disconnected)));
    let mut second = peer().await;
    // No other server knows the session that a read-only server invented.
    assert_eq!(second.shake_hands_as(8, 30_000, false).await.0, 0);
    assert_eq!(events.recv().await, Some(Event::Session(Change::SyncConnected)));
}

/// Servers that cause no connection: one that closes it, one that does not speak the protocol, and a port
/// without a listener.
#[tokio::test]
async fn a_server_that_does_not_serve_is_named_with_the_reason() {
    let (closing, foreign) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (closing_at, foreign_at) = (closing.local_addr().unwrap(), foreign.local_addr().unwrap());
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let unused_at = unused.local_addr().unwrap();
    drop(unused);
    tokio::spawn(async move {
        while let Ok((socket, _)) = closing.accept().await {
            drop(socket);
        }
    });
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = foreign.accept().await {
            // A TLS alert.
            socket.write_all(&[21, 3, 3, 0, 2, 2, 10]).await.unwrap();
        }
    });
    let servers = ConnectString::parse(&format!("{closing_at},{foreign_at},{unused_at}")).unwrap();
    let (handle, _events) = Handle::open(servers, Options::default());
    assert!(matches!(handle.client().await, Err(Error::ConnectionLost(_))));
    let trouble = handle.trouble().unwrap();
    for expected in [
        format!("{closing_at}: it closed the connection without an answer"),
        format!("{foreign_at}: it does not answer in the ZooKeeper protocol"),
        format!("{unused_at}: connection refused"),
    ] {
        assert!(trouble.contains(&expected), "{trouble}");
    }
}
