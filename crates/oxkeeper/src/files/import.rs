//! `oxkeeper import` turns the files of Apache ZooKeeper into a server's data; `oxkeeper restore` does so
//! with a backup.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;
use clap::{Args, ValueEnum};
use oxkeeper_config::Properties;
use oxkeeper_durable::offline::Plot;
use oxkeeper_proto::Zxid;
use oxkeeper_state::State;
use oxkeeper_state::import::Kept;
use oxkeeper_zkfiles::dir::{self, Checked, Found, Loaded, Options};
use oxkeeper_zkfiles::export::fingerprint;

use super::bar::{Unit, bar, spinner};
use super::place::{Place, PlaceArgs, ensure_dir, seed};

/// Options of `oxkeeper import`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  oxkeeper import /var/lib/zookeeper --data-dir /var/lib/oxkeeper
  oxkeeper import --config zoo.cfg --sessions drop")]
pub(crate) struct ImportArgs {
    /// Apache ZooKeeper's dataDir, or the directory version-2 in it [default: the dataDir of --config]
    #[arg(value_name = "SOURCE", required_unless_present = "config")]
    source: Option<PathBuf>,
    /// Apache ZooKeeper's dataLogDir [default: its dataDir]
    #[arg(long, value_name = "DIR")]
    data_log_dir: Option<PathBuf>,
    /// Import the last transaction log up to damage in it, and lose the rest, instead of failing
    #[arg(long)]
    stop_at_damage: bool,
    /// Accept transaction logs without a snapshot as complete. snapshot.trust.empty=true in the zoo.cfg or in SERVER_JVMFLAGS
    /// does the same
    #[arg(long)]
    trust_empty_snapshot: bool,
    #[command(flatten)]
    target: TargetArgs,
}

/// Options of `oxkeeper restore`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  oxkeeper restore /backups/snapshot.500000123 --config zoo.cfg
  oxkeeper restore snapshot.500000123 --data-dir ./oxkeeper-data")]
pub(crate) struct RestoreArgs {
    /// The backup: a snapshot file from `oxkeeper backup` or from Apache ZooKeeper
    file: PathBuf,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Args, Debug)]
struct TargetArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Prepare the --data-dir of a member of an ensemble; with --config, the zoo.cfg tells
    #[arg(long, conflicts_with = "config")]
    for_ensemble: bool,
    /// Sessions and their ephemeral znodes
    #[arg(long, value_enum, default_value_t)]
    sessions: Sessions,
    /// Go on although parts are missing; the command lists what is lost
    #[arg(long)]
    accept_loss: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Sessions {
    /// Keep them: clients can continue their sessions
    #[default]
    Keep,
    /// Leave them out
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
    let options = Options {
        seed: seed()?,
        stop_at_damage: args.stop_at_damage,
        trust_empty: args.trust_empty_snapshot || trusts_empty_snapshot(args.target.place.config.as_deref())?,
        logs_named: args.data_log_dir.is_some() || args.source.is_none() && place.data_log_dir != place.data_dir,
    };
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

/// Returns whether ZooKeeper is configured to trust logs without a snapshot. ZooKeeper: a key of zoo.cfg that
/// it does not know becomes a property of the JVM.
fn trusts_empty_snapshot(config: Option<&Path>) -> anyhow::Result<bool> {
    let mut properties = crate::serve::jvm_flags();
    if let Some(config) = config {
        properties.extend(Properties::from_file_bytes(&std::fs::read(config)?)?);
    }
    let is_meant = |key: &str| key.strip_prefix("zookeeper.").unwrap_or(key) == "snapshot.trust.empty";
    let last = properties.entries().iter().rev().find(|property| is_meant(&property.key));
    Ok(last.is_some_and(|property| property.value.eq_ignore_ascii_case("true")))
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
        Ok(loaded) if loaded.found.losses.is_empty() || target.accept_loss => loaded,
        Ok(Loaded { found, .. }) => {
            plot.abandon();
            bail!(refusal(&found));
        }
        Err(problem) => {
            plot.abandon();
            bail!(problem);
        }
    };
    let building = spinner("building");
    let (mut state, kept) = importing.finish(zxid, target.sessions == Sessions::Keep);
    let ensemble = place.is_member.then(|| fingerprint(&state));
    building.finish_and_clear();
    match ensemble {
        Some(id) => state.dedicate(id),
        None => {
            if !state.leave_epoch(Zxid(0)) {
                plot.abandon();
                bail!("zxid {zxid:#x} is of the last epoch, after which no server can go on");
            }
        }
    }
    let writing = bar("writing", state.tree().len() as u64, Unit::Znodes);
    plot.plant(&mut state, |count| writing.set_position(count as u64))?;
    writing.finish_and_clear();
    tell(&found, &kept, &state, zxid, begin, &place.data_dir);
    if let Some(id) = ensemble {
        say!(
            "Do the same on each server of the ensemble, from a copy of the same files. Each must print {id:016x};\n\
             a server that prints another id is refused by the others. Then start all of them."
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the reasons why nothing was imported, and what to do.
fn refusal(found: &Found) -> String {
    let losses: Vec<_> = found.losses.iter().map(|loss| format!("  - {loss}\n")).collect();
    format!(
        "the data is incomplete, so nothing was written:\n{}Take the files of another server of the ensemble, or a backup. To go on \
         without what is missing, use --accept-loss",
        losses.concat()
    )
}

fn tell(found: &Found, kept: &Kept, state: &State, zxid: i64, begin: Instant, data_dir: &Path) {
    found.notes.iter().for_each(|note| eprintln!("oxkeeper: note: {note}"));
    found.losses.iter().for_each(|loss| eprintln!("oxkeeper: lost (--accept-loss): {loss}"));
    if kept.sessions_ambiguous > 0 {
        eprintln!(
            "oxkeeper: note: ended {} sessions of a server 255, with their ephemeral znodes, because their ids look like owners of TTL znodes.\n\
             Their clients see an expired session and start new ones",
            kept.sessions_ambiguous
        );
    }
    match &found.snapshot {
        Some(path) => say!("{}, zxid {:#x}", path.display(), found.snapshot_zxid),
        None => say!("no snapshot: starting from nothing, as snapshot.trust.empty says"),
    }
    if found.logs > 0 {
        say!("  and {} transactions of {} logs, up to {zxid:#x}", found.transactions, found.logs);
    }
    say!("  {} znodes; {}", state.tree().len(), checked(found));
    say!(
        "  {} sessions with {} ephemeral znodes; left out: {} sessions, {} ephemeral znodes",
        kept.sessions,
        kept.ephemerals,
        kept.sessions_dropped,
        kept.ephemerals_dropped
    );
    say!("  written to {} in {:.1} s", data_dir.display(), begin.elapsed().as_secs_f64());
}

/// Describes the evidence that the tree is the one that ZooKeeper had.
fn checked(found: &Found) -> String {
    if !found.losses.is_empty() {
        return "INCOMPLETE, see above".to_owned();
    }
    let digest = match found.checked {
        Checked::Transaction(zxid) => {
            format!("the tree digest matches that of transaction {zxid}")
        }
        Checked::Snapshot => "the tree digest matches that of the snapshot".to_owned(),
        Checked::Nothing => "no tree digest to compare with".to_owned(),
    };
    if found.stopped_at_damage {
        return format!("{digest}; everything after the damage is left out");
    }
    match (found.transactions, found.logs) {
        (0, 0) => digest,
        (0, _) => format!("{digest}; the logs hold nothing after the snapshot"),
        (_, _) => format!("{digest}; no transaction after the snapshot is missing"),
    }
}
