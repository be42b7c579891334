//! Rewrites the configuration file when the members change at runtime: `zoo.cfg` points to `zoo.cfg.dynamic.<version>`.
//!
//! Owns the format of both files. Invariant: whenever this server stops, `zoo.cfg` and the file it names are
//! complete: each is written to a temporary file and renamed. The replicated state is authoritative; the
//! files are for the next start, for people, and for ZooKeeper's own tools. Source:
//! `QuorumPeerConfig#writeDynamicConfig`, `#editStaticConfig`, `#backupOldConfig`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use oxkeeper_proto::ServerId;
use oxkeeper_state::membership::{Members, is_wildcard};
use oxkeeper_state::{Membership, properties};

/// Suffix of ZooKeeper's file with a configuration that has been proposed but not agreed on.
const NEXT: &str = ".dynamic.next";

/// A configuration file that this server keeps up to date with its ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    path: PathBuf,
    /// Id of this server.
    me: ServerId,
    /// Members when the file was read.
    known: Members,
}

impl ConfigFile {
    /// Makes the value for the file at `path`, in which server `me` has read these members.
    pub fn new(path: PathBuf, me: ServerId, known: Members) -> ConfigFile {
        ConfigFile { path, me, known }
    }

    /// Writes the members to the dynamic file, and updates the static file. *Errors*: those of the system.
    pub fn write(&self, membership: &Membership) -> io::Result<()> {
        let path = fs::canonicalize(&self.path)?;
        let dynamic = with_suffix(&path, &format!(".dynamic.{:x}", membership.version()));
        replace(&dynamic, self.lines(membership).as_bytes())?;
        let bytes = fs::read(&path)?;
        // ZooKeeper: it rewrites all properties, without order and comments. Here all other lines stay.
        let edited = edited(&bytes, &dynamic, membership.server(self.me).is_some_and(|me| me.client.is_some()))?;
        if edited != bytes {
            replace(&path, &edited)?;
        }
        match fs::remove_file(with_suffix(&path, NEXT)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Makes the text of a dynamic file: sorted lines, without the version and without a line end at the end.
    /// A wildcard is an address to listen on: this server's own line keeps it, and no other line gets it if
    /// the host was known.
    fn lines(&self, membership: &Membership) -> String {
        let mut members = membership.members().clone();
        members.locate_by(&self.known);
        let me = i64::from(self.me.0);
        if let (Some(own), Some(known)) = (members.servers.get_mut(&me), self.known.servers.get(&me))
            && let ([own], [known]) = (&mut own.addresses[..], &known.addresses[..])
            && is_wildcard(&known.host)
        {
            own.host.clone_from(&known.host);
        }
        let text = members.to_string();
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    }

    /// Saves the user's version of the file as `<file>.bak`. *Errors*: those of the system.
    pub fn back_up(&self) -> io::Result<()> {
        replace(&with_suffix(&self.path, ".bak"), &fs::read(&self.path)?)
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Returns the static file without the members, and without the client address if this server's line has one.
fn edited(bytes: &[u8], dynamic: &Path, erase_client: bool) -> io::Result<Vec<u8>> {
    let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
    let text = std::str::from_utf8(bytes).map_err(|error| invalid(error.to_string()))?;
    let read = properties::parse(text).map_err(|error| invalid(error.message))?;
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut gone = vec![false; text.lines().count()];
    for line in read.iter().filter(|line| moves(&line.key, erase_client)) {
        gone[line.number - 1..][..line.lines].fill(true);
    }
    let kept = text.lines().zip(gone).filter(|(_, gone)| !gone).map(|(line, _)| format!("{line}\n"));
    let pointer = format!("dynamicConfigFile={}\n", escaped(dynamic));
    Ok(kept.chain([pointer]).collect::<String>().into_bytes())
}

/// Returns whether a line is moved to the dynamic file, or names that file.
// ZooKeeper: it moves every key that begins with `clientPort`, clientPortListenBacklog too.
fn moves(key: &str, erase_client: bool) -> bool {
    key.starts_with("server.")
        || key.starts_with("group")
        || key.starts_with("weight")
        || key == "dynamicConfigFile"
        || key == "peerType"
        || erase_client && (key == "clientPort" || key == "clientPortAddress")
}

fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "\\\\")
}

/// Replaces the file atomically: after a crash it has either the old or the new bytes.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = with_suffix(path, ".tmp");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(parent(path))?.sync_all()
}

/// Returns the directory that contains `path`: the current one for a relative name without a directory.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBERS: &str = "server.1=a:2888:3888:participant;0.0.0.0:2181\nserver.2=b:2888:3888:observer\n\
        server.10=c:2888:3888:participant\nversion=100000003";

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary directory")
    }

    fn written(me: ServerId, text: &str) -> (String, String) {
        written_by(me, text, "")
    }

    /// Returns the files after a write by a server that once read `known`.
    fn written_by(me: ServerId, text: &str, known: &str) -> (String, String) {
        let dir = directory();
        let path = dir.path().canonicalize().expect("it exists").join("zoo.cfg");
        fs::write(&path, text).expect("a file");
        fs::write(with_suffix(&path, NEXT), "").expect("a file");
        let known = Membership::parse(known, false).expect("legal").members().clone();
        let file = ConfigFile::new(path.clone(), me, known);
        let membership = Membership::parse(MEMBERS, false).expect("legal");
        file.write(&membership).expect("a directory one can write to");
        file.write(&membership).expect("twice is the same");
        let dynamic = with_suffix(&path, ".dynamic.100000003");
        let read = |path: &Path| fs::read_to_string(path).expect("it was written");
        let names: Vec<_> = fs::read_dir(dir.path()).expect("it exists").collect();
        assert_eq!(names.len(), 2, "nothing else is left: {names:?}");
        let pointer = format!("dynamicConfigFile={}\n", dynamic.display());
        (read(&path).strip_suffix(&pointer).expect("the pointer").to_owned(), read(&dynamic))
    }

    #[test]
    fn the_members_move_into_a_file_of_their_own() {
        let text = "# comment\nserver.1=a:\\\n  2888:3888\nclientPort=2181\r\nclientPortListenBacklog=5\n\npeerType=observer\n\
                    dataDir=/d\nserver.2=b:1:2";
        let (fixed, dynamic) = written(ServerId(1), text);
        assert_eq!(fixed, "# comment\nclientPortListenBacklog=5\n\ndataDir=/d\n");
        assert_eq!(
            dynamic,
            "server.10=c:2888:3888:participant\nserver.1=a:2888:3888:participant;0.0.0.0:2181\n\
             server.2=b:2888:3888:observer"
        );
        // A server whose line has no client address keeps its clientPort.
        assert_eq!(written(ServerId(2), "clientPort=2181\ndynamicConfigFile=/x\n").0, "clientPort=2181\n");
    }

    #[test]
    fn a_wildcard_stays_where_one_listens() {
        let known = "server.1=w:2888:3888\nserver.2=[::]:2888:3888\nserver.10=x:1:2";
        let dynamic = written_by(ServerId(2), "clientPort=2181\n", known).1;
        assert_eq!(
            dynamic,
            "server.10=c:2888:3888:participant\nserver.1=a:2888:3888:participant;0.0.0.0:2181\n\
             server.2=[::]:2888:3888:observer"
        );
        let agreed = MEMBERS.replace("=c:", "=0.0.0.0:");
        let file = ConfigFile::new(
            PathBuf::new(),
            ServerId(1),
            Membership::parse(known, false).expect("legal").members().clone(),
        );
        let lines = file.lines(&Membership::parse(&agreed, false).expect("legal"));
        assert!(lines.starts_with("server.10=x:2888:3888:participant\n"), "{lines}");
    }

    #[test]
    fn what_was_there_is_kept_beside_it() {
        let dir = directory();
        let path = dir.path().join("zoo.cfg");
        fs::write(&path, "a=1").expect("a file");
        ConfigFile::new(path, ServerId(1), Members::default()).back_up().expect("a directory one can write to");
        assert_eq!(fs::read(dir.path().join("zoo.cfg.bak")).expect("the copy"), b"a=1");
    }
}
