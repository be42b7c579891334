//! Measures the figures that the store's design is based on, on the disk of a directory.
//!
//! `cargo run --release -p oxkeeper-store --example log_bench [directory]`
//!
//! 1. one `fdatasync` after an append into a growing file, `fallocate`d extents, filled room, old
//!    data;
//! 2. a group commit in the log against one in redb;
//! 3. start of an empty store;
//! 4. a checkpoint of a million records, opening after an unclean stop, loading;
//! 5. syncs of the log with and without a concurrent checkpoint.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use oxkeeper_store::{Kind, Log, LogOptions, RealDisk, Tree, TreeOptions};

const RECORDS: u64 = 1_000_000;
const RECORD_LEN: usize = 190;

fn main() {
    let base = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = base.join(format!("oxkeeper-log-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("the directory can be created");
    // This comes first, while the process is small.
    empty_start(&dir);
    sync_modes(&dir);
    commits(&dir);
    checkpoints(&dir);
    std::fs::remove_dir_all(&dir).expect("the directory is ours");
}

/// Prints percentiles of durations.
fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 1000].as_secs_f64() * 1e6;
    println!(
        "{what:<52} p50 {:>7.0}  p90 {:>7.0}  p99 {:>7.0}  p99.9 {:>7.0}  max {:>7.0} µs  n {}",
        at(500),
        at(900),
        at(990),
        at(999),
        at(1000),
        times.len()
    );
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn sync_modes(dir: &Path) {
    const LEN: u64 = 32 << 20;
    println!("-- one pwrite and one fdatasync");
    for size in [200, 20_000] {
        for mode in ["growing file", "fallocate'd extents", "zero-filled room", "recycled segment"] {
            let path = dir.join("probe");
            let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).expect("creates");
            match mode {
                "growing file" => {}
                "fallocate'd extents" => {
                    let len = LEN.to_string();
                    let done = Command::new("fallocate").args(["-l", &len]).arg(&path).status();
                    if !done.is_ok_and(|status| status.success()) {
                        println!("fallocate(1) is not here or not supported: skipped");
                        continue;
                    }
                }
                _ => {
                    let byte = if mode == "recycled segment" { 0x5a } else { 0 };
                    file.write_all_at(&vec![byte; LEN as usize], 0).expect("room");
                }
            }
            file.sync_all().expect("syncs");
            let data = vec![7; size];
            let times = (0..1500).map(|turn| {
                timed(|| {
                    file.write_all_at(&data, turn * size as u64).expect("room");
                    file.sync_data().expect("syncs");
                })
            });
            report(&format!("{size} B into a {mode}"), times.collect());
        }
    }
    for step in [256 << 10, 1 << 20, 4 << 20] {
        let file = File::create(dir.join("probe")).expect("creates");
        let fill = vec![0x5a; step];
        let times = (0..32).map(|turn| {
            timed(|| {
                file.write_all_at(&fill, turn * step as u64).expect("room");
                file.sync_data().expect("syncs");
            })
        });
        report(&format!("filling a step of {} KiB", step >> 10), times.collect());
    }
}

fn commits(dir: &Path) {
    const TABLE: redb::TableDefinition<'static, u64, &[u8]> = redb::TableDefinition::new("log");
    println!("-- a group of 200-byte entries made durable");
    let entry = [7; 200];
    for group in [1, 200] {
        let mut log =
            Log::open(Arc::new(RealDisk), &dir.join(format!("log-{group}")), &LogOptions::default()).expect("opens");
        let times = (0..1500).map(|_| {
            timed(|| {
                group_commit(&mut log, &entry, group);
            })
        });
        report(&format!("log, {group} entries"), times.collect());
        let mut prepared = Vec::new();
        for _ in 0..1500 {
            prepared.push(timed(|| {
                group_commit(&mut log, &entry, group);
            }));
            log.prepare();
        }
        report(&format!("log, {group} entries, room prepared in between"), prepared);
        let database = redb::Database::create(dir.join(format!("log-{group}.redb"))).expect("creates");
        let mut next = 0;
        let times = (0..1500).map(|_| {
            timed(|| {
                let txn = database.begin_write().expect("begins");
                let mut table = txn.open_table(TABLE).expect("opens");
                for _ in 0..group {
                    table.insert(next, &entry[..]).expect("inserts");
                    next += 1;
                }
                drop(table);
                txn.commit().expect("commits");
            })
        });
        report(&format!("redb, {group} entries"), times.collect());
    }
}

fn group_commit(log: &mut Log, entry: &[u8], group: usize) {
    for _ in 0..group {
        log.append(entry).expect("room");
    }
    log.sync().expect("room");
}

fn empty_start(dir: &Path) {
    println!("-- start of an empty store");
    let times = (0..20).map(|turn| {
        let dir = dir.join(format!("empty-{turn}"));
        timed(|| {
            let disk = Arc::new(RealDisk);
            let _lock = oxkeeper_store::lock(&*disk, &dir).expect("free");
            let _log = Log::open(disk.clone(), &dir.join("log"), &LogOptions::default()).expect("opens");
            let _tree = Tree::open(disk, &dir, &TreeOptions::default()).expect("opens");
        })
    });
    report("lock, log and tree, with all syncs", times.collect());
    println!("resident after it: {} KiB", resident_kib());
}

fn checkpoints(dir: &Path) {
    println!("-- a tree of {RECORDS} records of {RECORD_LEN} B");
    let mut log = Log::open(Arc::new(RealDisk), &dir.join("log"), &LogOptions::default()).expect("opens");
    report("log syncs of 200 B alone", paced_syncs(&mut log, |done| done >= 3000));
    let unpaced = TreeOptions { pace_len: u64::MAX, pace_rest: Duration::ZERO, ..TreeOptions::default() };
    let without_rest = TreeOptions { pace_rest: Duration::ZERO, ..TreeOptions::default() };
    for (pace, options) in [("unpaced", unpaced), ("without rest", without_rest), ("default", TreeOptions::default())] {
        let tree_dir = dir.join("tree");
        std::fs::create_dir(&tree_dir).expect("creates");
        let tree = Tree::open(Arc::new(RealDisk), &tree_dir, &options).expect("opens");
        beside_checkpoint(&mut log, &format!("{pace}, first checkpoint"), || write_all(&tree, 1, 1));
        beside_checkpoint(&mut log, &format!("{pace}, every 10th record"), || write_all(&tree, 2, 10));
        reopen(tree, &tree_dir);
        std::fs::remove_dir_all(&tree_dir).expect("ours");
        report("log syncs of 200 B alone", paced_syncs(&mut log, |done| done >= 3000));
    }
}

/// Runs a checkpoint in a thread and measures syncs of the log meanwhile.
fn beside_checkpoint(log: &mut Log, what: &str, checkpoint: impl FnOnce() + Send) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let took = timed(checkpoint);
            done.store(true, Ordering::Relaxed);
            took
        });
        let times = paced_syncs(log, |_| done.load(Ordering::Relaxed));
        let took = thread.join().expect("the checkpoint succeeds");
        report(&format!("log syncs beside {what}"), times);
        println!("    the checkpoint took {:.2} s", took.as_secs_f64());
    });
}

fn paced_syncs(log: &mut Log, stop: impl Fn(usize) -> bool) -> Vec<Duration> {
    let mut times = Vec::new();
    while !stop(times.len()) || times.is_empty() {
        times.push(timed(|| {
            log.append(&[7; 200]).expect("room");
            log.sync().expect("room");
        }));
        log.prepare();
    }
    times
}

fn write_all(tree: &Tree, applied: u64, step: usize) {
    let mut value = [7; RECORD_LEN];
    tree.checkpoint(applied, |writer| {
        (0..RECORDS).step_by(step).try_for_each(|key| {
            value[..8].copy_from_slice(&(key + applied).to_le_bytes());
            writer.put(Kind::Znode, key, &value)
        })
    })
    .expect("room");
}

fn reopen(tree: Tree, dir: &Path) {
    // Forget the tree as a kill would: redb does not get to tidy up.
    std::mem::forget(tree);
    let before = resident_kib();
    let mut opened = None;
    let took = timed(|| {
        opened = Some(Tree::open(Arc::new(RealDisk), dir, &TreeOptions::default()).expect("opens"));
    });
    println!("    open after an unclean stop: {:.1} ms", took.as_secs_f64() * 1e3);
    let tree = opened.expect("opened");
    let view = tree.snapshot().expect("sound").expect("a checkpoint");
    let mut bytes = 0;
    let took = timed(|| view.load(Kind::Znode, |_, value| bytes += value.len()).expect("sound"));
    println!("    load in one thread: {:.0} ms, {bytes} bytes", took.as_secs_f64() * 1e3);
    let took = timed(|| {
        let half = RECORDS / 2;
        let sum = std::thread::scope(|scope| {
            let low = scope.spawn(|| view.load_range(Kind::Znode, ..half, |_, _| {}).expect("sound"));
            let high = view.load_range(Kind::Znode, half.., |_, _| {}).expect("sound");
            low.join().expect("loads") + high
        });
        view.check(Kind::Znode, sum).expect("all of them");
    });
    println!("    load in two threads: {:.0} ms", took.as_secs_f64() * 1e3);
    println!("    resident grew by {} KiB with the tree open", resident_kib().saturating_sub(before));
    let len = std::fs::metadata(dir.join("tree.redb")).expect("there").len();
    println!("    the file has {} MiB", len >> 20);
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
