//! The commands `snapshot` and `restore`, with their preconditions.
//!
//! Source: `Commands.SnapshotCommand`, `Commands.RestoreCommand`.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Frame, Incoming};
use hyper::header::HeaderValue;
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tracing::{info, warn};

use super::commands::{failed, told};
use super::json::Json;
use super::site::{Body, Running, Site, parameter};
use crate::storage::backup::{Backup, BackupError};
use crate::thread::give_way;

/// Bytes of a backup passed on per chunk.
const CHUNK_LEN: usize = 256 << 10;
/// Maximum number of waiting chunks. Then a backup waits for its client; in a restore, the client
/// waits for the reader.
const CHUNKS_MAX: usize = 4;
/// Interval between checks for room.
const FULL_PAUSE: Duration = Duration::from_millis(5);

/// Returns a snapshot, as a stream or, with `streaming=false`, as a file on the server.
pub(super) async fn snapshot(
    site: &Site,
    running: &Running,
    name: &str,
    request: &Request<Incoming>,
) -> Response<Body> {
    if !site.config.snapshot_enabled {
        return refused(name, StatusCode::SERVICE_UNAVAILABLE, "admin.snapshot.enabled is false");
    }
    if let Err(wait_us) = site.snapshots.allow(running.words.clock.now_ms() * 1000) {
        running.words.admin.lock().snapshots_limited += 1;
        return too_soon(name, "snapshot", wait_us);
    }
    let Some(checkpoints) = running.words.checkpoints.clone() else {
        return refused(name, StatusCode::SERVICE_UNAVAILABLE, "this server keeps nothing on disk");
    };
    let prepared = tokio::task::spawn_blocking(move || {
        let image = checkpoints.image().ok_or(BackupError::Ending)?;
        Backup::prepare(image)
    });
    let backup = match prepared.await {
        Ok(Ok(backup)) => backup,
        Ok(Err(problem)) => return refused(name, StatusCode::INTERNAL_SERVER_ERROR, &problem.to_string()),
        Err(_) => return refused(name, StatusCode::INTERNAL_SERVER_ERROR, "the server is stopping"),
    };
    info!(zxid = %backup.zxid, len = backup.len, "taking a backup");
    let (zxid, len) = (backup.zxid, backup.len);
    // ZooKeeper: without streaming, the snapshot stays on the server; here, the checkpoint has it.
    let is_streamed = parameter(request, "streaming").is_none_or(|text| text.eq_ignore_ascii_case("true"));
    let body = if is_streamed && request.method() != Method::HEAD {
        stream(backup)
    } else {
        Empty::new().map_err(|nothing| match nothing {}).boxed_unsync()
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let mut put = |name: &'static str, value: String| {
        headers.insert(name, HeaderValue::from_str(&value).expect("numbers are plain"));
    };
    put("content-type", "application/octet-stream".to_owned());
    put("last_zxid", zxid.to_string());
    put("snapshot_size", len.to_string());
    if is_streamed {
        put("content-length", len.to_string());
    }
    response
}

/// Writes the backup on a separate thread, as fast as the client takes it.
fn stream(backup: Backup) -> Body {
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    tokio::task::spawn_blocking(move || {
        // The threads that serve have priority.
        give_way();
        let is_to_end = backup.ending();
        let mut out = Chunks { sender, chunk: Vec::with_capacity(CHUNK_LEN), is_to_end };
        let written = backup.write(&mut out);
        if let Err(problem) = written {
            warn!(%problem, "the backup was cut off; the client is gone or too slow");
            let _ = out.hand_over(Err(io::Error::other("the backup was cut off; the client is gone or too slow")));
        }
    });
    Streamed(receiver).boxed_unsync()
}

/// Collects output into chunks.
struct Chunks<E> {
    sender: mpsc::Sender<io::Result<Bytes>>,
    chunk: Vec<u8>,
    /// Returns true when a slow client must not be waited for, because others wait for the end of
    /// this backup.
    is_to_end: E,
}

impl<E: Fn() -> bool> Chunks<E> {
    fn hand_over(&self, mut chunk: io::Result<Bytes>) -> io::Result<()> {
        loop {
            chunk = match self.sender.try_send(chunk) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(_)) => return Err(io::ErrorKind::BrokenPipe.into()),
                Err(TrySendError::Full(_)) if (self.is_to_end)() => return Err(io::ErrorKind::ConnectionAborted.into()),
                Err(TrySendError::Full(chunk)) => chunk,
            };
            thread::sleep(FULL_PAUSE);
        }
    }
}

impl<E: Fn() -> bool> Write for Chunks<E> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= CHUNK_LEN {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_LEN));
        self.hand_over(Ok(chunk.into()))
    }
}

/// The receiving end of [`Chunks`].
struct Streamed(mpsc::Receiver<io::Result<Bytes>>);

impl hyper::body::Body for Streamed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }
}

/// Replaces all data with a snapshot.
pub(super) async fn restore(site: &Site, running: &Running, name: &str, request: Request<Incoming>) -> Response<Body> {
    if !site.config.restore_enabled {
        return refused(name, StatusCode::SERVICE_UNAVAILABLE, "admin.restore.enabled is false");
    }
    let Some(restorer) = running.restorer.clone() else {
        // ZooKeeper: restores only this member, which then differs from the others.
        let reason = match running.words.config.is_distributed() {
            true => {
                "a member is not restored alone: stop the ensemble and use `oxkeeper restore` on each of its servers"
            }
            false => "this server keeps nothing on disk",
        };
        return refused(name, StatusCode::SERVICE_UNAVAILABLE, reason);
    };
    if let Err(wait_us) = site.restores.allow(running.words.clock.now_ms() * 1000) {
        running.words.admin.lock().restores_limited += 1;
        return too_soon(name, "restore", wait_us);
    }
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    let words = running.words.clone();
    let restoring = tokio::task::spawn_blocking(move || {
        let begin_ms = words.clock.now_ms();
        let restored = restorer.restore(Arriving { receiver, chunk: Bytes::new(), ended: false });
        let mut counts = words.admin.lock();
        match &restored {
            Ok(restored) => {
                counts.digest_mismatches += u64::from(restored.differs);
                counts.restores_ms.record(words.clock.now_ms() - begin_ms);
            }
            Err(_) => counts.restores_failed += 1,
        }
        restored
    });
    pass_on(request.into_body(), sender, site.patience()).await;
    match restoring.await {
        Ok(Ok(restored)) => told(name, vec![("last_zxid".to_owned(), Json::Int(restored.zxid.0))]),
        Ok(Err(problem)) => {
            // ZooKeeper: the next attempt still has to wait for five minutes.
            site.restores.forget();
            refused(name, StatusCode::INTERNAL_SERVER_ERROR, &problem.to_string())
        }
        Err(_) => refused(name, StatusCode::INTERNAL_SERVER_ERROR, "the server is stopping"),
    }
}

/// Passes on the bytes of a request, and an empty chunk if they end as announced. Also takes bytes
/// that nobody wants any more: a client that is still sending would not read the reason.
async fn pass_on(mut body: Incoming, sender: mpsc::Sender<io::Result<Bytes>>, patience: Duration) {
    loop {
        let chunk = match tokio::time::timeout(patience, body.frame()).await {
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) if !data.is_empty() => Ok(data),
                Ok(_) | Err(_) => continue,
            },
            Ok(Some(Err(problem))) => Err(io::Error::other(problem)),
            Ok(None) => Ok(Bytes::new()),
            Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
        };
        let is_last = chunk.as_ref().map_or(true, Bytes::is_empty);
        let _ = sender.send(chunk).await;
        if is_last {
            return;
        }
    }
}

/// Reads the chunks from [`pass_on`]. *Errors*: they end without an empty chunk.
struct Arriving {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    chunk: Bytes,
    ended: bool,
}

impl Read for Arriving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() && !self.ended {
            let gone = || Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the client is gone"));
            self.chunk = self.receiver.blocking_recv().unwrap_or_else(gone)?;
            self.ended = self.chunk.is_empty();
        }
        let count = self.chunk.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.chunk.split_to(count));
        Ok(count)
    }
}

// ZooKeeper: gives the reason only in its log.
/// Refuses a request that comes too soon after the last one.
fn too_soon(name: &str, what: &str, wait_us: u64) -> Response<Body> {
    let seconds = wait_us.div_ceil(1_000_000);
    refused(name, StatusCode::TOO_MANY_REQUESTS, &format!("rate limit: the next {what} is possible in {seconds} s"))
}

fn refused(name: &str, status: StatusCode, reason: &str) -> Response<Body> {
    warn!(command = name, "refused: {reason}");
    failed(name, status, reason)
}
