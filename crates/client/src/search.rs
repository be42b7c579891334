//! A server with a quorum, looked for while one without serves us.
//!
//! The servers are asked in turn (`isro`), less and less often. Source: `ClientCnxn.SendThread#pingRwServer`.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::{Tls, connection};

/// ZooKeeper: before the first question, and at most between two.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// ZooKeeper: for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// Returns with the index of a server that takes writes, however long that takes.
// ZooKeeper: asks without TLS, and so never finds a server that has a port for TLS only.
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
