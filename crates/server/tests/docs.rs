//! docs/configuration.md is generated from the table of keys; this fails when it is stale.
//! To write it anew: `OXKEEPER_WRITE_DOCS=1 cargo test -p oxkeeper-server --test docs`.

use std::fs;
use std::path::Path;

use oxkeeper_server::config::keys_markdown;

const INTRO: &str = "\
<!-- Written by `OXKEEPER_WRITE_DOCS=1 cargo test -p oxkeeper-server --test docs`; do not edit. -->
# Configuration

oxkeeper reads these, and a later one overrides an earlier one:

1. ZooKeeper's properties (`-Dzookeeper.…`) in the variables `SERVER_JVMFLAGS` and `JVMFLAGS`
2. ZooKeeper's `zoo.cfg`: `oxkeeper serve --config zoo.cfg`
3. its own options: `oxkeeper serve --help`
4. the variable `OXKEEPER_LOG`, for `oxkeeper.log`

Without a file it serves standalone on 127.0.0.1:2181, with its data in `./oxkeeper-data`.

`oxkeeper config check zoo.cfg` prints the effect of each line and whether a server starts with the
file. `serve` and `config check` warn of a key that neither ZooKeeper nor oxkeeper knows, with its
line, and of a key in a place where it is not read. `config check --strict` takes each warning for
an error.

| exit code of `config check` | meaning |
|---|---|
| 0 | a server starts with the file; with `--strict`, also without a warning |
| 2 | a server does not start with it; with `--strict`, or there is a warning |

The tables have every key of Apache ZooKeeper 3.9, and those of oxkeeper, which begin with
`oxkeeper.`: ZooKeeper takes any key, so that one file can serve both. *Written as* says whether a
key is a line of the file, a JVM property, or either. *Refused* means that the server does not
start, because it lacks what the line asks for.

";

const ENSEMBLE: &str = "
## The files of an ensemble

Every server has the same lines in its `zoo.cfg`, and its own number in the file `myid` in its
`dataDir`:

    dataDir=/var/lib/oxkeeper
    tickTime=2000
    initLimit=10
    syncLimit=5
    server.1=zoo1:2888:3888;2181
    server.2=zoo2:2888:3888;2181
    server.3=zoo3:2888:3888;2181

Servers connect to each other on the first port. The second port and both limits must be there, as
in ZooKeeper, and have no effect. The client port stands in the server line or in `clientPort`.

- Server numbers are 0 to 255, or 0 to 254 with `extendedTypesEnabled=true`. An ensemble has at most
  15 members.
- The host in a server's own line may be 0.0.0.0 or [::]: the server listens there. No other server
  connects to such an address; with `reconfigEnabled=true` the host comes from the files of the
  others.
- oxkeeper refuses lines that ZooKeeper accepts and that would cost the ensemble a vote: two lines
  with one number, and two servers with one address.
- A single voter runs standalone. With `standaloneEnabled=false` it is an ensemble of one, which
  other servers join and leave by `reconfig`. While it is alone, nothing can replace the data that
  its disk loses.

## What is logged

`oxkeeper.log`, and `OXKEEPER_LOG` before it, take a level: `off`, `error`, `warn`, `info`, `debug`
or `trace`. `warn,oxkeeper_server=debug` also sets the level of one part. Parts that are not named
log errors, unless a level stands alone. The default is `info`, and `warn` at a terminal.

A word that is not a level, such as `warning`, is refused: by `serve` and `config check` with exit
code 2, and at SIGHUP with a line in the log, after which the old level stays.
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
