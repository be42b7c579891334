//! `oxkeeper export`: writes the data of a stopped server as a directory from which Apache ZooKeeper can start.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use oxkeeper_durable::offline;
use oxkeeper_state::State;
use oxkeeper_zkfiles::{Compression, export as zk};

use super::bar::{Unit, bar, spinner};
use super::place::{PlaceArgs, seed};

/// Options of `oxkeeper export`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  oxkeeper export --config zoo.cfg --out /var/lib/zookeeper
  oxkeeper export --data-dir ./oxkeeper-data --out ./zk --compress gz")]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Directory to write into, a dataDir for Apache ZooKeeper; created if it is missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Form of the files
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Compression of the snapshot
    #[arg(long, value_enum, default_value_t)]
    compress: Compress,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// A dataDir of Apache ZooKeeper 3.8 or 3.9
    #[default]
    Zookeeper,
}

/// Storage form of a snapshot.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Compress {
    /// No compression
    #[default]
    None,
    /// As zookeeper.snapshot.compression.method=gz writes it
    Gz,
    /// As zookeeper.snapshot.compression.method=snappy writes it
    Snappy,
}

impl From<Compress> for Compression {
    fn from(compress: Compress) -> Compression {
        match compress {
            Compress::None => Compression::None,
            Compress::Gz => Compression::Gzip,
            Compress::Snappy => Compression::Snappy,
        }
    }
}

/// Exports the data.
pub(crate) fn export(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let Format::Zookeeper = args.format;
    let begin = Instant::now();
    let place = args.place.place()?;
    let reading = spinner("reading");
    let found = offline::read(&place.data_dir, &place.data_log_dir, seed()?);
    reading.finish_and_clear();
    let found = found?;
    if found.undecided > 0 {
        eprintln!(
            "oxkeeper: note: the last {} log entries of this member are not known to be decided and are left out. If clients may\n\
             have been told of them, take a backup of the running ensemble instead (`oxkeeper backup`)",
            found.undecided
        );
    }
    let dir = args.out.join("version-2");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    refuse_other_data(&dir)?;
    let path = write(&found.state, &dir, args.compress.into())?;
    let (znodes, sessions) = (found.state.tree().len(), found.state.sessions().len());
    say!("{}: {znodes} znodes, {sessions} sessions, in {:.1} s", path.display(), begin.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

/// Refuses a directory that has other data of ZooKeeper, which would mix it with ours.
fn refuse_other_data(dir: &Path) -> anyhow::Result<()> {
    for entry in dir.read_dir()? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let belongs = ["snapshot.", "log.", "acceptedEpoch", "currentEpoch"].iter().any(|kind| name.starts_with(kind));
        ensure!(!belongs, "{} has {name} already: export into an empty directory", dir.display());
    }
    Ok(())
}

/// Writes the snapshot and reads it back, so that the final file is known to be intact.
fn write(state: &State, dir: &Path, compression: Compression) -> anyhow::Result<PathBuf> {
    let path = dir.join(zk::file_name(state.zxid().0) + compression.suffix());
    let unfinished = dir.join("unfinished");
    let file = File::create(&unfinished).with_context(|| format!("cannot create {}", unfinished.display()))?;
    let writing = bar("writing", state.tree().len() as u64, Unit::Znodes);
    let written =
        compression.wrap(file, |out| zk::write_state(state, out, |count| writing.set_position(count as u64)).map(drop));
    let synced = written.and_then(|((), file)| file.sync_all());
    writing.finish_and_clear();
    if let Err(problem) = synced {
        let _ = fs::remove_file(&unfinished);
        bail!("cannot write {}: {problem}", path.display());
    }
    fs::rename(&unfinished, &path).with_context(|| format!("cannot name {}", path.display()))?;
    File::open(dir).and_then(|dir| dir.sync_all()).with_context(|| format!("cannot sync {}", dir.display()))?;
    Ok(path)
}
