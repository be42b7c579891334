//! The commands and how to write them. Source: `ZooKeeperMain.usage`, `CliCommand.getUsageStr`.

/// Command and what follows it, sorted.
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

/// What `get` says besides.
const GET_OPTIONS: &str = " -b   Output data in base64 format
 -s   Print znode stats additionally
 -w   Watch for changes on the znode
 -x   Output data in hexdump format
";
/// What `set` says besides.
const SET_OPTIONS: &str = " -b         Supply data in base64 format
 -s         Print znode stats additionally
 -v <arg>   Set with an expected version
";
/// What `ls -?` says.
pub(super) const LS_HELP: &str = "usage: ls [options] path
 -?   help
 -R   recurse
 -s   stat
 -w   watch";

/// Every command.
pub(super) fn commands() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|(name, _)| *name)
}

pub(super) fn is_command(name: &str) -> bool {
    commands().any(|known| known == name)
}

/// How to write one command.
pub(super) fn of(command: &str) -> String {
    let (name, rest) = COMMANDS.iter().find(|(name, _)| *name == command).copied().unwrap_or((command, ""));
    let options = match name {
        "get" => GET_OPTIONS,
        "set" => SET_OPTIONS,
        _ => return format!("{name} {rest}"),
    };
    format!("{name} {rest}\n{options}")
}

/// How to write all of them.
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
    fn sorted_as_java_sorts() {
        assert!(commands().is_sorted());
    }
}
