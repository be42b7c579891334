//! Fetches the state of a peer.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use oxkeeper_durable::transfer::{Receiver, TransferError};
use tracing::info;

use crate::peers::PeerStream;
use crate::thread::STOP_POLL;

/// Maximum bytes per read.
const READ_LEN: usize = 256 << 10;
/// Silence after which a peer is considered to have lost power.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Bytes received between progress log lines.
const PROGRESS_LEN: u64 = 64 << 20;

/// Reads the whole state from `stream`. Stops early once `is_to_stop` returns true.
pub(crate) fn fetch(
    stream: &mut PeerStream,
    receiver: &mut Receiver,
    is_to_stop: &dyn Fn() -> bool,
) -> Result<(), TransferError> {
    stream.socket().set_read_timeout(Some(STOP_POLL)).map_err(|_| TransferError::Incomplete)?;
    let mut buffer = vec![0; READ_LEN];
    let (mut logged, mut heard) = (0, Instant::now());
    loop {
        if is_to_stop() {
            return Err(TransferError::Stopped);
        }
        let count = match stream.read(&mut buffer) {
            Ok(0) => return Err(TransferError::Incomplete),
            Ok(count) => count,
            Err(error) if is_silence(&error) && heard.elapsed() < SILENCE_MAX => continue,
            Err(_) => return Err(TransferError::Incomplete),
        };
        heard = Instant::now();
        let progress = receiver.take(&buffer[..count])?;
        if progress.received >= logged + PROGRESS_LEN {
            logged = progress.received;
            info!(received = logged, records = progress.records, of = progress.records_total, "receiving the state");
        }
        if progress.complete {
            return Ok(());
        }
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
