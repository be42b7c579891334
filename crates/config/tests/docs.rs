//! docs/configuration.md is generated from the table of keys; this test fails if the file is stale.
//! To regenerate it: `OXKEEPER_WRITE_DOCS=1 cargo test -p oxkeeper-config --test docs`.

use std::fs;
use std::path::Path;

use oxkeeper_config::keys_markdown;

const INTRO: &str = "\
<!-- Written by `OXKEEPER_WRITE_DOCS=1 cargo test -p oxkeeper-config --test docs`; do not edit. -->
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
