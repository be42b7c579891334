//! Searches for a server with a quorum while a server without one serves us.
//!
//! Asks the servers in turn (`isro`), with growing pauses. Source: `ClientCnxn.SendThread#pingRwServer`.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::{Tls, connection};

/// ZooKeeper: pause before the first question, and maximal pause between two.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// ZooKeeper: time limit for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// Waits without a time limit for a server that takes writes. Returns its index.
// ZooKeeper: its client asks without TLS, and so never finds a server that has only a TLS port.
pub(crate) async fn writable(servers: &[(String, u16)], first: usize, tls: Option<&Tls>) -> usize {
    let mut pause = PAUSE_MIN;
    let mut at = first;
    loop {
        at %= servers.len();
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
        let asked = timeout(ANSWER_LIMIT, connection::ask_word(&servers[at], tls, "isro")).await;
        if matches!(asked, Ok(Ok(answer)) if answer.starts_with(b"rw")) {
            return at;
        }
        at += 1;
    }
}
