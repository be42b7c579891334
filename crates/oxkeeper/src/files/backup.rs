//! `oxkeeper backup`: takes and verifies a snapshot of a running server through its admin server, and removes old ones.
//!
//! The server sends the state at one log entry, so a backup from any server of an ensemble is one of the
//! whole ensemble. Invariant: a file with a final name is complete and its checksum is correct.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use oxkeeper_tls::SecureSocket;
use oxkeeper_zkfiles::snapshot::{Item, Reader};
use oxkeeper_zkfiles::{dir, export, open};

use super::bar::{Unit, bar, spinner};
use crate::tls::TlsArgs;

/// Time of silence after which the server counts as gone; it takes a checkpoint before it sends anything.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// Time limit for a handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Maximal length of one header line, bytes.
const LINE_LEN_MAX: u64 = 8 << 10;
/// Maximal number of header lines.
const LINES_MAX: usize = 100;
/// Maximal bytes of an explanation that are shown.
const REASON_LEN_MAX: u64 = 4 << 10;
/// Bytes processed at once.
const BUFFER_LEN: usize = 256 << 10;
const PREFIX: &str = "snapshot.";

/// Options of `oxkeeper backup`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  OXKEEPER_AUTH='digest super:password' oxkeeper backup --out /backups
  oxkeeper backup --server zoo1:8080 --out /backups --keep 30")]
pub(crate) struct BackupArgs {
    /// The admin server (admin.serverPort) of a server, or of any member of an ensemble
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    server: String,
    /// Directory for backups; each is a file snapshot.ZXID
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of backups to keep; older ones are removed once the new one is verified. 0 keeps all
    #[arg(long, value_name = "COUNT", default_value_t = 7)]
    keep: usize,
    /// Identity, as `digest user:password`, with all permissions on /. Other users can see arguments: prefer OXKEEPER_AUTH
    #[arg(long, value_name = "SCHEME ID")]
    auth: Option<String>,
    /// Path of the commands (admin.commandURL)
    #[arg(long, value_name = "PATH", default_value = "/commands")]
    command_url: String,
    #[command(flatten)]
    tls: TlsArgs,
}

/// The server's answer: its header fields, and the connection with the snapshot.
struct Answer {
    zxid: i64,
    len: Option<u64>,
    body: BufReader<Link>,
}

/// A connection to the server.
enum Link {
    Plain(TcpStream),
    Secure(Box<SecureSocket>, TcpStream),
}

impl Link {
    fn dial(server: &str, tls: &TlsArgs) -> anyhow::Result<Link> {
        let stream = TcpStream::connect(server).with_context(|| {
            format!("no HTTP for administrators on {server}: see admin.serverPort, admin.enableServer")
        })?;
        let Some(tls) = tls.load()? else {
            stream.set_read_timeout(Some(SILENCE_MAX))?;
            return Ok(Link::Plain(stream));
        };
        let host = server.rsplit_once(':').map_or(server, |(host, _)| host).trim_matches(['[', ']']);
        let host = tls.name.as_deref().unwrap_or(host);
        let secure = SecureSocket::dial(tls.live.client(), host, &stream, Instant::now() + HANDSHAKE_MAX)
            .with_context(|| format!("no HTTPS on {server}: see admin.forceHttps, admin.portUnification"))?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        Ok(Link::Secure(Box::new(secure), stream))
    }
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Link::Plain(stream) => stream.read(buffer),
            // Part of a record yields no bytes yet.
            Link::Secure(secure, stream) => loop {
                match secure.read(stream, buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    read => return read,
                }
            },
        }
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Link::Plain(stream) => stream.write(bytes),
            Link::Secure(secure, stream) => secure.write(stream, bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Link::Plain(stream) => stream.flush(),
            Link::Secure(secure, stream) => secure.flush(stream),
        }
    }
}

/// Takes a backup.
pub(crate) fn backup(args: &BackupArgs) -> anyhow::Result<ExitCode> {
    let begin = Instant::now();
    fs::create_dir_all(&args.out).with_context(|| format!("cannot create {}", args.out.display()))?;
    // The server takes a checkpoint before it answers.
    let waiting = spinner("waiting");
    let answer = ask(args);
    waiting.finish_and_clear();
    let mut answer = answer?;
    let unfinished = args.out.join("unfinished");
    let received = receive(&mut answer, &unfinished).and_then(|()| verify(&unfinished));
    let (znodes, sessions) = match received {
        Ok(counts) => counts,
        Err(problem) => {
            let _ = fs::remove_file(&unfinished);
            return Err(problem);
        }
    };
    let path = args.out.join(export::file_name(answer.zxid));
    fs::rename(&unfinished, &path).with_context(|| format!("cannot name {}", path.display()))?;
    File::open(&args.out)?.sync_all().with_context(|| format!("cannot sync {}", args.out.display()))?;
    let removed = purge(&args.out, args.keep)?;
    let seconds = begin.elapsed().as_secs_f64();
    say!("{}: {znodes} znodes, {sessions} sessions, verified, in {seconds:.1} s", path.display());
    removed.iter().for_each(|path| say!("removed {}", path.display()));
    Ok(ExitCode::SUCCESS)
}

/// Sends the request in HTTP 1.0, so that the answer is only a header and the file.
fn ask(args: &BackupArgs) -> anyhow::Result<Answer> {
    let server = args.server.strip_prefix("http://").unwrap_or(&args.server).trim_end_matches('/');
    let mut connection = Link::dial(server, &args.tls)?;
    let auth = args.auth.clone().or_else(|| std::env::var("OXKEEPER_AUTH").ok()).unwrap_or_default();
    ensure!(!auth.contains(['\r', '\n']), "an authorization is one line");
    let url = args.command_url.trim_end_matches('/');
    let authorization = if auth.is_empty() { String::new() } else { format!("Authorization: {auth}\r\n") };
    let request = format!("GET {url}/snapshot?streaming=true HTTP/1.0\r\nHost: {server}\r\n{authorization}\r\n");
    connection.write_all(request.as_bytes()).context("the server cannot be asked")?;
    connection.flush().context("the server cannot be asked")?;
    let mut body = BufReader::with_capacity(BUFFER_LEN, connection);
    let status = line(&mut body)?;
    let (mut zxid, mut len) = (None, None);
    for _ in 0..LINES_MAX {
        let header = line(&mut body)?;
        let Some((name, value)) = header.split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "last_zxid" => zxid = i64::from_str_radix(value.trim().trim_start_matches("0x"), 16).ok(),
            "snapshot_size" => len = value.trim().parse().ok(),
            _ => {}
        }
    }
    match zxid {
        Some(zxid) if status.split(' ').nth(1) == Some("200") => Ok(Answer { zxid, len, body }),
        _ => {
            let mut reason = Vec::new();
            let _ = body.take(REASON_LEN_MAX).read_to_end(&mut reason);
            bail!("{server} sends no snapshot: {status}\n{}", String::from_utf8_lossy(&reason).trim());
        }
    }
}

fn line(input: &mut impl BufRead) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    input.take(LINE_LEN_MAX).read_until(b'\n', &mut bytes).context("the server does not answer")?;
    ensure!(bytes.ends_with(b"\n"), "the server's answer is not HTTP");
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

fn receive(answer: &mut Answer, path: &Path) -> anyhow::Result<()> {
    let mut file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let progress = bar("receiving", answer.len.unwrap_or(0), Unit::Bytes);
    let mut buffer = vec![0; BUFFER_LEN];
    let mut received = 0;
    loop {
        let count = answer.body.read(&mut buffer).context("the server stopped sending")?;
        if count == 0 {
            break;
        }
        file.write_all(&buffer[..count]).with_context(|| format!("cannot write {}", path.display()))?;
        received += count as u64;
        progress.set_position(received);
    }
    progress.finish_and_clear();
    if let Some(len) = answer.len {
        ensure!(received == len, "the server sent {received} of {len} bytes: it was cut off");
    }
    file.sync_all().with_context(|| format!("cannot sync {}", path.display()))
}

/// Reads the whole file to check its checksum and its end. Returns the numbers of znodes and sessions.
fn verify(path: &Path) -> anyhow::Result<(u64, u64)> {
    let progress = bar("verifying", path.metadata()?.len(), Unit::Bytes);
    let shown = progress.clone();
    let mut reader = Reader::new(open(path, move |count| shown.inc(count))?).map_err(|problem| problem.of(path))?;
    let (mut znodes, mut sessions) = (0, 0);
    while let Some(item) = reader.next().map_err(|problem| problem.of(path))? {
        match item {
            Item::Znode(_) => znodes += 1,
            Item::Session { .. } => sessions += 1,
            Item::Acl { .. } | Item::End(_) => {}
        }
    }
    progress.finish_and_clear();
    Ok((znodes, sessions))
}

/// Removes all backups except the newest `keep`. Returns the removed files.
fn purge(out: &Path, keep: usize) -> anyhow::Result<Vec<PathBuf>> {
    let mut backups = Vec::new();
    for entry in out.read_dir()? {
        let entry = entry?;
        if let Some(zxid) = entry.file_name().to_str().and_then(|name| dir::zxid_of(name, PREFIX)) {
            backups.push((zxid, entry.path()));
        }
    }
    backups.sort();
    let excess = if keep == 0 { 0 } else { backups.len().saturating_sub(keep) };
    let removed: Vec<PathBuf> = backups.into_iter().take(excess).map(|(_, path)| path).collect();
    for path in &removed {
        fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_backups_go() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        for name in ["snapshot.9", "snapshot.10", "snapshot.100000000", "other", "snapshot.a.gz"] {
            fs::write(dir.path().join(name), [])?;
        }
        assert!(purge(dir.path(), 0)?.is_empty());
        assert!(purge(dir.path(), 4)?.is_empty());
        assert_eq!(purge(dir.path(), 2)?, [dir.path().join("snapshot.9"), dir.path().join("snapshot.a.gz")]);
        assert!(dir.path().join("other").exists());
        Ok(())
    }
}
