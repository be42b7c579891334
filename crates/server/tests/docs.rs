//! docs/configuration.md is generated from the table of keys; this fails when it is stale.
//! To write it anew: `OXKEEPER_WRITE_DOCS=1 cargo test -p oxkeeper-server --test docs`.

use std::fs;
use std::path::Path;

use oxkeeper_server::config::keys_markdown;

const INTRO: &str = "\
<!-- Written by `OXKEEPER_WRITE_DOCS=1 cargo test -p oxkeeper-server --test docs`; do not edit. -->
# Configuration

oxkeeper reads ZooKeeper's `zoo.cfg` (`oxkeeper serve --config zoo.cfg`), the JVM properties in the variables `SERVER_JVMFLAGS`
and `JVMFLAGS` (`-Dzookeeper.…`), and its own few flags (`oxkeeper serve --help`), which win. Without a file it serves
standalone on 127.0.0.1:2181, with its data in `./oxkeeper-data`. `oxkeeper config check zoo.cfg` tells for each line of a file what
becomes of it.

Below is every key that Apache ZooKeeper 3.9 reads, and this server's own, which begin with `oxkeeper.` (ZooKeeper takes any key that it
does not know, so a file can serve both). *Used*: it has its effect. *Ignored*: it has none, for the reason given.
*Refused*: the server does not start, because going on without the feature would not be what was asked for.
*Written as*: a line of the file, a JVM property, or either; where both are written the file wins, as in ZooKeeper.

";

const ENSEMBLE: &str = "
## An ensemble

Every server has the same lines, and the number of its own one in the file `myid` in its `dataDir`:

    dataDir=/var/lib/oxkeeper
    tickTime=2000
    initLimit=10
    syncLimit=5
    server.1=zoo1:2888:3888;2181
    server.2=zoo2:2888:3888;2181
    server.3=zoo3:2888:3888;2181

Servers reach each other on the first port. The second one, and both limits, are written for ZooKeeper's sake and have no effect.
The client port stands in the server line or in `clientPort`. Numbers are 0 to 255 (254 where `extendedTypesEnabled=true`), members at most 15. The own line may have
0.0.0.0 or [::] for a host: that is where to listen. Nobody dials it: with `reconfigEnabled=true` the host comes from the others' files. What ZooKeeper takes
silently and would cost the ensemble a vote is refused: two lines with one number, two servers with one address.
A single voter runs standalone. With `standaloneEnabled=false` it is an ensemble of one, which others may join and leave by
`reconfig`; what its disk loses while it is alone is lost.
";

#[test]
fn the_page_of_keys_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let page = format!("{INTRO}{}{ENSEMBLE}", keys_markdown());
    if std::env::var_os("OXKEEPER_WRITE_DOCS").is_some() {
        fs::write(&path, &page).expect("the documentation can be written");
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/configuration.md is stale: see the first lines of this test");
}

/// Rows of the tables of limits: name, value as the code has it, file.
fn limits(page: &str) -> Vec<[String; 3]> {
    let rows = page.lines().filter(|line| line.starts_with("| `") && line.contains("`crates/"));
    let cell = |row: &str, column: usize| row.split('|').nth(column).unwrap_or_default().trim().replace('`', "");
    rows.map(|row| [cell(row, 1), cell(row, 2), cell(row, 5)]).collect()
}

#[test]
fn the_tables_of_limits_are_what_the_code_has() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/limits.md")).expect("the page is there");
    let limits = limits(&page);
    assert!(limits.len() > 50, "{limits:?}");
    for [name, value, file] in limits {
        let code = fs::read_to_string(root.join(&file)).unwrap_or_else(|error| panic!("{name}: {file}: {error}"));
        let line = code.lines().find(|line| line.contains(&format!("const {name}: ")));
        let line = line.unwrap_or_else(|| panic!("{file} has no {name}"));
        assert!(line.ends_with(&format!(" = {value};")), "docs/limits.md: {name} is {value} there, in {file}: {line}");
    }
}
