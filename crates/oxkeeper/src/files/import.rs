//! `oxkeeper import`: what Apache ZooKeeper has on disk becomes a server's data. `oxkeeper restore`: a backup does.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;
use clap::{Args, ValueEnum};
use oxkeeper_proto::Zxid;
use oxkeeper_server::offline::Plot;
use oxkeeper_state::State;
use oxkeeper_state::import::Kept;
use oxkeeper_zkfiles::dir::{self, Found, Loaded, Options};
use oxkeeper_zkfiles::export::fingerprint;

use super::{Place, PlaceArgs, Unit, bar, ensure_dir, seed};

/// What to import, and where to.
#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// Apache ZooKeeper's dataDir, or the version-2 in it; left out, the dataDir of --config
    #[arg(value_name = "ZOOKEEPER_DATA_DIR", required_unless_present = "config")]
    source: Option<PathBuf>,
    /// Apache ZooKeeper's dataLogDir, if it is another directory
    #[arg(long, value_name = "DIR")]
    data_log_dir: Option<PathBuf>,
    /// Damage in the last transaction log ends it there, instead of ending the import: what is behind is lost
    #[arg(long)]
    stop_at_damage: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// What to restore, and where to.
#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    /// A backup: a snapshot file of ours or of Apache ZooKeeper
    file: PathBuf,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Args, Debug)]
struct TargetArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// With --data-dir: the directory is that of a member of an ensemble. (A zoo.cfg says so itself)
    #[arg(long, conflicts_with = "config")]
    for_ensemble: bool,
    /// Sessions and their ephemeral znodes: kept, so that clients go on with them, or left out
    #[arg(long, value_enum, default_value_t)]
    sessions: Sessions,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Sessions {
    #[default]
    Keep,
    Drop,
}

/// Imports a data directory.
pub(crate) fn import(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let place = args.target.place()?;
    let source = args.source.as_ref().unwrap_or(&place.data_dir).clone();
    ensure_dir(&source)?;
    let logs = match (&args.data_log_dir, &args.source) {
        (Some(dir), _) => dir.clone(),
        (None, Some(_)) => source.clone(),
        (None, None) => place.data_log_dir.clone(),
    };
    ensure_dir(&logs)?;
    let options = Options { seed: seed()?, stop_at_damage: args.stop_at_damage };
    take_over(&args.target, place, |progress| dir::load(&source, &logs, options, progress))
}

/// Restores a backup.
pub(crate) fn restore(args: &RestoreArgs) -> anyhow::Result<ExitCode> {
    let seed = seed()?;
    if args.file.is_dir() {
        bail!("{} is a directory: `oxkeeper import` reads those; a backup is one file", args.file.display());
    }
    let place = args.target.place()?;
    take_over(&args.target, place, |progress| dir::load_file(&args.file, seed, progress))
}

impl TargetArgs {
    fn place(&self) -> anyhow::Result<Place> {
        let place = self.place.place()?;
        Ok(Place { is_member: place.is_member || self.for_ensemble, ..place })
    }
}

type Told = Box<dyn FnMut(dir::Progress)>;

fn take_over(
    target: &TargetArgs,
    place: Place,
    load: impl FnOnce(Told) -> Result<Loaded, oxkeeper_zkfiles::FileError>,
) -> anyhow::Result<ExitCode> {
    let begin = Instant::now();
    let plot = Plot::take(&place.data_dir, &place.data_log_dir)?;
    let reading = bar("reading", 0, Unit::Bytes);
    let shown = reading.clone();
    let loaded = load(Box::new(move |progress| {
        shown.set_length(progress.total);
        shown.set_position(progress.read);
    }));
    reading.finish_and_clear();
    let Loaded { importing, zxid, found } = match loaded {
        Ok(loaded) => loaded,
        Err(problem) => {
            plot.abandon();
            bail!(problem);
        }
    };
    let (mut state, kept) = importing.finish(zxid, target.sessions == Sessions::Keep);
    let ensemble = place.is_member.then(|| fingerprint(&state));
    match ensemble {
        Some(id) => state.dedicate(id),
        None => {
            if !state.leave_epoch(Zxid(0)) {
                plot.abandon();
                bail!("zxid {zxid:#x} is of the last epoch there is: no server goes on from it");
            }
        }
    }
    let writing = bar("writing", state.tree().len() as u64, Unit::Znodes);
    plot.plant(&mut state, |count| writing.set_position(count as u64))?;
    writing.finish_and_clear();
    tell(&found, &kept, &state, zxid, begin, &place.data_dir);
    if let Some(id) = ensemble {
        say!(
            "For an ensemble: do the same on each of its servers, from a copy of the same files. All must say {id:016x};\n\
             servers that say something else are refused by the others. Then start all of them."
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(found: &Found, kept: &Kept, state: &State, zxid: i64, begin: Instant, data_dir: &Path) {
    found.notes.iter().for_each(|note| eprintln!("oxkeeper: note: {note}"));
    if found.digest_matches == Some(false) {
        eprintln!(
            "oxkeeper: note: the tree differs from the one whose digest Apache ZooKeeper wrote down last. Compare what matters\n\
             to you before you switch over; a server of ZooKeeper that starts from these files would log the same"
        );
    }
    say!("{}, zxid {:#x}", found.snapshot.display(), found.snapshot_zxid);
    say!("  and {} transactions of {} logs, up to {zxid:#x}", found.transactions, found.logs);
    let digest = match found.digest_matches {
        Some(true) => "the tree digest is the one Apache ZooKeeper wrote down",
        Some(false) => "the tree digest DIFFERS from the one Apache ZooKeeper wrote down",
        None => "no tree digest to compare with",
    };
    say!("  {} znodes; {digest}", state.tree().len());
    say!(
        "  {} sessions with {} ephemeral znodes; left out: {} sessions, {} ephemeral znodes",
        kept.sessions,
        kept.ephemerals,
        kept.sessions_dropped,
        kept.ephemerals_dropped
    );
    say!("  written to {} in {:.1} s", data_dir.display(), begin.elapsed().as_secs_f64());
}
