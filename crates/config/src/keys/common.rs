//! Keys of one server: listeners, sessions, limits, storage.

use super::{Form, INT_MIN, Key, Kind, fit, int, long, port, unused};

/// Makes a setter for a text of the draft.
macro_rules! text {
    ($field:ident) => {
        Kind::Text(|d, v| {
            d.$field = Some(v.into());
            Ok(())
        })
    };
}
const PURGES_ITSELF: &str = "a server keeps one tree and cuts its log by itself";
const CONTAINER_MIN: i64 = 0;

/// Returns the weight. ZooKeeper: an invalid weight counts as the default.
fn weight(value: i64, default: u32) -> u32 {
    if value > 0 { fit(value) } else { default }
}

pub(super) const KEYS: &[Key] = &[
    // Listeners
    Key::common(
        "clientPort",
        Form::File,
        port(|d, v| d.client_port = Some(fit(v))),
        "The server listens for clients without TLS on this port",
    ),
    Key::common(
        "clientPortAddress",
        Form::File,
        text!(client_host),
        "The server listens for clients without TLS on this address",
    )
    .derived("every address"),
    Key::security(
        "secureClientPort",
        Form::File,
        port(|d, v| d.secure_port = Some(fit(v))),
        "The server listens for clients with TLS on this port",
    ),
    Key::security(
        "secureClientPortAddress",
        Form::File,
        text!(secure_host),
        "The server listens for clients with TLS on this address",
    )
    .derived("every address"),
    Key::limit(
        "clientPortListenBacklog",
        Form::File,
        int(INT_MIN, |d, v| d.config.listen_backlog = fit(v)),
        "The system queues this many connections until the server accepts them; -1 leaves the number to the system",
    )
    .default("-1"),
    Key::limit(
        "clientTcpKeepAlive",
        Form::Property,
        Kind::Flag(|d, v| d.config.client_tcp_keep_alive = v),
        "The server sets SO_KEEPALIVE on the sockets of clients",
    )
    .default("false"),
    // Sessions
    Key::common(
        "tickTime",
        Form::File,
        int(INT_MIN, |d, v| d.config.tick_time_ms = fit(v)),
        "A tick is the unit of session timeouts and of session expiry",
    )
    .unit("ms")
    .default("3000"),
    Key::common(
        "minSessionTimeout",
        Form::File,
        int(INT_MIN, |d, v| d.session_timeout_min_ms = fit(v)),
        "The server raises a shorter session timeout to this one; -1 stands for 2 × tickTime",
    )
    .unit("ms")
    .default("-1"),
    Key::common(
        "maxSessionTimeout",
        Form::File,
        int(INT_MIN, |d, v| d.session_timeout_max_ms = fit(v)),
        "The server lowers a longer session timeout to this one; -1 stands for 20 × tickTime",
    )
    .unit("ms")
    .default("-1"),
    Key::ensemble(
        "localSessionsEnabled",
        Form::File,
        Kind::Flag(|d, v| d.config.local_sessions_enabled = v),
        "New sessions are local: only the server that the client is connected to knows them",
    )
    .default("false"),
    Key::ensemble(
        "localSessionsUpgradingEnabled",
        Form::File,
        Kind::Flag(|d, v| d.config.local_sessions_upgrading_enabled = v),
        "A local session becomes a global one before it creates its first ephemeral; without this the server refuses \
         the ephemeral",
    )
    .default("false"),
    Key::ensemble(
        "readonlymode.enabled",
        Form::BareProperty,
        Kind::Flag(|d, v| d.config.read_only_mode = v),
        "A member without a quorum serves reads to clients that accept that; the word `isro` is answered, too",
    )
    .default("false"),
    // Limits
    Key::common(
        "maxClientCnxns",
        Form::File,
        int(INT_MIN, |d, v| d.config.limits.max_client_connections_per_address = fit(v)),
        "One IP address may have this many connections; 0 or less sets no limit",
    )
    .default("60"),
    Key::limit(
        "maxCnxns",
        Form::Property,
        int(0, |d, v| d.config.limits.max_connections = fit(v)),
        "All clients together may have this many connections; 0 sets no limit",
    )
    .default("0"),
    Key::common(
        "jute.maxbuffer",
        Form::BareProperty,
        int(0, |d, v| d.config.limits.jute_maxbuffer = fit(v)),
        "A request of a client may have this many bytes",
    )
    .unit("bytes")
    .default("1048575"),
    Key::limit(
        "jute.maxbuffer.extrasize",
        Form::Property,
        int(1024, |d, v| d.jute_maxbuffer_extra = Some(fit(v))),
        "ZooKeeper adds this to jute.maxbuffer for data that it reads from disk or from another server",
    )
    .unit("bytes")
    .derived("jute.maxbuffer")
    .ignored("data from disk and from other servers has limits of its own"),
    Key::limit(
        "globalOutstandingLimit",
        Form::Property,
        int(0, |d, v| d.config.limits.global_outstanding_limit = Some(fit(v))),
        "While more writes than this are in process, the server does not read from connections that have a write in \
         process; in an ensemble of n > 2 servers the limit of each server is the (n−1)th part",
    )
    .derived("none; the bytes of waiting requests are limited"),
    Key::limit(
        "nio.sessionlessCnxnTimeout",
        Form::Property,
        int(0, |d, v| d.config.limits.sessionless_connection_timeout_ms = fit(v)),
        "The server closes a connection that has not finished its handshake after this time",
    )
    .unit("ms")
    .default("10000"),
    Key::limit(
        "request_throttle_max_requests",
        Form::Property,
        int(0, |d, v| d.config.limits.request_throttle_max_requests = fit(v)),
        "New writes and new sessions wait while this many requests are in process; 0 sets no limit",
    )
    .default("0"),
    Key::limit(
        "request_throttle_stall_time",
        Form::Property,
        unused::INT,
        "In ZooKeeper a throttled request waits this long before it tries again",
    )
    .unit("ms")
    .default("100")
    .ignored("a throttled request goes on as soon as there is room"),
    Key::limit(
        "request_throttle_drop_stale",
        Form::Property,
        Kind::Flag(|d, v| d.config.limits.request_throttle_drop_stale = v),
        "The server drops a throttled request whose connection is closed",
    )
    .default("true"),
    Key::limit(
        "request_stale_connection_check",
        Form::Property,
        unused::FLAG,
        "ZooKeeper takes a request for stale once its connection is closed",
    )
    .default("true")
    .ignored("this check is always on"),
    Key::limit(
        "request_stale_latency_check",
        Form::Property,
        unused::FLAG,
        "ZooKeeper takes a request for stale once it is older than the session timeout",
    )
    .default("false")
    .ignored("requests do not wait that long"),
    Key::limit(
        "throttled_op_wait_time",
        Form::Property,
        int(0, |d, v| d.config.limits.throttled_op_wait_time_ms = fit(v)),
        "The server answers ThrottledOp to a throttled request that waited longer than this; 0 sets no limit",
    )
    .unit("ms")
    .default("0"),
    Key::limit(
        "largeRequestThreshold",
        Form::Property,
        int(-1, |d, v| d.config.limits.large_request_threshold = u32::try_from(v).ok().filter(|&bytes| bytes > 0)),
        "A request with more bytes than this counts against largeRequestMaxBytes; -1 counts none",
    )
    .unit("bytes")
    .default("-1"),
    Key::limit(
        "largeRequestMaxBytes",
        Form::Property,
        int(0, |d, v| d.config.limits.large_request_bytes_max = fit(v)),
        "All large requests in process may have this many bytes together; the server closes a connection that \
         exceeds it",
    )
    .unit("bytes")
    .default("104857600"),
    Key::limit(
        "connection_throttle_tokens",
        Form::Property,
        int(0, |d, v| d.config.limits.connection_tokens = fit(v)),
        "The token bucket for new connections holds this many tokens; 0 turns the bucket off",
    )
    .default("0"),
    Key::limit(
        "connection_throttle_fill_count",
        Form::Property,
        int(0, |d, v| d.config.limits.connection_token_fill_count = fit(v)),
        "The bucket gains this many tokens each time",
    )
    .default("1"),
    Key::limit(
        "connection_throttle_fill_time",
        Form::Property,
        int(0, |d, v| d.config.limits.connection_token_fill_time_ms = fit(v)),
        "The bucket gains tokens each time this interval ends",
    )
    .unit("ms")
    .default("1"),
    Key::limit(
        "connection_throttle_freeze_time",
        Form::Property,
        int(-1, |d, v| d.config.limits.connection_freeze_time_ms = u32::try_from(v).ok()),
        "The server changes the probability of refusing a session each time this interval ends; -1 refuses none by \
         chance",
    )
    .unit("ms")
    .default("-1"),
    Key::limit(
        "connection_throttle_drop_increase",
        Form::Property,
        Kind::Real(|d, v| d.config.limits.connection_drop_increase = v),
        "That probability grows by this much while no tokens are left",
    )
    .default("0.02"),
    Key::limit(
        "connection_throttle_drop_decrease",
        Form::Property,
        Kind::Real(|d, v| d.config.limits.connection_drop_decrease = v),
        "That probability falls by this much while enough tokens are left",
    )
    .default("0.002"),
    Key::limit(
        "connection_throttle_decrease_ratio",
        Form::Property,
        Kind::Real(|d, v| d.config.limits.connection_decrease_ratio = v),
        "That probability falls only while at most this share of the tokens is spent",
    )
    .default("0"),
    Key::limit(
        "connection_throttle_weight_enabled",
        Form::Property,
        Kind::Flag(|d, v| d.config.limits.connection_weights_enabled = v),
        "A session takes as many tokens as the next three keys say; without this it takes one. The bucket then holds \
         and gains as many times more tokens as a global session takes",
    )
    .default("false"),
    Key::limit(
        "connection_throttle_global_session_weight",
        Form::Property,
        int(INT_MIN, |d, v| d.config.limits.connection_weight_global = weight(v, 3)),
        "A new session takes this many tokens",
    )
    .default("3"),
    Key::limit(
        "connection_throttle_local_session_weight",
        Form::Property,
        int(INT_MIN, |d, v| d.config.limits.connection_weight_local = weight(v, 1)),
        "A new local session takes this many tokens",
    )
    .default("1"),
    Key::limit(
        "connection_throttle_renew_session_weight",
        Form::Property,
        int(INT_MIN, |d, v| d.config.limits.connection_weight_renew = weight(v, 2)),
        "A session that reconnects takes this many tokens",
    )
    .default("2"),
    Key::common(
        "4lw.commands.whitelist",
        Form::Property,
        text!(whitelist),
        "The server answers these four-letter words, separated by commas; * stands for all of them",
    )
    .default("srvr"),
    // The tree
    Key::common(
        "extendedTypesEnabled",
        Form::Property,
        Kind::Flag(|d, v| d.config.extended_types_enabled = v),
        "Clients may create znodes with a TTL",
    )
    .default("false"),
    Key::limit(
        "emulate353TTLNodes",
        Form::Property,
        unused::FLAG,
        "ZooKeeper reads and writes TTL znodes as its version 3.5.3 did",
    )
    .default("false")
    .ignored("oxkeeper reads no data of ZooKeeper 3.5.3")
    .missed("true"),
    Key::common(
        "enforceQuota",
        Form::Property,
        Kind::Flag(|d, v| d.config.enforce_quota = v),
        "The server refuses a write that exceeds a quota; without this it only logs a warning",
    )
    .default("false"),
    Key::limit(
        "znode.container.checkIntervalMs",
        Form::BareProperty,
        int(CONTAINER_MIN, |d, v| d.config.containers.check_interval_ms = fit(v)),
        "The server looks for empty containers and expired TTL znodes each time this interval ends",
    )
    .unit("ms")
    .default("60000"),
    Key::limit(
        "znode.container.maxPerMinute",
        Form::BareProperty,
        int(CONTAINER_MIN, |d, v| d.config.containers.removals_per_minute_max = fit(v)),
        "The server removes at most this many containers and TTL znodes in a minute",
    )
    .default("10000"),
    Key::limit(
        "znode.container.maxNeverUsedIntervalMs",
        Form::BareProperty,
        long(CONTAINER_MIN, |d, v| d.config.containers.never_used_max_ms = fit(v)),
        "The server removes a container at this age if it never had a child; 0 keeps it",
    )
    .unit("ms")
    .default("0"),
    // Storage
    Key::common(
        "dataDir",
        Form::File,
        text!(data_dir),
        "The server keeps its durable tree in this directory, and reads myid from it",
    ),
    Key::common("dataLogDir", Form::File, text!(data_log_dir), "The server keeps its log in this directory")
        .derived("dataDir"),
    Key::limit(
        "snapCount",
        Form::Property,
        int(2, |d, v| d.config.storage.snap_count = fit(v)),
        "ZooKeeper takes a snapshot after this many transactions",
    )
    .default("100000")
    .ignored(OWN_PACE),
    Key::limit(
        "snapSizeLimitInKb",
        Form::Property,
        Kind::Int { min: 0, max: i64::MAX >> 10, set: |d, v| d.config.storage.snap_size_limit_bytes = kib(v) },
        "ZooKeeper takes a snapshot after this much log",
    )
    .unit("KiB")
    .default("4194304")
    .ignored(OWN_PACE),
    Key::limit(
        "preAllocSize",
        Form::Property,
        Kind::Int { min: 0, max: i64::MAX >> 10, set: |d, v| d.config.storage.pre_alloc_size_bytes = kib(v) },
        "ZooKeeper's log files grow by this much at a time",
    )
    .unit("KiB")
    .default("65536")
    .ignored("the log grows in steps of 256 KiB"),
    Key::limit(
        "forceSync",
        Form::Property,
        Kind::Only("no", |d, v| d.config.storage.force_sync = !v),
        "ZooKeeper syncs a write before it answers; with `no` a power failure may lose acknowledged writes",
    )
    .default("yes")
    .ignored("every write is synced before it is answered")
    .missed("no"),
    Key::limit(
        "flushDelay",
        Form::Property,
        int(0, |d, v| d.config.storage.flush_delay_ms = fit(v)),
        "ZooKeeper's group commit waits this long for more writes",
    )
    .unit("ms")
    .default("0")
    .ignored(OWN_GROUPS),
    Key::limit(
        "maxWriteQueuePollTime",
        Form::Property,
        unused::LONG,
        "ZooKeeper's group commit waits this long while its queue is empty",
    )
    .unit("ms")
    .derived("flushDelay ÷ 3")
    .ignored(OWN_GROUPS),
    Key::limit(
        "maxBatchSize",
        Form::Property,
        int(0, |d, v| d.config.storage.batch_count_max = fit(v)),
        "ZooKeeper's group commit writes at most this many transactions at once",
    )
    .default("1000")
    .ignored(OWN_GROUPS),
    Key::limit(
        "digest.enabled",
        Form::Property,
        Kind::Flag(|d, v| d.config.storage.digest_enabled = v),
        "ZooKeeper keeps a digest of its tree, which the word `hash` shows",
    )
    .default("true")
    .ignored("the digest is always kept"),
    Key::limit(
        "closeSessionTxn.enabled",
        Form::Property,
        Kind::Flag(|d, v| d.config.storage.close_session_txn_enabled = v),
        "ZooKeeper logs the znodes that go with a closed session",
    )
    .default("true")
    .ignored("the log holds requests, not their effects"),
    Key::common(
        "datadir.autocreate",
        Form::Property,
        Kind::Flag(|d, v| d.config.storage.data_dir_autocreate = v),
        "The server creates a missing data directory",
    )
    .default("true")
    .unserved(|c| !c.storage.data_dir_autocreate, "a start that only accepts an existing data directory"),
    Key::limit(
        "db.autocreate",
        Form::Property,
        unused::FLAG,
        "ZooKeeper begins with an empty tree if it finds no data",
    )
    .default("true")
    .ignored("a server with an empty directory always begins with an empty tree"),
    Key::limit(
        "autopurge.snapRetainCount",
        Form::File,
        int(INT_MIN, |d, v| d.snap_retain_count = v),
        "ZooKeeper keeps this many snapshots",
    )
    .default("3")
    .ignored(PURGES_ITSELF),
    Key::limit(
        "autopurge.purgeInterval",
        Form::File,
        unused::INT,
        "ZooKeeper removes old snapshots and logs each time this interval ends; 0 removes none",
    )
    .unit("hours")
    .default("0")
    .ignored(PURGES_ITSELF),
    Key::limit("txnLogSizeLimitInKb", Form::Property, unused::LONG, "ZooKeeper begins a new log file at this size")
        .unit("KiB")
        .default("-1")
        .ignored("log segments have a fixed size"),
    Key::limit(
        "commitLogCount",
        Form::Property,
        unused::INT,
        "ZooKeeper keeps this many transactions in memory for followers",
    )
    .default("500")
    .ignored("followers receive entries from the log"),
    Key::limit(
        "snapshotSizeFactor",
        Form::Property,
        unused::REAL,
        "ZooKeeper sends a follower logs up to this share of the snapshot's size",
    )
    .default("0.33")
    .ignored("followers receive entries from the log"),
    Key::limit(
        "serializeLastProcessedZxid.enabled",
        Form::Property,
        unused::FLAG,
        "ZooKeeper's snapshots have an extra field",
    )
    .default("true")
    .ignored(OWN_FORMAT),
    Key::limit(
        "snapshot.compression.method",
        Form::Property,
        unused::TEXT,
        "ZooKeeper compresses its snapshots by gz or snappy",
    )
    .ignored(OWN_FORMAT),
    Key::limit("snapshot.trust.empty", Form::Property, unused::FLAG, "ZooKeeper accepts logs without a snapshot")
        .default("false")
        .ignored("only `oxkeeper import` reads it"),
    Key::limit(
        "fsync.warningthresholdms",
        Form::EitherProperty,
        unused::LONG,
        "ZooKeeper logs a sync that takes longer than this",
    )
    .unit("ms")
    .default("1000")
    .ignored("the metric fsynctime has the sync times"),
];

const OWN_FORMAT: &str = "oxkeeper's files have a format of their own";
const OWN_PACE: &str = "a checkpoint is due when the log behind the last one has 32 MiB";
const OWN_GROUPS: &str = "a group is committed as soon as the disk is free";

/// Converts KiB to bytes; the rows' ranges keep the product within 63 bits.
fn kib(number: i64) -> u64 {
    u64::try_from(number).expect("the row's least value is 0") << 10
}
