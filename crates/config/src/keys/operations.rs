//! Keys of monitoring, and of features that only a JVM has.

use super::{Form, Key, Kind, fit, int, port, unused};
use crate::draft::{PROMETHEUS_PROVIDER, host_name};
use crate::log_filter::parse_log_filter;

const NO_JVM: &str = "there is no JVM";
const OWN_EXPORT: &str = "metrics are computed when they are asked for";
const OWN_THREADS: &str = "oxkeeper has other threads and buffers";

/// ZooKeeper's own metrics providers.
const METRICS_PROVIDERS: [&str; 3] = [
    "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
    "org.apache.zookeeper.metrics.impl.NullMetricsProvider",
    PROMETHEUS_PROVIDER,
];

pub(super) const KEYS: &[Key] = &[
    Key::common(
        "oxkeeper.slowRequestMs",
        Form::File,
        int(0, |d, v| d.config.slow_request_ms = fit(v)),
        "The server logs a write that takes longer than this: the operation, the path, the session, and where the \
         time went; 0 logs none",
    )
    .unit("ms")
    .default("1000"),
    Key::ensemble(
        "oxkeeper.featureLevelMax",
        Form::File,
        int(0, |d, v| d.config.feature_level_max = Some(fit(v))),
        "The ensemble does not raise its feature level above this one, so that you can go back to the release that \
         has it",
    )
    .derived("what the release knows"),
    Key::common(
        "oxkeeper.log",
        Form::File,
        Kind::Text(|d, v| {
            parse_log_filter(v)?;
            d.config.log = Some(v.to_owned());
            Ok(())
        }),
        "The server logs at this level (off, error, warn, info, debug or trace), or at levels of parts, as in \
         `warn,oxkeeper_server=debug`; parts that are not named log errors unless a level stands alone. SIGHUP reads \
         the key again. The variable OXKEEPER_LOG overrides it",
    )
    .derived("`info`; at a terminal `warn`"),
    Key::common(
        "admin.enableServer",
        Form::Property,
        // ZooKeeper: only `false` turns it off; `FALSE` does not.
        Kind::Only("false", |d, v| d.config.admin.enabled = !v),
        "The admin server serves commands, metrics and health checks over HTTP; only `false`, spelled so, turns it off",
    )
    .default("true"),
    Key::common(
        "admin.serverAddress",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.admin.host = host_name(v.into());
            Ok(())
        }),
        "The admin server listens on this address; ZooKeeper's listens on 0.0.0.0 by default",
    )
    .default("127.0.0.1"),
    Key::common(
        "admin.serverPort",
        Form::Property,
        port(|d, v| d.config.admin.port = Some(fit(v))),
        "The admin server listens on this port",
    )
    .derived("8080 if it is free; any free port where `clientPort` is 0"),
    Key::common(
        "admin.commandURL",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.admin.command_url = v.into();
            Ok(())
        }),
        "The admin server serves its commands below this path",
    )
    .default("/commands"),
    Key::limit(
        "admin.idleTimeout",
        Form::Property,
        int(1, |d, v| d.config.admin.idle_timeout_ms = fit(v)),
        "The admin server closes a connection that is silent for this long",
    )
    .unit("ms")
    .default("30000"),
    Key::common(
        "admin.snapshot.enabled",
        Form::Property,
        Kind::Flag(|d, v| d.config.admin.snapshot_enabled = v),
        "The admin server has the command `snapshot`",
    )
    .default("true"),
    Key::common(
        "admin.restore.enabled",
        Form::Property,
        Kind::Flag(|d, v| d.config.admin.restore_enabled = v),
        "The admin server has the command `restore`",
    )
    .default("true"),
    Key::limit(
        "admin.rateLimiterIntervalInMS",
        Form::Property,
        int(0, |d, v| d.config.admin.rate_limiter_interval_ms = fit(v)),
        "The admin server refuses a second restore within this time, and a second snapshot within a thousandth of \
         it, as ZooKeeper does",
    )
    .unit("ms")
    .default("300000"),
    Key::security(
        "admin.portUnification",
        Form::Property,
        Kind::Flag(|d, v| d.config.admin.port_unification = v),
        "The admin server accepts HTTPS on the same port, with the stores of `ssl.quorum.…`",
    )
    .default("false"),
    Key::security(
        "admin.forceHttps",
        Form::Property,
        Kind::Flag(|d, v| d.config.admin.force_https = v),
        "The admin server accepts only HTTPS, with the stores of `ssl.quorum.…`",
    )
    .default("false"),
    Key::security(
        "admin.needClientAuth",
        Form::Property,
        Kind::Flag(|d, v| d.config.admin.need_client_auth = v),
        "HTTPS clients of the admin server need a certificate signed by `ssl.quorum.trustStore`",
    )
    .default("false"),
    Key::security(
        "admin.httpVersion",
        Form::Property,
        unused::INT,
        "ZooKeeper's admin server speaks this version of HTTP over TLS",
    )
    .default("11")
    .ignored("the admin server speaks HTTP/1.1"),
    Key::common("admin.*", Form::Property, unused::FAMILY, "ZooKeeper has no other keys with this prefix")
        .ignored("no version reads it"),
    Key::common(
        "metricsProvider.className",
        Form::File,
        Kind::Text(|d, v| {
            d.metrics_provider = v.into();
            // ZooKeeper: it accepts any class on its class path.
            let missing =
                || format!("{v:?} is not one of ZooKeeper's metrics providers: {}", METRICS_PROVIDERS.join(", "));
            METRICS_PROVIDERS.contains(&v).then_some(()).ok_or_else(missing)
        }),
        "With ZooKeeper's PrometheusMetricsProvider the server also serves metrics on a port of their own; the admin \
         server has them in any case",
    )
    .default("org.apache.zookeeper.metrics.impl.DefaultMetricsProvider"),
    Key::common(
        "metricsProvider.httpHost",
        Form::File,
        Kind::Text(|d, v| {
            d.metrics_host = Some(v.into());
            Ok(())
        }),
        "The server listens for metrics on this address",
    )
    .derived("0.0.0.0"),
    Key::common(
        "metricsProvider.httpPort",
        Form::File,
        port(|d, v| d.metrics_port = Some(fit(v))),
        "The server listens for metrics on this port",
    )
    .derived("7000"),
    Key::common(
        "metricsProvider.exportJvmInfo",
        Form::File,
        unused::LOOSE_FLAG,
        "ZooKeeper's metrics include those of the JVM",
    )
    .default("true")
    .ignored("there is no JVM; the metrics `process_…` are there"),
    Key::common("metricsProvider.*", Form::File, unused::FAMILY, "ZooKeeper passes these keys to its metrics provider")
        .ignored(OWN_EXPORT),
    Key::common("jvm.pause.monitor", Form::File, unused::FLAG, "ZooKeeper measures pauses of its JVM")
        .default("false")
        .ignored(NO_JVM),
    Key::common("jvm.pause.sleep.time.ms", Form::File, unused::LONG, "ZooKeeper measures pauses at this interval")
        .unit("ms")
        .default("500")
        .ignored(NO_JVM),
    Key::common(
        "jvm.pause.info-threshold.ms",
        Form::File,
        unused::LONG,
        "ZooKeeper logs a pause that is longer than this",
    )
    .unit("ms")
    .default("1000")
    .ignored(NO_JVM),
    Key::common(
        "jvm.pause.warn-threshold.ms",
        Form::File,
        unused::LONG,
        "ZooKeeper logs a warning about a pause that is longer than this",
    )
    .unit("ms")
    .default("10000")
    .ignored(NO_JVM),
    Key::common(
        "serverCnxnFactory",
        Form::Property,
        unused::TEXT,
        "ZooKeeper accepts connections with this Java class",
    )
    .default("org.apache.zookeeper.server.NIOServerCnxnFactory")
    .ignored("one implementation serves all listeners"),
    Key::limit("nio.*", Form::Property, unused::FAMILY, "ZooKeeper's NIO listener has these threads and buffers")
        .ignored(OWN_THREADS),
    Key::limit(
        "request_throttler.*",
        Form::Property,
        unused::FAMILY,
        "ZooKeeper's throttler shuts down by these times",
    )
    .ignored(OWN_THREADS),
    Key::limit("intBufferStartingSizeBytes", Form::Property, unused::INT, "ZooKeeper's buffers begin with this size")
        .unit("bytes")
        .default("1024")
        .ignored(OWN_THREADS),
    Key::limit("maxResponseCacheSize", Form::Property, unused::INT, "ZooKeeper caches this many replies to getData")
        .default("400")
        .ignored("replies come from the tree, without a cache"),
    Key::limit(
        "maxGetChildrenResponseCacheSize",
        Form::Property,
        unused::INT,
        "ZooKeeper caches this many replies to getChildren",
    )
    .default("400")
    .ignored("replies come from the tree, without a cache"),
    Key::limit("watchManagerName", Form::Property, unused::TEXT, "ZooKeeper keeps watches in this Java class")
        .default("org.apache.zookeeper.server.watch.WatchManager")
        .ignored("one implementation keeps all watches"),
    Key::limit("watcherClean*", Form::Property, unused::FAMILY, "ZooKeeper removes dead watchers by these keys")
        .ignored("watches end with their connection"),
    Key::limit(
        "maxInProcessingDeadWatchers",
        Form::Property,
        unused::INT,
        "ZooKeeper lets this many dead watchers wait for removal",
    )
    .default("-1")
    .ignored("watches end with their connection"),
    Key::limit(
        "bitHashCacheSize",
        Form::Property,
        unused::INT,
        "One of ZooKeeper's watch managers has a cache of this size",
    )
    .default("10")
    .ignored("one implementation keeps all watches"),
    Key::security(
        "audit.enable",
        Form::Property,
        Kind::Flag(|d, v| d.config.audit.enabled = v),
        "The server writes an audit log: a line for each change that a client asks for, and for each ephemeral that \
         ends with its session",
    )
    .default("false"),
    Key::security(
        "oxkeeper.audit.file",
        Form::File,
        Kind::Text(|d, v| {
            d.config.audit.file = Some(v.into());
            Ok(())
        }),
        "The server appends the audit log to this file",
    )
    .derived("standard error"),
    Key::security(
        "audit.impl.class",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.audit.has_foreign_class = v != "org.apache.zookeeper.audit.Slf4jAuditLogger";
            Ok(())
        }),
        "This Java class writes the audit log",
    )
    .default("org.apache.zookeeper.audit.Slf4jAuditLogger")
    .unserved(|c| c.audit.has_foreign_class, "other audit loggers"),
    Key::common("pathStats.*", Form::Property, unused::FAMILY, "ZooKeeper counts requests by path")
        .ignored("there are no statistics by path"),
    Key::common(
        "messageTracker.*",
        Form::Property,
        unused::FAMILY,
        "ZooKeeper keeps messages between servers for debugging",
    )
    .ignored("messages are not kept"),
    Key::common("jmx.*", Form::Property, unused::FAMILY, "ZooKeeper registers JMX beans by these keys").ignored(NO_JVM),
    Key::common("log.*", Form::Property, unused::FAMILY, "ZooKeeper's start scripts set its log files")
        .ignored("the log goes to standard error"),
    Key::common("root.logger", Form::Property, unused::TEXT, "ZooKeeper's start scripts set its log level")
        .ignored("the log goes to standard error; oxkeeper.log sets the level"),
    Key::common("console.threshold", Form::Property, unused::TEXT, "ZooKeeper's start scripts set its log level")
        .ignored("the log goes to standard error; oxkeeper.log sets the level"),
];
