//! Keys of one server: listeners, sessions, limits, storage.

use super::{Form, INT_MIN, Key, Kind, fit, int, long, port, unused};

/// A setter for a text of the draft.
macro_rules! text {
    ($field:ident) => {
        Kind::Text(|d, v| {
            d.$field = Some(v.into());
            Ok(())
        })
    };
}
const PURGES_ITSELF: &str = "nothing to do: this server keeps one tree and cuts its log itself";
const CONTAINER_MIN: i64 = 0;

/// ZooKeeper: a weight that is none counts as the default.
fn weight(value: i64, default: u32) -> u32 {
    if value > 0 { fit(value) } else { default }
}

pub(super) const KEYS: &[Key] = &[
    // Listeners
    Key::new("clientPort", Form::File, port(|d, v| d.client_port = Some(fit(v))), "Port of the plain listener"),
    Key::new("clientPortAddress", Form::File, text!(client_host), "Address of the plain listener")
        .derived("every address"),
    Key::new("secureClientPort", Form::File, port(|d, v| d.secure_port = Some(fit(v))), "Port of the TLS listener"),
    Key::new("secureClientPortAddress", Form::File, text!(secure_host), "Address of the TLS listener")
        .derived("every address"),
    Key::new(
        "clientPortListenBacklog",
        Form::File,
        int(INT_MIN, |d, v| d.config.listen_backlog = fit(v)),
        "Connections the system queues before they are accepted; -1 leaves it to the system",
    )
    .default("-1"),
    Key::new(
        "clientTcpKeepAlive",
        Form::Property,
        Kind::Flag(|d, v| d.config.client_tcp_keep_alive = v),
        "SO_KEEPALIVE on client sockets",
    )
    .default("false"),
    // Sessions
    Key::new("tickTime", Form::File, int(INT_MIN, |d, v| d.config.tick_time_ms = fit(v)), "Unit of session expiry")
        .unit("ms")
        .default("3000"),
    Key::new(
        "minSessionTimeout",
        Form::File,
        int(INT_MIN, |d, v| d.session_timeout_min_ms = fit(v)),
        "Least session timeout a client is given; -1 means 2 × tickTime",
    )
    .unit("ms")
    .default("-1"),
    Key::new(
        "maxSessionTimeout",
        Form::File,
        int(INT_MIN, |d, v| d.session_timeout_max_ms = fit(v)),
        "Greatest session timeout a client is given; -1 means 20 × tickTime",
    )
    .unit("ms")
    .default("-1"),
    Key::new(
        "localSessionsEnabled",
        Form::File,
        Kind::Flag(|d, v| d.config.local_sessions_enabled = v),
        "In an ensemble: new sessions are known to the connected server only",
    )
    .default("false"),
    Key::new(
        "localSessionsUpgradingEnabled",
        Form::File,
        Kind::Flag(|d, v| d.config.local_sessions_upgrading_enabled = v),
        "Such a session becomes the ensemble's before its first ephemeral; else that is refused",
    )
    .default("false"),
    Key::new(
        "readonlymode.enabled",
        Form::BareProperty,
        Kind::Flag(|d, v| d.config.read_only_mode = v),
        "Serve reads without a quorum; also answers `isro`",
    )
    .default("false"),
    // Limits
    Key::new(
        "maxClientCnxns",
        Form::File,
        int(INT_MIN, |d, v| d.config.limits.max_client_connections_per_address = fit(v)),
        "Connections of one IP address; 0, or less, is unlimited",
    )
    .default("60"),
    Key::new(
        "maxCnxns",
        Form::Property,
        int(0, |d, v| d.config.limits.max_connections = fit(v)),
        "Connections in all; 0 is unlimited",
    )
    .default("0"),
    Key::new(
        "jute.maxbuffer",
        Form::BareProperty,
        int(0, |d, v| d.config.limits.jute_maxbuffer = fit(v)),
        "Longest request frame a client may send",
    )
    .unit("bytes")
    .default("1048575"),
    Key::new(
        "jute.maxbuffer.extrasize",
        Form::Property,
        int(1024, |d, v| d.jute_maxbuffer_extra = Some(fit(v))),
        "Added to jute.maxbuffer for what servers read from disk and from each other",
    )
    .unit("bytes")
    .derived("jute.maxbuffer")
    .ignored("what is read from disk has limits of its own"),
    Key::new(
        "globalOutstandingLimit",
        Form::Property,
        int(0, |d, v| d.config.limits.global_outstanding_limit = Some(fit(v))),
        "With more writes in process than this, connections that have one are not read; in an ensemble of n > 2 servers \
         each has the (n−1)th part",
    )
    .derived("none: what waits is limited by its bytes"),
    Key::new(
        "nio.sessionlessCnxnTimeout",
        Form::Property,
        int(0, |d, v| d.config.limits.sessionless_connection_timeout_ms = fit(v)),
        "A connection that has not finished its handshake by then is closed",
    )
    .unit("ms")
    .default("10000"),
    Key::new(
        "request_throttle_max_requests",
        Form::Property,
        int(0, |d, v| d.config.limits.request_throttle_max_requests = fit(v)),
        "New writes and sessions wait while so many are in process; 0 is never",
    )
    .default("0"),
    Key::new(
        "request_throttle_stall_time",
        Form::Property,
        unused::INT,
        "How long a throttled request waits each time",
    )
    .unit("ms")
    .default("100")
    .ignored("a throttled request goes on as soon as there is room"),
    Key::new(
        "request_throttle_drop_stale",
        Form::Property,
        Kind::Flag(|d, v| d.config.limits.request_throttle_drop_stale = v),
        "A throttled request whose connection is gone is dropped",
    )
    .default("true"),
    Key::new(
        "request_stale_connection_check",
        Form::Property,
        unused::FLAG,
        "Requests of closed connections are stale",
    )
    .default("true")
    .ignored("always so here"),
    Key::new(
        "request_stale_latency_check",
        Form::Property,
        unused::FLAG,
        "Requests older than their session are stale",
    )
    .default("false")
    .ignored("requests are not delayed that long here"),
    Key::new(
        "throttled_op_wait_time",
        Form::Property,
        int(0, |d, v| d.config.limits.throttled_op_wait_time_ms = fit(v)),
        "A throttled request that waited longer is refused with ThrottledOp; 0 is never",
    )
    .unit("ms")
    .default("0"),
    Key::new(
        "largeRequestThreshold",
        Form::Property,
        int(-1, |d, v| d.config.limits.large_request_threshold = u32::try_from(v).ok().filter(|&bytes| bytes > 0)),
        "Requests longer than this count against largeRequestMaxBytes; -1 is off",
    )
    .unit("bytes")
    .default("-1"),
    Key::new(
        "largeRequestMaxBytes",
        Form::Property,
        int(0, |d, v| d.config.limits.large_request_bytes_max = fit(v)),
        "Large requests in flight, together; beyond it a connection is closed",
    )
    .unit("bytes")
    .default("104857600"),
    Key::new(
        "connection_throttle_tokens",
        Form::Property,
        int(0, |d, v| d.config.limits.connection_tokens = fit(v)),
        "New connections a token bucket lets in; 0 is no such limit",
    )
    .default("0"),
    Key::new(
        "connection_throttle_fill_count",
        Form::Property,
        int(0, |d, v| d.config.limits.connection_token_fill_count = fit(v)),
        "Tokens added each time",
    )
    .default("1"),
    Key::new(
        "connection_throttle_fill_time",
        Form::Property,
        int(0, |d, v| d.config.limits.connection_token_fill_time_ms = fit(v)),
        "How often tokens are added",
    )
    .unit("ms")
    .default("1"),
    Key::new(
        "connection_throttle_freeze_time",
        Form::Property,
        int(-1, |d, v| d.config.limits.connection_freeze_time_ms = u32::try_from(v).ok()),
        "How often the chance of refusing a session changes; -1 refuses none by chance",
    )
    .unit("ms")
    .default("-1"),
    Key::new(
        "connection_throttle_drop_increase",
        Form::Property,
        Kind::Real(|d, v| d.config.limits.connection_drop_increase = v),
        "What that chance grows by while no tokens are left",
    )
    .default("0.02"),
    Key::new(
        "connection_throttle_drop_decrease",
        Form::Property,
        Kind::Real(|d, v| d.config.limits.connection_drop_decrease = v),
        "What it falls by while tokens are left",
    )
    .default("0.002"),
    Key::new(
        "connection_throttle_decrease_ratio",
        Form::Property,
        Kind::Real(|d, v| d.config.limits.connection_decrease_ratio = v),
        "Share of the tokens that may be spent for it to fall",
    )
    .default("0"),
    Key::new(
        "connection_throttle_weight_enabled",
        Form::Property,
        Kind::Flag(|d, v| d.config.limits.connection_weights_enabled = v),
        "Sessions take tokens by the next three keys, of which there are as many times more; else one each",
    )
    .default("false"),
    Key::new(
        "connection_throttle_global_session_weight",
        Form::Property,
        int(INT_MIN, |d, v| d.config.limits.connection_weight_global = weight(v, 3)),
        "Tokens of a new session",
    )
    .default("3"),
    Key::new(
        "connection_throttle_local_session_weight",
        Form::Property,
        int(INT_MIN, |d, v| d.config.limits.connection_weight_local = weight(v, 1)),
        "Tokens of a new local session",
    )
    .default("1"),
    Key::new(
        "connection_throttle_renew_session_weight",
        Form::Property,
        int(INT_MIN, |d, v| d.config.limits.connection_weight_renew = weight(v, 2)),
        "Tokens of a session that goes on",
    )
    .default("2"),
    Key::new(
        "4lw.commands.whitelist",
        Form::Property,
        text!(whitelist),
        "Four-letter words that are answered; * is all",
    )
    .default("srvr"),
    // The tree
    Key::new(
        "extendedTypesEnabled",
        Form::Property,
        Kind::Flag(|d, v| d.config.extended_types_enabled = v),
        "TTL znodes may be created",
    )
    .default("false"),
    Key::new("emulate353TTLNodes", Form::Property, unused::FLAG, "TTL znodes as ZooKeeper 3.5.3 stored them")
        .default("false")
        .ignored("no data of ZooKeeper 3.5.3 is read"),
    Key::new(
        "enforceQuota",
        Form::Property,
        Kind::Flag(|d, v| d.config.enforce_quota = v),
        "Quotas refuse writes instead of only warning",
    )
    .default("false"),
    Key::new(
        "znode.container.checkIntervalMs",
        Form::BareProperty,
        int(CONTAINER_MIN, |d, v| d.config.containers.check_interval_ms = fit(v)),
        "Time between two rounds of the container and TTL reaper",
    )
    .unit("ms")
    .default("60000"),
    Key::new(
        "znode.container.maxPerMinute",
        Form::BareProperty,
        int(CONTAINER_MIN, |d, v| d.config.containers.removals_per_minute_max = fit(v)),
        "Containers and TTL znodes removed in a minute",
    )
    .default("10000"),
    Key::new(
        "znode.container.maxNeverUsedIntervalMs",
        Form::BareProperty,
        long(CONTAINER_MIN, |d, v| d.config.containers.never_used_max_ms = fit(v)),
        "A container that never had a child is removed at this age; 0 is never",
    )
    .unit("ms")
    .default("0"),
    // Storage
    Key::new("dataDir", Form::File, text!(data_dir), "Directory of the durable tree, and of myid"),
    Key::new("dataLogDir", Form::File, text!(data_log_dir), "Directory of the log").derived("dataDir"),
    Key::new(
        "snapCount",
        Form::Property,
        int(2, |d, v| d.config.storage.snap_count = fit(v)),
        "A checkpoint is due after so many transactions",
    )
    .default("100000")
    .ignored(OWN_PACE),
    Key::new(
        "snapSizeLimitInKb",
        Form::Property,
        Kind::Int { min: 0, max: i64::MAX >> 10, set: |d, v| d.config.storage.snap_size_limit_bytes = kib(v) },
        "A checkpoint is due after so much log",
    )
    .unit("KiB")
    .default("4194304")
    .ignored(OWN_PACE),
    Key::new(
        "preAllocSize",
        Form::Property,
        Kind::Int { min: 0, max: i64::MAX >> 10, set: |d, v| d.config.storage.pre_alloc_size_bytes = kib(v) },
        "The log grows by this much at a time",
    )
    .unit("KiB")
    .default("65536")
    .ignored("the log makes room in steps of 256 KiB"),
    Key::new(
        "forceSync",
        Form::Property,
        Kind::Only("no", |d, v| d.config.storage.force_sync = !v),
        "Writes are synced before they are answered; `no` may lose acknowledged writes",
    )
    .default("yes")
    .ignored("writes are always synced before they are answered"),
    Key::new(
        "flushDelay",
        Form::Property,
        int(0, |d, v| d.config.storage.flush_delay_ms = fit(v)),
        "Group commit waits so long for more writes",
    )
    .unit("ms")
    .default("0")
    .ignored(OWN_GROUPS),
    Key::new("maxWriteQueuePollTime", Form::Property, unused::LONG, "How long group commit waits for an empty queue")
        .unit("ms")
        .derived("flushDelay ÷ 3")
        .ignored(OWN_GROUPS),
    Key::new(
        "maxBatchSize",
        Form::Property,
        int(0, |d, v| d.config.storage.batch_count_max = fit(v)),
        "Group commit takes at most so many writes at once",
    )
    .default("1000")
    .ignored(OWN_GROUPS),
    Key::new(
        "digest.enabled",
        Form::Property,
        Kind::Flag(|d, v| d.config.storage.digest_enabled = v),
        "The tree carries a digest, shown by `hash`",
    )
    .default("true")
    .ignored("always so here"),
    Key::new(
        "closeSessionTxn.enabled",
        Form::Property,
        Kind::Flag(|d, v| d.config.storage.close_session_txn_enabled = v),
        "Closing a session lists the znodes it removes",
    )
    .default("true")
    .ignored("the log holds requests, not their effects"),
    Key::new(
        "datadir.autocreate",
        Form::Property,
        Kind::Flag(|d, v| d.config.storage.data_dir_autocreate = v),
        "A missing data directory is created",
    )
    .default("true")
    .unserved(|c| !c.storage.data_dir_autocreate, "a data directory that is never created"),
    Key::new("db.autocreate", Form::Property, unused::FLAG, "An empty directory becomes an empty tree")
        .default("true")
        .ignored("always so here"),
    Key::new("autopurge.snapRetainCount", Form::File, int(INT_MIN, |d, v| d.snap_retain_count = v), "Snapshots kept")
        .default("3")
        .ignored(PURGES_ITSELF),
    Key::new("autopurge.purgeInterval", Form::File, unused::INT, "Time between two purges; 0 is off")
        .unit("hours")
        .default("0")
        .ignored(PURGES_ITSELF),
    Key::new("txnLogSizeLimitInKb", Form::Property, unused::LONG, "Size at which a new log file begins")
        .unit("KiB")
        .default("-1")
        .ignored("log segments have a fixed size here"),
    Key::new("commitLogCount", Form::Property, unused::INT, "Transactions kept in memory for followers")
        .default("500")
        .ignored("followers are fed from the log"),
    Key::new("snapshotSizeFactor", Form::Property, unused::REAL, "Share of the snapshot worth sending as log")
        .default("0.33")
        .ignored("followers are fed from the log"),
    Key::new("serializeLastProcessedZxid.enabled", Form::Property, unused::FLAG, "An extra field of snapshots")
        .default("true")
        .ignored(OWN_FORMAT),
    Key::new("snapshot.compression.method", Form::Property, unused::TEXT, "gz or snappy").ignored(OWN_FORMAT),
    Key::new("snapshot.trust.empty", Form::Property, unused::FLAG, "Accept logs without a snapshot")
        .default("false")
        .ignored("it counts for `oxkeeper import`; the files on disk have a format of their own"),
    Key::new("fsync.warningthresholdms", Form::EitherProperty, unused::LONG, "A slower sync is logged")
        .unit("ms")
        .default("1000")
        .ignored("sync times are in the metric fsynctime"),
];

const OWN_FORMAT: &str = "the files on disk have a format of their own";
const OWN_PACE: &str = "a checkpoint is due when the log behind the last one has 32 MiB";
const OWN_GROUPS: &str = "a group is committed as soon as the disk is free";

/// KiB to bytes; the rows' ranges keep the product within 63 bits.
fn kib(number: i64) -> u64 {
    u64::try_from(number).expect("the row's least value is 0") << 10
}
