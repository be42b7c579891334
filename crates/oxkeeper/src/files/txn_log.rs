//! `oxkeeper txn-log`: prints a transaction log of Apache ZooKeeper even if checksums in it are wrong, and
//! writes a copy with correct checksums, or one that ends at a zxid.
//!
//! Source of options, texts, names of files and exit codes: `TxnLogToolkit`, `LogChopper`.

use std::fs::File;
use std::io::{self, BufRead, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::Args;
use oxkeeper_zkfiles::log::{End, RawRecord, Reader};
use oxkeeper_zkfiles::open;

use super::dump::text_transaction;

/// Exit code for a file that is not a transaction log.
// ZooKeeper: ExitCode.INVALID_INVOCATION
const EXIT_CODE_FOREIGN: u8 = 2;
const MAGIC: &[u8] = b"ZKLG";
const VERSION: i32 = 2;
/// Bytes before a record's transaction: checksum and length.
const PREFIX_LEN: u64 = 12;

/// Options of `oxkeeper txn-log`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  oxkeeper txn-log --dump /var/lib/zookeeper/version-2/log.1
  oxkeeper txn-log --chop --zxid 0x500000123 version-2/log.500000001")]
pub(crate) struct TxnLogArgs {
    /// The transaction log, a log.* of Apache ZooKeeper
    file: PathBuf,
    /// Print all transactions; this is also the default
    #[arg(short, long)]
    dump: bool,
    /// Write FILE.fixed with corrected checksums
    #[arg(short, long)]
    recover: bool,
    /// With --recover, print all transactions, not only the damaged ones
    #[arg(short, long)]
    verbose: bool,
    /// Correct checksums without asking
    #[arg(short, long)]
    yes: bool,
    /// Write FILE.choppedZXID, a copy that ends at --zxid
    #[arg(short, long, requires = "zxid")]
    chop: bool,
    /// The last transaction to keep, in decimal or as 0x…
    #[arg(short, long, value_parser = parse_zxid)]
    zxid: Option<i64>,
}

/// Parses a number like Java's `Long.decode`, without octal numbers.
fn parse_zxid(text: &str) -> Result<i64, String> {
    let hex = ["0x", "0X", "#"].iter().find_map(|prefix| text.strip_prefix(prefix));
    let parsed = hex.map_or_else(|| text.parse(), |hex| i64::from_str_radix(hex, 16));
    parsed.map_err(|error| error.to_string())
}

/// Runs the command.
pub(crate) fn txn_log(args: &TxnLogArgs) -> anyhow::Result<ExitCode> {
    let file = &args.file;
    let Ok(log) = open(file, |_| {}) else { bail!("File doesn't exist or not readable: {}", file.display()) };
    if !has_magic(file)? {
        eprintln!("Invalid magic number for {}", file.display());
        return Ok(EXIT_CODE_FOREIGN.into());
    }
    let reader = Reader::new(log).map_err(|problem| problem.of(file))?;
    let mut out = BufWriter::new(io::stdout().lock());
    let dbid = reader.dbid();
    writeln!(out, "ZooKeeper Transactional Log File with dbid {dbid} txnlog format version {VERSION}")?;
    let mut tool = Tool { args, reader, dbid, out };
    let done = match args.zxid.filter(|_| args.chop) {
        Some(zxid) => tool.chop(zxid),
        None if args.recover => tool.recover(),
        None => tool.dump(),
    };
    tool.out.flush()?;
    done
}

fn has_magic(file: &Path) -> anyhow::Result<bool> {
    let mut magic = [0; MAGIC.len()];
    let read = File::open(file).and_then(|mut opened| io::Read::read_exact(&mut opened, &mut magic));
    read.with_context(|| file.display().to_string())?;
    Ok(magic == MAGIC)
}

/// State of one run of the command.
struct Tool<'a, R, W> {
    args: &'a TxnLogArgs,
    reader: Reader<R>,
    dbid: i64,
    out: W,
}

/// Answer to the question whether to correct a wrong checksum.
enum Answer {
    Yes,
    No,
    Abort,
}

impl<R: io::Read, W: Write> Tool<'_, R, W> {
    fn next(&mut self) -> anyhow::Result<Option<RawRecord>> {
        self.reader.next_raw().map_err(|problem| problem.of(&self.args.file).into())
    }

    fn text(&self, record: &RawRecord) -> anyhow::Result<String> {
        let transaction = record.transaction().map_err(|problem| problem.of(&self.args.file))?;
        Ok(text_transaction(&transaction))
    }

    fn dump(&mut self) -> anyhow::Result<ExitCode> {
        let mut count = 0;
        while let Some(record) = self.next()? {
            count += 1;
            let text = self.text(&record)?;
            if record.checksum != i64::from(record.computed()) {
                writeln!(self.out, "CRC ERROR - {text}")?;
            }
            writeln!(self.out, "{text}")?;
        }
        self.tell_end(count)
    }

    /// Prints the end of the log. Returns a failure if the last record lacks only its end mark.
    fn tell_end(&mut self, count: usize) -> anyhow::Result<ExitCode> {
        if self.is_partial()? {
            self.out.flush()?;
            eprintln!("Last transaction was partial.");
            return Ok(ExitCode::FAILURE);
        }
        writeln!(self.out, "EOF reached after {count} txns.")?;
        Ok(ExitCode::SUCCESS)
    }

    /// Returns whether the last record fits in the file but has no end mark. A record that the end of the
    /// file truncates just ends the log.
    fn is_partial(&self) -> anyhow::Result<bool> {
        let Some(End::Torn { offset }) = self.reader.end() else { return Ok(false) };
        let file = File::open(&self.args.file)?;
        let mut prefix = [0; PREFIX_LEN as usize];
        let read = std::os::unix::fs::FileExt::read_exact_at(&file, &mut prefix, offset);
        let len = i32::from_be_bytes([prefix[8], prefix[9], prefix[10], prefix[11]]);
        let end = u64::try_from(len).ok().map(|len| offset + PREFIX_LEN + len + 1);
        Ok(read.is_ok() && end.is_some_and(|end| file.metadata().is_ok_and(|file| end <= file.len())))
    }

    fn recover(&mut self) -> anyhow::Result<ExitCode> {
        let (path, mut copy) = self.begin_copy(".fixed")?;
        let (mut count, mut fixed) = (0, 0);
        while let Some(record) = self.next()? {
            count += 1;
            let (text, computed) = (self.text(&record)?, i64::from(record.computed()));
            let mut checksum = record.checksum;
            if checksum != computed {
                match self.judge(&text)? {
                    Answer::Yes => {
                        fixed += 1;
                        checksum = computed;
                    }
                    Answer::No => {}
                    Answer::Abort => {
                        self.out.flush()?;
                        eprintln!("Recovery aborted.");
                        return Ok(ExitCode::SUCCESS);
                    }
                }
            }
            if self.args.verbose {
                writeln!(self.out, "{text}")?;
            }
            put(&mut copy, &record, checksum)?;
        }
        let code = self.tell_end(count)?;
        finish(copy)?;
        if code == ExitCode::SUCCESS {
            let path = path.display();
            writeln!(self.out, "Recovery file {path} has been written with {fixed} fixed CRC error(s)")?;
        }
        Ok(code)
    }

    fn judge(&mut self, text: &str) -> anyhow::Result<Answer> {
        if self.args.yes {
            writeln!(self.out, "CRC FIXED - {text}")?;
            return Ok(Answer::Yes);
        }
        writeln!(self.out, "CRC ERROR - {text}")?;
        loop {
            write!(self.out, "Would you like to fix it (Yes/No/Abort) ? ")?;
            self.out.flush()?;
            let mut answer = String::new();
            ensure!(io::stdin().lock().read_line(&mut answer)? > 0, "no answer: --yes fixes all without asking");
            match answer.trim().chars().next().map(|first| first.to_ascii_lowercase()) {
                Some('y') => return Ok(Answer::Yes),
                Some('n') => return Ok(Answer::No),
                Some('a') => return Ok(Answer::Abort),
                Some(_) | None => {}
            }
        }
    }

    // ZooKeeper: it also reports a log without such a transaction, but with exit code 0.
    fn chop(&mut self, zxid: i64) -> anyhow::Result<ExitCode> {
        let (_, mut copy) = self.begin_copy(&format!(".chopped{zxid}"))?;
        let mut count = 0;
        while let Some(record) = self.next()? {
            let (computed, transaction) = (record.computed(), record.transaction());
            ensure!(
                record.checksum == i64::from(computed),
                "Got exception: CRC doesn't match {} vs {computed}",
                record.checksum
            );
            let found = transaction.map_err(|problem| problem.of(&self.args.file))?.zxid;
            if found > zxid {
                break;
            }
            count += 1;
            put(&mut copy, &record, record.checksum)?;
            if found == zxid {
                finish(copy)?;
                writeln!(self.out, "Chopping at {zxid} new log has {count} records")?;
                return Ok(ExitCode::SUCCESS);
            }
        }
        finish(copy)?;
        bail!("Got exception: Failed to chop {}: it has no transaction {zxid:#x}", self.args.file.display())
    }

    /// Creates a file beside the log, with the log's header.
    fn begin_copy(&self, suffix: &str) -> anyhow::Result<(PathBuf, BufWriter<File>)> {
        let mut name = self.args.file.clone().into_os_string();
        name.push(suffix);
        let path = PathBuf::from(name);
        let created = File::create_new(&path);
        let created =
            created.with_context(|| format!("Recovery file {} already exists or not writable", path.display()));
        let mut copy = BufWriter::new(created?);
        copy.write_all(MAGIC)?;
        copy.write_all(&VERSION.to_be_bytes())?;
        copy.write_all(&self.dbid.to_be_bytes())?;
        Ok((path, copy))
    }
}

fn put(copy: &mut impl Write, record: &RawRecord, checksum: i64) -> io::Result<()> {
    let mut bytes = Vec::new();
    record.encode(checksum, &mut bytes);
    copy.write_all(&bytes)
}

fn finish(copy: BufWriter<File>) -> anyhow::Result<()> {
    copy.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zxids_are_read_as_java_decodes_them() {
        assert_eq!(parse_zxid("17"), Ok(17));
        assert_eq!(parse_zxid("0x100000001"), Ok(0x1_0000_0001));
        assert!(parse_zxid("abc").is_err() && parse_zxid("").is_err());
    }
}
