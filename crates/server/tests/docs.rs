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

/// Documents, from the root of the repository.
const DOCUMENTS: [&str; 4] = [".", "docs", "packaging", "compat-tests"];

#[test]
fn links_between_documents_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut broken = Vec::new();
    for folder in DOCUMENTS {
        for entry in fs::read_dir(root.join(folder)).expect("the folder is there") {
            let file = entry.expect("an entry").path();
            if file.extension().is_some_and(|it| it == "md") {
                let text = prose(&file);
                let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
                let own = links.filter(|link| !link.contains("://") && !link.contains(' '));
                broken.extend(
                    own.filter(|link| !leads_somewhere(&file, link)).map(|link| format!("{}: {link}", file.display())),
                );
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// A document without its blocks of code.
fn prose(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("the document is there");
    text.split("\n```").step_by(2).collect()
}

fn leads_somewhere(from: &Path, link: &str) -> bool {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let to = if path.is_empty() { from.to_owned() } else { from.parent().expect("a folder").join(path) };
    if !to.exists() || anchor.is_empty() {
        return to.exists();
    }
    let text = prose(&to);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.into_iter().any(|line| slug(line.trim_start_matches('#').trim()) == anchor)
}

/// A heading as links name it.
fn slug(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
    kept.map(|it| if it == ' ' { '-' } else { it }).collect()
}
