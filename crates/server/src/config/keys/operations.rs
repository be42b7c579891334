//! Keys of monitoring, and of what only a JVM has.

use tracing_subscriber::EnvFilter;

use super::{Form, Key, Kind, fit, int, port, unused};
use crate::config::draft::{PROMETHEUS_PROVIDER, host_name};

const NO_JVM: &str = "there is no JVM";
const OWN_EXPORT: &str = "metrics are added up when they are asked for";
const OWN_THREADS: &str = "threads and buffers are laid out differently here";

/// Those of ZooKeeper.
const METRICS_PROVIDERS: [&str; 3] = [
    "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
    "org.apache.zookeeper.metrics.impl.NullMetricsProvider",
    PROMETHEUS_PROVIDER,
];

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "oxkeeper.slowRequestMs",
        Form::File,
        int(0, |d, v| d.config.slow_request_ms = fit(v)),
        "A write that takes longer is logged: what, where, whose, and where the time went; 0 is never",
    )
    .unit("ms")
    .default("1000"),
    Key::new(
        "oxkeeper.featureLevelMax",
        Form::File,
        int(0, |d, v| d.config.feature_level_max = Some(fit(v))),
        "The agreed feature level is not raised beyond it: so long one can go back to the release that has it",
    )
    .derived("what the release knows"),
    Key::new(
        "oxkeeper.log",
        Form::File,
        Kind::Text(|d, v| {
            EnvFilter::try_new(v).map_err(|problem| format!("`{v}` says nothing about what to log: {problem}"))?;
            d.config.log = Some(v.to_owned());
            Ok(())
        }),
        "What is logged: a level, or levels of parts, as `warn,oxkeeper_server=debug`; read again at SIGHUP. The variable \
         OXKEEPER_LOG goes before it",
    )
    .derived("`info`; at a terminal `warn`"),
    Key::new(
        "admin.enableServer",
        Form::Property,
        // ZooKeeper: FALSE is not false.
        Kind::Only("false", |d, v| d.config.admin.enabled = !v),
        "HTTP for administrators: commands, metrics, health; only `false`, so spelled, says no",
    )
    .default("true"),
    Key::new(
        "admin.serverAddress",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.admin.host = host_name(v.into());
            Ok(())
        }),
        "Where it listens; ZooKeeper listens on every address, 0.0.0.0",
    )
    .default("127.0.0.1"),
    Key::new("admin.serverPort", Form::Property, port(|d, v| d.config.admin.port = Some(fit(v))), "Its port")
        .derived("8080 if nobody else has it; any free one where `clientPort` is 0"),
    Key::new(
        "admin.commandURL",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.admin.command_url = v.into();
            Ok(())
        }),
        "Where the commands are",
    )
    .default("/commands"),
    Key::new(
        "admin.idleTimeout",
        Form::Property,
        int(1, |d, v| d.config.admin.idle_timeout_ms = fit(v)),
        "A client that is silent for so long is closed",
    )
    .unit("ms")
    .default("30000"),
    Key::new(
        "admin.snapshot.enabled",
        Form::Property,
        Kind::Flag(|d, v| d.config.admin.snapshot_enabled = v),
        "The command `snapshot` is served",
    )
    .default("true"),
    Key::new(
        "admin.restore.enabled",
        Form::Property,
        Kind::Flag(|d, v| d.config.admin.restore_enabled = v),
        "The command `restore` is served",
    )
    .default("true"),
    Key::new(
        "admin.rateLimiterIntervalInMS",
        Form::Property,
        int(0, |d, v| d.config.admin.rate_limiter_interval_ms = fit(v)),
        "Time between two restores; between two snapshots it is a thousandth of that, as in ZooKeeper",
    )
    .unit("ms")
    .default("300000"),
    Key::new(
        "admin.portUnification",
        Form::Property,
        Kind::Flag(|d, v| d.config.admin.port_unification = v),
        "HTTPS on the same port, with the stores of `ssl.quorum.…`",
    )
    .default("false"),
    Key::new(
        "admin.forceHttps",
        Form::Property,
        Kind::Flag(|d, v| d.config.admin.force_https = v),
        "HTTPS only, with the stores of `ssl.quorum.…`",
    )
    .default("false"),
    Key::new(
        "admin.needClientAuth",
        Form::Property,
        Kind::Flag(|d, v| d.config.admin.need_client_auth = v),
        "HTTPS clients must have a certificate that `ssl.quorum.trustStore` signs",
    )
    .default("false"),
    Key::new("admin.httpVersion", Form::Property, unused::INT, "Version of HTTP over TLS")
        .default("11")
        .ignored("it is HTTP/1.1"),
    Key::new("admin.*", Form::Property, unused::FAMILY, "Other settings of it").ignored("no version reads them"),
    Key::new(
        "metricsProvider.className",
        Form::File,
        Kind::Text(|d, v| {
            d.metrics_provider = v.into();
            // ZooKeeper's words. A class of somebody's own would be found there, and is not here.
            let missing = || format!("metrics provider class was not found: {v:?}");
            METRICS_PROVIDERS.contains(&v).then_some(()).ok_or_else(missing)
        }),
        "With ZooKeeper's PrometheusMetricsProvider metrics have a port of their own; they are served to administrators in any case",
    )
    .default("org.apache.zookeeper.metrics.impl.DefaultMetricsProvider"),
    Key::new(
        "metricsProvider.httpHost",
        Form::File,
        Kind::Text(|d, v| {
            d.metrics_host = Some(v.into());
            Ok(())
        }),
        "Where that port is",
    )
    .derived("0.0.0.0"),
    Key::new(
        "metricsProvider.httpPort",
        Form::File,
        port(|d, v| d.metrics_port = Some(fit(v))),
        "Port of the metrics",
    )
    .derived("7000"),
    Key::new("metricsProvider.exportJvmInfo", Form::File, unused::LOOSE_FLAG, "Metrics of the JVM, too")
        .default("true")
        .ignored("there is no JVM; `process_…` is there"),
    Key::new("metricsProvider.*", Form::File, unused::FAMILY, "Other settings of the provider").ignored(OWN_EXPORT),
    Key::new("jvm.pause.monitor", Form::File, unused::FLAG, "Pauses of the JVM are measured")
        .default("false")
        .ignored(NO_JVM),
    Key::new("jvm.pause.sleep.time.ms", Form::File, unused::LONG, "How often")
        .unit("ms")
        .default("500")
        .ignored(NO_JVM),
    Key::new("jvm.pause.info-threshold.ms", Form::File, unused::LONG, "A longer pause is logged")
        .unit("ms")
        .default("1000")
        .ignored(NO_JVM),
    Key::new("jvm.pause.warn-threshold.ms", Form::File, unused::LONG, "A longer pause is a warning")
        .unit("ms")
        .default("10000")
        .ignored(NO_JVM),
    Key::new("serverCnxnFactory", Form::Property, unused::TEXT, "The Java class that accepts connections")
        .default("org.apache.zookeeper.server.NIOServerCnxnFactory")
        .ignored("one implementation serves all listeners"),
    Key::new("nio.*", Form::Property, unused::FAMILY, "Threads and buffers of ZooKeeper's NIO listener")
        .ignored(OWN_THREADS),
    Key::new("request_throttler.*", Form::Property, unused::FAMILY, "Shutdown of ZooKeeper's throttler")
        .ignored(OWN_THREADS),
    Key::new("intBufferStartingSizeBytes", Form::Property, unused::INT, "First size of a buffer")
        .unit("bytes")
        .default("1024")
        .ignored(OWN_THREADS),
    Key::new("maxResponseCacheSize", Form::Property, unused::INT, "Replies of getData kept")
        .default("400")
        .ignored("replies are written from the tree without a cache"),
    Key::new("maxGetChildrenResponseCacheSize", Form::Property, unused::INT, "Replies of getChildren kept")
        .default("400")
        .ignored("replies are written from the tree without a cache"),
    Key::new("watchManagerName", Form::Property, unused::TEXT, "The Java class that keeps watches")
        .default("org.apache.zookeeper.server.watch.WatchManager")
        .ignored("one implementation keeps all watches"),
    Key::new("watcherClean*", Form::Property, unused::FAMILY, "Removal of dead watchers")
        .ignored("watches end with their connection"),
    Key::new("maxInProcessingDeadWatchers", Form::Property, unused::INT, "Dead watchers waiting for removal")
        .default("-1")
        .ignored("watches end with their connection"),
    Key::new("bitHashCacheSize", Form::Property, unused::INT, "Tuning of a watch manager")
        .default("10")
        .ignored("one implementation keeps all watches"),
    Key::new(
        "audit.enable",
        Form::Property,
        Kind::Flag(|d, v| d.config.audit.enabled = v),
        "The audit log: a line for each change that a client asks for, and for ephemerals that end with their session",
    )
    .default("false"),
    Key::new(
        "oxkeeper.audit.file",
        Form::File,
        Kind::Text(|d, v| {
            d.config.audit.file = Some(v.into());
            Ok(())
        }),
        "Where the audit log goes; lines are appended",
    )
    .derived("standard error"),
    Key::new(
        "audit.impl.class",
        Form::Property,
        Kind::Text(|d, v| {
            d.config.audit.has_foreign_class = v != "org.apache.zookeeper.audit.Slf4jAuditLogger";
            Ok(())
        }),
        "A Java class that writes the audit log",
    )
    .default("org.apache.zookeeper.audit.Slf4jAuditLogger")
    .unserved(|c| c.audit.has_foreign_class, "another audit logger"),
    Key::new("pathStats.*", Form::Property, unused::FAMILY, "Statistics by path").ignored("there are none"),
    Key::new("messageTracker.*", Form::Property, unused::FAMILY, "Messages between servers kept for debugging")
        .ignored("there are none"),
    Key::new("jmx.*", Form::Property, unused::FAMILY, "JMX beans").ignored(NO_JVM),
    Key::new("log.*", Form::Property, unused::FAMILY, "Log files, set by the start scripts")
        .ignored("the log goes to standard error"),
    Key::new("root.logger", Form::Property, unused::TEXT, "Log level, set by the start scripts")
        .ignored("the log goes to standard error"),
    Key::new("console.threshold", Form::Property, unused::TEXT, "Log level, set by the start scripts")
        .ignored("the log goes to standard error"),
];
