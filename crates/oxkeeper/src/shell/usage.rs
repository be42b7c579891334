//! The commands and their syntax. Source: `ZooKeeperMain.usage`, `CliCommand.getUsageStr`.

/// Commands and their arguments, sorted.
const COMMANDS: &[(&str, &str)] = &[
    (
        "addWatch",
        "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - default is PERSISTENT_RECURSIVE",
    ),
    ("addauth", "scheme auth"),
    ("close", ""),
    ("config", "[-c] [-w] [-s]"),
    ("connect", "host:port"),
    ("create", "[-s] [-e] [-c] [-t ttl] path [data] [acl]"),
    ("delete", "[-v version] path"),
    ("deleteall", "path [-b batch size]"),
    ("delquota", "[-n|-b|-N|-B] path"),
    ("get", "[-s] [-w] [-b] [-x] path"),
    ("getAcl", "[-s] path"),
    ("getAllChildrenNumber", "path"),
    ("getEphemerals", "path"),
    ("history", ""),
    ("listquota", "path"),
    ("ls", "[-s] [-w] [-R] path"),
    ("printwatches", "on|off"),
    ("quit", ""),
    (
        "reconfig",
        "[-s] [-v version] [[-file path] | [-members serverID=host:port1:port2;port3[,...]*]] | \
         [-add serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]",
    ),
    ("redo", "cmdno"),
    ("removewatches", "path [-c|-d|-a] [-l]"),
    ("set", "path data [-s] [-v version] [-b]"),
    ("setAcl", "[-s] [-v version] [-R] path acl"),
    ("setquota", "-n|-b|-N|-B val path"),
    ("stat", "[-w] path"),
    ("sync", "path"),
    ("version", ""),
    ("whoami", ""),
];

/// The lines that `get` adds to its usage.
const GET_OPTIONS: &str = " -b   Output data in base64 format
 -s   Print znode stats additionally
 -w   Watch for changes on the znode
 -x   Output data in hexdump format
";
/// The lines that `set` adds to its usage.
const SET_OPTIONS: &str = " -b         Supply data in base64 format
 -s         Print znode stats additionally
 -v <arg>   Set with an expected version
";
/// The output of `ls -?`.
pub(super) const LS_HELP: &str = "usage: ls [options] path
 -?   help
 -R   recurse
 -s   stat
 -w   watch";

/// The option of `addWatch` and its values.
pub(super) const WATCH_MODES: [&str; 2] = ["PERSISTENT", "PERSISTENT_RECURSIVE"];

/// Every command.
pub(super) fn commands() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|(name, _)| *name)
}

pub(super) fn is_command(name: &str) -> bool {
    commands().any(|known| known == name)
}

/// The options of a command, each with whether a value follows it.
pub(super) fn options(command: &str) -> Vec<(&'static str, bool)> {
    let usage = COMMANDS.iter().find(|(name, _)| *name == command).map_or("", |(_, rest)| *rest);
    let usage = usage.split('#').next().unwrap_or_default();
    let hyphens = usage.match_indices('-').filter(|(at, _)| *at == 0 || usage[..*at].ends_with(['[', '|', ' ']));
    let options = hyphens.filter_map(|(at, _)| {
        let behind = &usage[at + 1..];
        let end = behind.find(|char: char| !char.is_ascii_alphabetic()).unwrap_or(behind.len());
        let takes_value = behind[end..].strip_prefix(' ').is_some_and(|value| !value.starts_with(['[', '-']));
        (end > 0).then_some((&usage[at..at + 1 + end], takes_value))
    });
    options.collect()
}

/// Whether a command is about a znode.
pub(super) fn takes_path(command: &str) -> bool {
    let usage = COMMANDS.iter().find(|(name, _)| *name == command).map_or("", |(_, rest)| *rest);
    command != "reconfig" && usage.split([' ', '#']).any(|word| word == "path")
}

/// Returns the usage of one command.
pub(super) fn of(command: &str) -> String {
    let (name, rest) = COMMANDS.iter().find(|(name, _)| *name == command).copied().unwrap_or((command, ""));
    let options = match name {
        "get" => GET_OPTIONS,
        "set" => SET_OPTIONS,
        _ => return format!("{name} {rest}"),
    };
    format!("{name} {rest}\n{options}")
}

/// Returns the usage of all commands.
pub(super) fn all() -> String {
    let mut text = "ZooKeeper -server host:port -client-configuration properties-file cmd args".to_owned();
    for (name, rest) in COMMANDS {
        text += &format!("\n\t{name} {rest}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_of_the_usage() {
        assert_eq!(options("ls"), [("-s", false), ("-w", false), ("-R", false)]);
        assert_eq!(options("addWatch"), [("-m", true)]);
        assert_eq!(options("deleteall"), [("-b", true)]);
        assert_eq!(options("removewatches"), [("-c", false), ("-d", false), ("-a", false), ("-l", false)]);
        assert_eq!(options("reconfig").len(), 6);
        assert_eq!(options("whoami"), []);
        assert!(takes_path("get") && takes_path("getEphemerals") && takes_path("addWatch"));
        assert!(!takes_path("reconfig") && !takes_path("history") && !takes_path("nonsense"));
    }

    #[test]
    fn sorted_as_java_sorts() {
        assert!(commands().is_sorted());
    }
}
