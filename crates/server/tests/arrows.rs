//! Checks dependencies: which crate may use which, and which module of this crate may import which.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};

/// Crates, each with those that it may use.
const CRATES: [(&str, &[&str]); 12] = [
    ("proto", &[]),
    ("state", &["proto"]),
    ("store", &[]),
    ("tls", &[]),
    ("zkfiles", &["proto", "state"]),
    ("replica", &["proto", "state"]),
    ("config", &["proto", "state", "replica", "tls"]),
    ("durable", &["proto", "state", "store", "replica"]),
    ("client", &["proto", "tls"]),
    ("sim", &["proto", "state", "store", "replica", "durable"]),
    ("server", &["proto", "state", "store", "tls", "zkfiles", "replica", "durable", "config"]),
    ("oxkeeper", &["proto", "state", "store", "tls", "zkfiles", "durable", "client", "sim", "config", "server"]),
];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn a_crate_uses_only_those_it_may() {
    let mut found: Vec<String> =
        fs::read_dir(crates()).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    let mut known: Vec<String> = CRATES.iter().map(|(name, _)| (*name).to_owned()).collect();
    found.sort();
    known.sort();
    assert_eq!(found, known);
    for (name, may) in CRATES {
        let manifest = fs::read_to_string(crates().join(name).join("Cargo.toml")).unwrap();
        let own = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
        let own = own.take_while(|line| !line.starts_with('['));
        for used in own.filter_map(|line| line.strip_prefix("oxkeeper-")) {
            let used = used.split(|it: char| !it.is_alphanumeric()).next().unwrap();
            assert!(may.contains(&used), "{name} must not use {used}");
        }
    }
}

#[test]
fn a_folder_imports_only_from_those_above_it() {
    let src = crates().join("server/src");
    let lib = fs::read_to_string(src.join("lib.rs")).unwrap();
    let order: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    let mut wrong = Vec::new();
    for (place, room) in order.iter().enumerate() {
        let mut files = Vec::new();
        let (folder, file) = (src.join(room), src.join(format!("{room}.rs")));
        if file.exists() {
            files.push(file)
        } else {
            sources(&folder, &mut files)
        }
        assert!(!files.is_empty(), "{room}");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for used in imported(&text) {
                let known = order.iter().position(|room| *room == used);
                if known.is_some_and(|used| used > place) {
                    wrong.push(format!("{}: {room} imports {used}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these arrows run up:\n{}", wrong.join("\n"));
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
}

/// Returns the names after `crate::`, ignoring comments.
fn imported(text: &str) -> Vec<&str> {
    let code = text.lines().map(|line| line.split("//").next().unwrap());
    let paths = code.flat_map(|line| line.split("crate::").skip(1));
    paths.map(|path| path.split(|it: char| !(it.is_alphanumeric() || it == '_')).next().unwrap()).collect()
}
