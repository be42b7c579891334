//! The commands `snapshot` and `restore`: what must hold before anything is read or written.
//!
//! Owns no data. Source: `Commands.SnapshotCommand`, `Commands.RestoreCommand`.

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use tracing::warn;

use super::commands::failed;
use super::site::{Body, Running, Site, parameter};

/// A snapshot of everything, as a stream or, with `streaming=false`, as a file of the server's.
pub(super) async fn snapshot(
    site: &Site,
    running: &Running,
    name: &str,
    request: &Request<Incoming>,
) -> Response<Body> {
    if !site.config.snapshot_enabled {
        return refused(name, StatusCode::SERVICE_UNAVAILABLE, "admin.snapshot.enabled is false");
    }
    if !site.snapshots.allows(running.words.clock.now_ms() * 1000) {
        running.words.admin.lock().snapshots_limited += 1;
        return refused(name, StatusCode::TOO_MANY_REQUESTS, "the last snapshot was too short a time ago");
    }
    let _streaming = parameter(request, "streaming").is_none_or(|text| text.eq_ignore_ascii_case("true"));
    refused(name, StatusCode::SERVICE_UNAVAILABLE, "this build writes no snapshots in ZooKeeper's format")
}

/// Everything is replaced by a snapshot.
pub(super) async fn restore(site: &Site, running: &Running, name: &str, _request: Request<Incoming>) -> Response<Body> {
    if !site.config.restore_enabled {
        return refused(name, StatusCode::SERVICE_UNAVAILABLE, "admin.restore.enabled is false");
    }
    if !site.restores.allows(running.words.clock.now_ms() * 1000) {
        running.words.admin.lock().restores_limited += 1;
        return refused(name, StatusCode::TOO_MANY_REQUESTS, "the last restore was too short a time ago");
    }
    refused(name, StatusCode::SERVICE_UNAVAILABLE, "this build reads no snapshots in ZooKeeper's format")
}

// ZooKeeper: says why in its log only.
fn refused(name: &str, status: StatusCode, reason: &str) -> Response<Body> {
    warn!(command = name, "refused: {reason}");
    failed(name, status, reason)
}
