//! The admin HTTP server enforces its limits for any client. compat-tests/admin compares its
//! replies with those of Apache ZooKeeper.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use oxkeeper_server::{Server, StartError, StartOptions};
use support::http::{get, say};
use support::{PATIENCE, config, fake_dir, start_in_memory, until};

/// Maximum number of connections served at once.
const CONNECTIONS_MAX: usize = 128;

fn admin(server: &Server) -> SocketAddr {
    server.admin_address().unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn who_says_nothing_is_closed() {
    let server = start_in_memory(1, &[("admin.idleTimeout", "200")]);
    let start = Instant::now();
    for text in ["", "GET /livez HTTP/1.1\r\nHo", "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let answer = say(admin(&server), text);
        assert_eq!(answer.contains("livez check passed"), text.ends_with("\r\n\r\n"), "{text:?}: {answer:?}");
    }
    assert!(start.elapsed().as_millis() >= 600, "{:?}", start.elapsed());
    server.stop();
}

#[test]
fn odd_requests_cost_their_connection() {
    let server = start_in_memory(1, &[]);
    let long = format!("GET /livez HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let many = format!("GET /livez HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: x\r\n".repeat(70));
    for text in [long.as_str(), &many] {
        assert!(say(admin(&server), text).starts_with("HTTP/1.1 431 "), "{}", text.len());
    }
    for text in ["\0\0\0\x2d\0\0\0\0", "nonsense\r\n\r\n", "GET\r\n\r\n"] {
        let answer = say(admin(&server), text);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{text:?}: {answer:?}");
    }
    assert_eq!(get(admin(&server), "/livez").0, 200);
    server.stop();
}

#[test]
fn no_more_are_served_than_there_is_room_for() {
    let server = start_in_memory(1, &[]);
    let held: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| connect(admin(&server))).collect();
    let mut refused = connect(admin(&server));
    assert!(matches!(refused.read(&mut [0]), Ok(0) | Err(_)), "closed at once");
    drop(held);
    until("there is room again", || say(admin(&server), "GET /livez HTTP/1.0\r\n\r\n").contains(" 200 "));
    server.stop();
}

#[test]
fn a_port_that_was_asked_for_must_be_free() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let start = |more: &[(&str, &str)]| {
        Server::start(config(fake_dir(), more), StartOptions { in_memory: true, io_threads: 1 })
    };
    let problem = start(&[("admin.serverPort", &port)]).expect_err("somebody else has it");
    let expected = format!("cannot listen on 127.0.0.1:{port} for administrators (admin.serverPort): ");
    assert!(problem.to_string().starts_with(&expected), "{problem}");
    assert!(matches!(problem, StartError::Admin { key: "admin.serverPort", .. }));
    let provider = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider";
    let metrics = [("metricsProvider.className", provider), ("metricsProvider.httpHost", "127.0.0.1")];
    let problem = start(&[metrics[0], metrics[1], ("metricsProvider.httpPort", &port)]).expect_err("the same");
    assert!(problem.to_string().contains("for metrics (metricsProvider.httpPort): "), "{problem}");

    let server = start(&[metrics[0], metrics[1], ("metricsProvider.httpPort", "0")]).unwrap();
    let own = server.metrics_address().unwrap();
    assert_eq!((get(own, "/metrics").0, get(own, "/livez").0, get(own, "/commands").0), (200, 404, 404));
    assert_eq!(get(admin(&server), "/metrics").0, 200);
    server.stop();

    let server = start(&[("admin.enableServer", "false")]).unwrap();
    assert_eq!((server.admin_address(), server.metrics_address()), (None, None));
    server.stop();
}

#[test]
fn health_is_told_from_start_to_stop() {
    let server = start_in_memory(1, &[]);
    let address = admin(&server);
    for path in ["/livez", "/readyz", "/startupz"] {
        assert_eq!(get(address, path).0, 200, "{path}");
    }
    // A client with an unfinished request delays the stop for a while.
    let mut client = support::raw::Raw::connect(server.address(), support::LONG_MS).unwrap();
    client.create("/n", b"", oxkeeper_proto::op::CreateMode::Persistent).unwrap().unwrap();
    let (_, frame) = client.request(oxkeeper_proto::OpCode::GetData, &support::raw::read_request("/n", false));
    std::io::Write::write_all(&mut client.stream, &frame[..frame.len() - 1]).unwrap();
    let stopping = std::thread::spawn(move || server.stop());
    until("it is not ready any more", || get(address, "/readyz").0 == 503);
    assert_eq!((get(address, "/livez").0, get(address, "/startupz").0), (200, 200));
    drop(client);
    stopping.join().unwrap();
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}
