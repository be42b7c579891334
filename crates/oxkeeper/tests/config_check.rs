//! Checks that the verdict of `oxkeeper config check` on a file matches the behavior of `oxkeeper serve`.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::process::{Command, Output};

const WRONG: Option<i32> = Some(2);

fn oxkeeper(words: &[&str], file: &Path, jvm_flags: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oxkeeper"));
    command.args(words).arg(file).env("SERVER_JVMFLAGS", jvm_flags).env_remove("JVMFLAGS").env_remove("OXKEEPER_LOG");
    command.output().unwrap()
}

/// Writes a zoo.cfg with the common lines and then `lines`.
fn write(dir: &Path, lines: &str) -> std::path::PathBuf {
    let (file, data) = (dir.join("zoo.cfg"), dir.join("data"));
    let common = "clientPortAddress=127.0.0.1\nadmin.enableServer=false";
    std::fs::write(&file, format!("dataDir={}\n{common}\n{lines}\n", data.display())).unwrap();
    file
}

#[test]
fn what_serve_refuses_the_check_refuses_in_the_same_words() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("server.p12");
    std::fs::write(&store, "no store").unwrap();
    let store = store.display();
    let secure = "clientPort=0\nsecureClientPort=0\nsecureClientPortAddress=127.0.0.1";
    let admin = "clientPort=0\nadmin.enableServer=true\nadmin.serverAddress=127.0.0.1\nadmin.serverPort=0";
    let member =
        "clientPort=0\ninitLimit=5\nsyncLimit=2\nserver.1=127.0.0.1:1:2\nserver.2=127.0.0.2:1:2\nsslQuorum=true";
    std::fs::create_dir(dir.path().join("data")).unwrap();
    std::fs::write(dir.path().join("data/myid"), "1").unwrap();
    let cases = [
        (secure.to_owned(), "ssl.keyStore.location"),
        (format!("{secure}\nssl.keyStore.location={store}.not\nssl.keyStore.password=x"), "server.p12.not"),
        (format!("{secure}\nssl.keyStore.location={store}\nssl.keyStore.password=x"), "server.p12"),
        ("clientPort=2181\nsecureClientPort=2181".to_owned(), "port 2181 is the clientPort already"),
        (member.to_owned(), "ssl.quorum.trustStore.location"),
        (format!("{admin}\nadmin.forceHttps=true"), "ssl.quorum.keyStore.location"),
        (format!("clientPort=0\naudit.enable=true\noxkeeper.audit.file={store}.not/audit.log"), "oxkeeper.audit.file"),
        ("clientPort=0\noxkeeper.log=blah=foo".to_owned(), "oxkeeper.log: \"foo\" is not a log level"),
        (
            "clientPort=0\noxkeeper.log=warning".to_owned(),
            "oxkeeper.log: \"warning\" is not a log level (did you mean warn?)",
        ),
        ("clientPort=0\ntickTime=0".to_owned(), "zoo.cfg:5: tickTime must be greater than 0"),
        (
            "clientPort=0\nquorum.auth.enableSasl=true".to_owned(),
            "quorum.auth.enableSasl: oxkeeper does not support SASL between servers",
        ),
        (
            "clientPort=0\nmetricsProvider.className=org.example.NoSuch".to_owned(),
            "metricsProvider.className: \"org.example.NoSuch\" is not one of ZooKeeper's metrics providers",
        ),
    ];
    for (lines, expected) in cases {
        let file = write(dir.path(), &lines);
        let (checked, served) =
            (oxkeeper(&["config", "check"], &file, ""), oxkeeper(&["serve", "--config"], &file, ""));
        assert_eq!((checked.status.code(), served.status.code()), (WRONG, WRONG), "{lines}\n{served:?}");
        let (said, refused) = (String::from_utf8(checked.stdout).unwrap(), String::from_utf8(served.stderr).unwrap());
        let (_, said) = said.split_once("No server starts with this file:\n").unwrap_or_else(|| panic!("{said}"));
        assert!(said.contains(expected), "{lines}\n{said}");
        let last = said.lines().last().unwrap();
        assert!(refused.contains(last) && said.lines().count() == 1, "{said}\n{refused}");
        assert!(!dir.path().join("data").join("tree.redb").exists());
    }
}

#[test]
fn what_starts_is_told_with_what_to_beware_of() {
    let dir = tempfile::tempdir().unwrap();
    let checked = |lines: &str, flags: &str| {
        let audit = format!("audit.enable=true\noxkeeper.audit.file={}/audit.log", dir.path().display());
        let file = write(dir.path(), &format!("clientPort=0\n{audit}\n{lines}"));
        let output = oxkeeper(&["config", "check"], &file, flags);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        assert!(!dir.path().join("audit.log").exists(), "a check makes no files");
        text + &String::from_utf8(output.stderr).unwrap()
    };
    let plain = checked("oxkeeper.log=warn,oxkeeper_server=debug", "");
    assert!(plain.contains("OK. Ports and the data directory were not checked."), "{plain}");
    assert!(!plain.contains("warning: ") && !plain.contains("note: "), "{plain}");
    let sasl = "authProvider.sasl=org.apache.zookeeper.server.auth.SASLAuthenticationProvider";
    for (lines, key) in [(sasl, "authProvider.sasl"), ("superUser=eve", "superUser")] {
        let warned = checked(lines, "");
        assert!(
            warned.contains(&format!("warning: {key} is set, but no client can authenticate with SASL")),
            "{warned}"
        );
    }
    std::fs::create_dir_all(dir.path().join("data")).unwrap();
    std::fs::write(dir.path().join("data/myid"), "0").unwrap();
    let member = "initLimit=5\nsyncLimit=2\nreconfigEnabled=true\nserver.0=0.0.0.0:1:2\nserver.1=127.0.0.2:1:2\nserver.2=[::]:1:2";
    let warned = checked(member, "");
    for expected in
        ["server.0=0.0.0.0:1 is where this server listens", "server.2=[::]:1 is not an address to connect to"]
    {
        assert!(warned.contains(&format!("warning: {expected}")), "{warned}");
    }
    let unified = checked("client.portUnification=true", "");
    assert!(unified.contains("warning: client.portUnification=true has no effect"), "{unified}");
    let jaas = dir.path().join("jaas.conf");
    let module = "org.apache.zookeeper.server.auth.DigestLoginModule";
    std::fs::write(&jaas, format!("Server {{ {module} required user_eve=\"secret\"; }};")).unwrap();
    let flags = format!("-Djava.security.auth.login.config={}", jaas.display());
    assert!(!checked(sasl, &flags).contains("warning: "));
    let elsewhere = format!("{flags} -Dzookeeper.sasl.serverconfig=Other");
    assert!(checked(sasl, &elsewhere).contains("the JAAS file has no such section"));
    let foreign = dir.path().join("data/version-2");
    std::fs::create_dir_all(&foreign).unwrap();
    std::fs::write(foreign.join("snapshot.0"), "").unwrap();
    assert!(checked("", "").contains("note: "));
}

/// OXKEEPER_LOG overrides the key, but does not hide a mistake in it.
#[test]
fn a_wrong_log_variable_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "clientPort=0\noxkeeper.log=info");
    for words in [["config", "check"], ["serve", "--config"]] {
        let run = |variable: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_oxkeeper"));
            command.args(words).arg(&file).env("OXKEEPER_LOG", variable).output().unwrap()
        };
        let output = run("warning");
        let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), WRONG, "{said}");
        assert!(said.contains("OXKEEPER_LOG: \"warning\" is not a log level (did you mean warn?)"), "{said}");
    }
    let broken = write(dir.path(), "clientPort=0\noxkeeper.log=loud");
    let output = Command::new(env!("CARGO_BIN_EXE_oxkeeper"))
        .args(["config", "check"])
        .arg(broken)
        .env("OXKEEPER_LOG", "info")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), WRONG, "{output:?}");
}

#[test]
fn a_check_fits_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let file =
        write(dir.path(), "clientPort=0\ntickTme=2000\nforceSync=no\nglobalOutstandingLimit=1000\nserver.1=a:1:2");
    let output = oxkeeper(&["config", "check"], &file, "-Dzookeeper.snapCount=5 -Dsome.other=1");
    let text = String::from_utf8(output.stdout).unwrap();
    let table = text.split("warning: ").next().unwrap();
    assert!(table.contains("unknown    tickTme=2000\n"), "{text}");
    for line in table.lines().filter(|line| !line.contains('=')) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn a_strict_check_allows_no_warning() {
    let dir = tempfile::tempdir().unwrap();
    let code = |lines: &str| {
        let file = write(dir.path(), &format!("clientPort=0\n{lines}"));
        let (usual, strict) =
            (oxkeeper(&["config", "check"], &file, ""), oxkeeper(&["config", "check", "--strict"], &file, ""));
        assert_eq!(usual.status.code(), Some(0), "{usual:?}");
        strict.status.code()
    };
    assert_eq!(code("tickTime=2000\nautopurge.purgeInterval=1"), Some(0));
    for lines in ["tickTme=2000", "forceSync=no", "jute.maxbuffer=4194304", "snapCount=many", "fips-mode=true"] {
        assert_eq!(code(lines), WRONG, "{lines}");
    }
}
