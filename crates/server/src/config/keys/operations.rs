//! Keys of monitoring, and of what only a JVM has.

use super::{Form, Key, Kind, fit, int, unused};

const NO_ADMIN: &str =
    "there is no admin server over HTTP; `conf`, `mntr`, `stat` and the others are four-letter words";
const NO_JVM: &str = "there is no JVM";
const NO_PROVIDER: &str = "metrics are read with `mntr`";
const OWN_THREADS: &str = "threads and buffers are laid out differently here";

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
        "oxkeeper.log",
        Form::File,
        Kind::Text(|d, v| {
            d.config.log = Some(v.to_owned());
            Ok(())
        }),
        "What is logged: a level, or levels of parts, as `warn,oxkeeper_server=debug`; read again at SIGHUP. The variable \
         OXKEEPER_LOG goes before it",
    )
    .derived("`info`; at a terminal `warn`"),
    Key::new("admin.enableServer", Form::Property, unused::FLAG, "HTTP server for commands")
        .default("true")
        .ignored(NO_ADMIN),
    Key::new("admin.serverPort", Form::Property, unused::INT, "Its port").default("8080").ignored(NO_ADMIN),
    Key::new("admin.*", Form::Property, unused::FAMILY, "Its other settings").ignored(NO_ADMIN),
    Key::new("metricsProvider.className", Form::File, unused::TEXT, "A Java class that exports metrics")
        .default("org.apache.zookeeper.metrics.impl.DefaultMetricsProvider")
        .ignored(NO_PROVIDER),
    Key::new("metricsProvider.*", Form::File, unused::FAMILY, "Its settings").ignored(NO_PROVIDER),
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
    Key::new("audit.*", Form::Property, unused::FAMILY, "The audit log").ignored("there is no audit log yet"),
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
