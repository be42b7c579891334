//! The log against a model, on a disk that crashes, tears, fills up and flips bits.
//!
//! The underlying property: after any sequence of events, the log is either what the last
//! successful `sync` left or what the `sync` in progress would have left, as a whole; or opening it
//! is an error.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use oxkeeper_store::fake::FakeDisk;
use oxkeeper_store::{AppendError, Log, LogOptions, StoreError, SyncError};
use proptest::prelude::*;

const DIR: &str = "/data/log";
const FIRST_SEGMENT: &str = "/data/log/0000000001.segment";
/// Room is made in steps of this many bytes.
const ROOM_STEP: usize = 256 << 10;

fn open_with(disk: &FakeDisk, segment_len: u64) -> Result<Log, StoreError> {
    let options = LogOptions { segment_len, first_index: 0 };
    Log::open(Arc::new(disk.clone()), Path::new(DIR), &options)
}

/// Opens a log with short segments, so that short schedules cross many of them.
fn open(disk: &FakeDisk) -> Result<Log, StoreError> {
    open_with(disk, 1500)
}

/// The expected contents of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    entries: BTreeMap<u64, Vec<u8>>,
    scalars: BTreeMap<u8, Vec<u8>>,
    next: u64,
    /// Lowest index of the entries that must still be readable.
    floor: u64,
}

impl Model {
    fn truncate(&mut self, from: u64) {
        self.entries.split_off(&from);
        self.next = from;
        self.floor = self.floor.min(from);
    }

    fn reset(&mut self, next: u64) {
        self.entries.clear();
        (self.next, self.floor) = (next, next);
    }

    /// Returns how the log differs from the model; `None` if it does not.
    fn differs(&self, log: &Log) -> Option<String> {
        if log.next_index() != self.next || log.durable_end() != self.next {
            return Some(format!("next is {}, not {}", log.next_index(), self.next));
        }
        if log.first_index() > self.floor {
            return Some(format!("first is {}, above {}", log.first_index(), self.floor));
        }
        let mut read = Vec::new();
        log.read(log.first_index()..u64::MAX, |index, payload| read.push((index, payload.to_vec())))
            .expect("what was opened can be read");
        let kept = self.entries.range(log.first_index()..).map(|(index, payload)| (*index, payload.clone()));
        if !kept.eq(read) {
            return Some("the entries differ".to_owned());
        }
        let scalars = self.scalars.iter().all(|(key, value)| log.scalar(*key).as_ref() == Some(value));
        let others = (0..=u8::MAX).filter(|key| log.scalar(*key).is_some()).count();
        (!scalars || others != self.scalars.len()).then(|| "the scalars differ".to_owned())
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Scalar(u8, usize),
    /// Keeps this many 256ths of the existing entries.
    Truncate(u8),
    Reset(u8),
    Sync,
    Prepare,
    Trim(u8),
    /// Makes the next operation that writes find the disk full.
    Full(u8),
    /// Takes all the room, or frees it again.
    Room(bool),
    /// Kills the process and starts it again.
    Kill,
    /// Cuts the power in the middle of the n-th operation from here, or at the end of the schedule.
    Crash(u8, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => prop_oneof![0..40_usize, 400..700_usize, Just(3000)].prop_map(Step::Append),
        2 => (0..4_u8, 0..30_usize).prop_map(|(key, len)| Step::Scalar(key, len)),
        1 => any::<u8>().prop_map(Step::Truncate),
        1 => (0..20_u8).prop_map(Step::Reset),
        6 => Just(Step::Sync),
        1 => Just(Step::Prepare),
        1 => any::<u8>().prop_map(Step::Trim),
        1 => (0..6_u8).prop_map(Step::Full),
        1 => any::<bool>().prop_map(Step::Room),
        1 => Just(Step::Kill),
        2 => (0..12_u8, any::<u64>()).prop_map(|(after, seed)| Step::Crash(after, seed)),
    ];
    prop::collection::vec(step, 1..60)
}

/// A log, its model, and the contents that the disk has confirmed, with their times.
struct Run {
    disk: FakeDisk,
    log: Log,
    durable: Model,
    staged: Model,
    /// Confirmed contents, each with the number of operations after which it was durable.
    confirmed: Vec<(u64, Model)>,
    crash: Option<(u64, u64)>,
    payloads: u64,
}

impl Run {
    fn new() -> Self {
        let disk = FakeDisk::new();
        let log = open(&disk).expect("begins");
        let (durable, staged) = (Model::default(), Model::default());
        let confirmed = vec![(disk.operations(), Model::default())];
        Self { disk, log, durable, staged, confirmed, crash: None, payloads: 0 }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Append(len) => self.append(len),
            Step::Scalar(key, len) => {
                let value = self.payload(len);
                if self.log.set_scalar(key, &value).is_ok() {
                    self.staged.scalars.insert(key, value);
                }
            }
            Step::Truncate(part) => {
                let (first, next) = (self.log.first_index(), self.log.next_index());
                if first <= next {
                    let from = first + (next - first) * u64::from(part) / 255;
                    if self.log.truncate(from).is_ok() {
                        self.staged.truncate(from);
                    }
                }
            }
            Step::Reset(skip) => {
                let next = self.log.next_index() + u64::from(skip);
                if self.log.reset(next).is_ok() {
                    self.staged.reset(next);
                }
            }
            Step::Sync => self.sync(),
            Step::Prepare => self.log.prepare(),
            Step::Trim(part) => self.trim(part),
            Step::Full(after) => {
                self.disk.fail_writes_at(self.disk.operations() + u64::from(after), ErrorKind::StorageFull)
            }
            Step::Room(free) => self.disk.set_room((!free).then(|| self.disk.used())),
            Step::Kill => self.restart(self.disk.kill(), std::slice::from_ref(&self.durable.clone())),
            Step::Crash(after, seed) => {
                if self.crash.is_none() {
                    let at = self.disk.operations() + u64::from(after);
                    self.disk.crash_at(at);
                    self.crash = Some((at, seed));
                }
            }
        }
        if self.crash.is_some_and(|(at, _)| self.disk.operations() > at) {
            self.power_failure();
        }
    }

    /// Returns unique contents, so that a refused entry cannot pass for a later one.
    fn payload(&mut self, len: usize) -> Vec<u8> {
        self.payloads += 1;
        self.payloads.to_le_bytes().into_iter().cycle().take(len).collect()
    }

    fn append(&mut self, len: usize) {
        let payload = self.payload(len);
        let next = self.log.next_index();
        match self.log.append(&payload) {
            Ok(index) => {
                assert_eq!((index, index), (next, self.staged.next));
                self.staged.entries.insert(index, payload);
                self.staged.next += 1;
            }
            Err(refused) => {
                assert_eq!(refused, AppendError::Full);
                assert_eq!(self.log.next_index(), next, "nothing of it is staged");
            }
        }
    }

    fn sync(&mut self) {
        match self.log.sync() {
            Ok(()) => self.durable = self.staged.clone(),
            Err(SyncError::Full) => self.staged = self.durable.clone(),
        }
        self.confirmed.push((self.disk.operations(), self.durable.clone()));
    }

    fn trim(&mut self, part: u8) {
        let (first, end) = (self.log.first_index(), self.log.durable_end());
        let floor = first + (end - first) * u64::from(part) / 255;
        if floor > 0 {
            self.log.trim(floor - 1).expect("the disk removes files");
        }
        for model in [&mut self.durable, &mut self.staged] {
            model.floor = model.floor.max(floor.min(model.next));
        }
        // Trimmed entries may disappear at any moment from now on, including those confirmed earlier.
        self.confirmed.iter_mut().for_each(|(_, model)| model.floor = model.floor.max(floor));
        self.confirmed.push((self.disk.operations(), self.durable.clone()));
    }

    fn power_failure(&mut self) {
        let (at, seed) = self.crash.take().expect("a crash is due");
        let last = self.confirmed.iter().rposition(|(operations, _)| *operations <= at).expect("the beginning");
        let mut allowed: Vec<_> = self.confirmed[last..].iter().take(2).map(|(_, model)| model.clone()).collect();
        allowed.push(self.staged.clone());
        self.restart(self.disk.crash(seed), &allowed);
    }

    fn restart(&mut self, disk: FakeDisk, allowed: &[Model]) {
        self.log = open(&disk).expect("no crash damages a log");
        let differences: Vec<_> = allowed.iter().map(|model| model.differs(&self.log)).collect();
        let found = differences.iter().position(Option::is_none);
        self.durable = allowed[found.unwrap_or_else(|| panic!("not what was synced: {differences:?}"))].clone();
        self.staged = self.durable.clone();
        self.confirmed = vec![(0, self.durable.clone())];
        self.crash = None;
        self.disk = disk;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_synced_survives_and_nothing_else_appears(steps in steps()) {
        let mut run = Run::new();
        steps.iter().for_each(|step| run.step(step));
        if run.crash.is_some() {
            run.crash = run.crash.map(|(_, seed)| (run.disk.operations(), seed));
            run.power_failure();
        }
        run.disk.set_room(None);
        run.disk.fail_writes_at(u64::MAX, ErrorKind::StorageFull);
        run.sync();
        prop_assert_eq!(run.durable.differs(&run.log), None);
        run.append(100);
        run.sync();
        prop_assert!(run.durable.entries.contains_key(&(run.log.next_index() - 1)), "appends succeed again");
        prop_assert_eq!(run.durable.differs(&run.log), None);
    }
}

/// Returns a fixed schedule that exercises everything a log does.
fn schedule() -> Vec<Step> {
    use Step::{Append, Reset, Scalar, Sync, Trim, Truncate};
    vec![
        Scalar(1, 8),
        Append(20),
        Sync,
        Append(900),
        Append(0),
        Sync,
        Append(700),
        Sync,
        Truncate(128),
        Append(600),
        Scalar(2, 20),
        Sync,
        Append(1600),
        Sync,
        Trim(200),
        Append(10),
        Sync,
        Append(1500),
        Sync,
        Reset(5),
        Append(30),
        Sync,
        Trim(255),
        Append(2000),
        Sync,
        Append(5),
        Sync,
    ]
}

#[test]
fn a_crash_at_every_operation_leaves_what_was_synced() {
    let mut counted = Run::new();
    schedule().iter().for_each(|step| counted.step(step));
    for at in 0..counted.disk.operations() {
        for seed in 0..4 {
            let mut run = Run::new();
            let begun = run.disk.operations();
            if at >= begun {
                run.disk.crash_at(at);
                run.crash = Some((at, seed));
            }
            schedule().iter().for_each(|step| run.step(step));
            assert!(run.crash.is_none(), "the crash at {at} happened");
        }
    }
}

#[test]
fn a_crash_while_a_log_is_begun_leaves_none_or_an_empty_one() {
    for at in 0..5 {
        for seed in 0..8 {
            let disk = FakeDisk::new();
            disk.crash_at(at);
            open(&disk).expect("begins");
            let log = open(&disk.crash(seed)).expect("begins or opens");
            assert_eq!(Model::default().differs(&log), None);
        }
    }
}

#[test]
fn a_full_disk_at_every_operation_refuses_and_recovers() {
    let mut counted = Run::new();
    schedule().iter().for_each(|step| counted.step(step));
    for at in 0..counted.disk.operations() {
        let mut run = Run::new();
        // A failed sync is a crash instead of a refusal.
        run.disk.fail_writes_at(at, ErrorKind::StorageFull);
        schedule().iter().for_each(|step| run.step(step));
        assert_eq!(run.durable.differs(&run.log), None, "operation {at}");
        for seed in 0..4 {
            let after = open(&run.disk.crash(seed)).expect("sound");
            assert_eq!(run.durable.differs(&after), None, "operation {at}");
        }
    }
}

#[test]
fn appends_are_refused_while_there_is_no_room_and_succeed_by_themselves_after() {
    let disk = FakeDisk::new();
    let mut log = open_with(&disk, 1 << 20).expect("begins");
    disk.set_room(Some(disk.used()));
    let payload = vec![7; 60_000];
    let mut appended = 0;
    while log.append(&payload).is_ok() {
        appended += 1;
    }
    assert!(appended > 1, "the room made ahead is used");
    assert_eq!(log.append(&payload), Err(AppendError::Full));
    assert_eq!(log.sync(), Ok(()), "what was staged before is not refused");
    assert_eq!(log.durable_end(), appended);
    disk.set_room(None);
    assert_eq!(log.append(&payload), Ok(appended));
}

#[test]
fn limits_are_kept() {
    let disk = FakeDisk::new();
    let mut log = open(&disk).expect("begins");
    let huge = vec![0; oxkeeper_store::RECORD_LEN_MAX + 1];
    assert_eq!(log.append(&huge), Err(AppendError::TooLarge { len: huge.len() }));
    let large = &huge[1..];
    let refused = (0..9).map(|_| log.append(large)).find_map(Result::err);
    assert_eq!(refused, Some(AppendError::SyncFirst));
    log.sync().expect("room");
    log.append(large).expect("room");
}

/// Returns a small log of one segment, its model, and the bounds of its last batch.
fn small() -> (FakeDisk, Model, usize, usize) {
    let mut run = Run::new();
    let steps = [Step::Scalar(1, 9), Step::Append(30), Step::Sync, Step::Append(0), Step::Append(25), Step::Sync];
    steps.iter().for_each(|step| run.step(step));
    let start = end_of(&run.disk);
    run.append(1100);
    run.sync();
    let end = end_of(&run.disk);
    drop(run.log);
    (run.disk.kill(), run.durable, start, end)
}

fn content(disk: &FakeDisk) -> Vec<u8> {
    disk.content(Path::new(FIRST_SEGMENT)).expect("the first segment")
}

fn fill_of(content: &[u8]) -> [u8; 16] {
    *content.last_chunk().expect("a segment ends in fill")
}

/// Returns the offset at which the fill begins.
fn end_of(disk: &FakeDisk) -> usize {
    let content = content(disk);
    let fill = fill_of(&content);
    content.len() - content.rchunks_exact(16).take_while(|granule| *granule == fill).count() * 16
}

fn with_content(content: Vec<u8>) -> FakeDisk {
    let disk = FakeDisk::new();
    disk.set_content(Path::new(FIRST_SEGMENT), content);
    disk
}

/// Returns the model without the last entry.
fn without_last(model: &Model) -> Model {
    let mut before = model.clone();
    before.truncate(model.next - 1);
    before
}

#[test]
fn a_torn_last_group_is_a_clean_end() {
    let (disk, model, start, end) = small();
    let (whole, before) = (content(&disk), without_last(&model));
    let fill = fill_of(&whole);
    let tear = |lost: &dyn Fn(usize) -> bool| {
        let mut torn = whole.clone();
        for at in (start..end).filter(|at| lost(at / 16)) {
            torn[at] = fill[at % 16];
        }
        let disk = with_content(torn);
        let mut log = open(&disk).expect("a torn end is no damage");
        assert_eq!(before.differs(&log), None);
        // None of it is misread later.
        log.append(b"").expect("room");
        log.sync().expect("room");
        let again = open(&disk.kill()).expect("sound");
        assert_eq!(again.next_index(), model.next);
    };
    for granule in start / 16..end / 16 {
        tear(&|at| at >= granule); // the front arrived
        tear(&|at| at <= granule); // the rest arrived
        tear(&|at| at == granule);
    }
    for sector in start / 512..=(end - 1) / 512 {
        tear(&|at| at / 32 == sector);
        tear(&|at| at / 32 != sector);
    }
}

#[test]
fn a_tear_at_any_byte_never_shows_what_was_not_written() {
    let (disk, model, start, end) = small();
    let (whole, before) = (content(&disk), without_last(&model));
    let fill = fill_of(&whole);
    for cut in start..end {
        let mut torn = whole.clone();
        (cut..end).for_each(|at| torn[at] = fill[at % 16]);
        match open(&with_content(torn)) {
            Ok(log) => assert_eq!(before.differs(&log), None, "cut at {cut}"),
            Err(error) => {
                assert!(matches!(error, StoreError::Damaged { .. }) && cut % 16 != 0, "cut at {cut}: {error}")
            }
        }
    }
}

#[test]
fn every_flip_in_what_was_written_is_found() {
    let (disk, model, start, end) = small();
    assert!(start < end);
    // There is only room after the end: a flip there is detected or harmless.
    for bit in 0..(end + 64) * 8 {
        disk.flip(Path::new(FIRST_SEGMENT), bit);
        match open(&disk.kill()) {
            Ok(log) => {
                assert!(bit / 8 >= end, "flip of bit {bit} unseen");
                assert_eq!(model.differs(&log), None, "bit {bit}");
            }
            Err(error) => assert!(error.to_string().contains(FIRST_SEGMENT), "{error}"),
        }
        disk.flip(Path::new(FIRST_SEGMENT), bit);
    }
}

#[test]
fn every_lost_sector_but_the_last_groups_is_found() {
    let (disk, model, start, _) = small();
    let whole = content(&disk);
    for blank in [[0; 16], fill_of(&whole)] {
        for granule in 0..start / 16 {
            let mut damaged = whole.clone();
            damaged[granule * 16..][..16].copy_from_slice(&blank);
            if damaged != whole {
                let error = open(&with_content(damaged)).expect_err("found");
                assert!(error.to_string().contains(FIRST_SEGMENT), "{error}");
            }
        }
    }
    assert_eq!(model.differs(&open(&disk).expect("sound")), None);
}

#[test]
fn a_file_cut_anywhere_is_found_or_lost_nothing() {
    let (disk, model, _, end) = small();
    let whole = content(&disk);
    for len in (0..end + 64).chain([ROOM_STEP - 1]) {
        match open(&with_content(whole[..len].to_vec())) {
            Ok(log) => {
                assert!(len > end, "cut to {len} bytes unseen");
                assert_eq!(model.differs(&log), None);
            }
            Err(StoreError::Empty { .. }) => assert_eq!(len, 0),
            Err(error) => assert!(matches!(error, StoreError::Truncated { .. }), "cut to {len} bytes: {error}"),
        }
    }
}

#[test]
fn an_unknown_version_is_refused() {
    let (disk, ..) = small();
    let mut newer = content(&disk);
    newer[8] = 9;
    newer[12..16].fill(0);
    let crc = crc32fast::hash(&newer[..512]);
    newer[12..16].copy_from_slice(&crc.to_le_bytes());
    let error = open(&with_content(newer)).expect_err("refused");
    assert!(matches!(error, StoreError::UnknownVersion { found: 9, .. }), "{error}");
    let error = open(&with_content(vec![b'x'; 4096])).expect_err("refused");
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
}

/// Returns a log of several segments.
fn several() -> (FakeDisk, Model) {
    let mut run = Run::new();
    for _ in 0..12 {
        run.append(700);
        run.sync();
    }
    drop(run.log);
    (run.disk.kill(), run.durable)
}

fn segment(sequence: u64) -> std::path::PathBuf {
    Path::new(DIR).join(format!("{sequence:010}.segment"))
}

#[test]
fn a_missing_segment_is_named() {
    use oxkeeper_store::Disk;
    let (disk, model) = several();
    assert_eq!(disk.list(Path::new(DIR)).expect("lists").len(), 6);
    for lost in [2, 5, 6] {
        let disk = disk.kill();
        disk.remove(&segment(lost)).expect("is there");
        let error = open(&disk).expect_err("a hole");
        assert!(matches!(&error, StoreError::MissingSegment { path } if *path == segment(lost)), "{error}");
    }
    // The oldest segment may be missing: trimming removes it.
    disk.remove(&segment(1)).expect("is there");
    let log = open(&disk).expect("sound");
    assert_eq!((log.first_index(), log.next_index()), (2, model.next));
}

#[test]
fn a_flip_in_any_segment_is_found() {
    let (disk, _) = several();
    for sequence in 1..=3 {
        for bit in (0..2000 * 8).step_by(101) {
            disk.flip(&segment(sequence), bit);
            let error = open(&disk.kill()).expect_err("found");
            assert!(error.to_string().contains(&format!("{sequence:010}.segment")), "{error}");
            disk.flip(&segment(sequence), bit);
        }
    }
}

#[test]
fn a_lost_end_of_a_segment_is_found() {
    let (disk, model) = several();
    for sequence in 1..=5 {
        let whole = disk.content(&segment(sequence)).expect("is there");
        let fill = fill_of(&whole);
        let end = whole.chunks_exact(16).rposition(|granule| granule != fill).expect("not all fill");
        let mut lost = whole.clone();
        lost[end * 16..][..16].copy_from_slice(&fill);
        disk.set_content(&segment(sequence), lost);
        let error = open(&disk.kill()).expect_err("later segments are there");
        assert!(matches!(&error, StoreError::Damaged { path, .. } if *path == segment(sequence)), "{error}");
        disk.set_content(&segment(sequence), whole);
    }
    assert_eq!(model.differs(&open(&disk).expect("sound")), None);
}

#[test]
fn a_segment_of_another_log_is_refused() {
    let (disk, _) = several();
    // A segment under another name.
    let second = disk.content(&segment(2)).expect("is there");
    let mixed = disk.kill();
    mixed.set_content(&segment(3), second);
    let error = open(&mixed).expect_err("found");
    assert!(matches!(error, StoreError::Damaged { offset: 0, .. }), "{error}");
    // A segment with other indices.
    let mut other = Run::new();
    for _ in 0..12 {
        other.append(0);
        other.append(700);
        other.sync();
    }
    disk.set_content(&segment(3), other.disk.content(&segment(3)).expect("is there"));
    let error = open(&disk).expect_err("found");
    assert!(matches!(error, StoreError::Gap { .. }), "{error}");
    assert!(error.to_string().contains("0000000003.segment"), "{error}");
}

#[test]
fn scalars_survive_the_segments_they_were_written_in() {
    let mut run = Run::new();
    run.step(&Step::Scalar(9, 100));
    run.sync();
    for _ in 0..20 {
        run.append(700);
        run.sync();
        run.trim(255);
    }
    let log = open(&run.disk.kill()).expect("sound");
    assert!(log.first_index() > 10, "segments were deleted");
    assert_eq!(run.durable.differs(&log), None);
}

#[test]
fn a_range_is_read_from_anywhere() {
    let (disk, model) = several();
    let log = open(&disk).expect("sound");
    for from in 0..=model.next {
        for to in from..=model.next + 1 {
            let mut read = Vec::new();
            log.read(from..to, |index, _| read.push(index)).expect("sound");
            assert_eq!(read, (from..to.min(model.next)).collect::<Vec<_>>());
        }
    }
}

#[test]
fn bytes_damaged_after_the_start_are_not_served() {
    let (disk, _) = several();
    let log = open(&disk).expect("sound");
    disk.flip(&segment(2), 8 * 900);
    let mut last = None;
    let error = log.read(0..u64::MAX, |index, _| last = Some(index)).expect_err("found");
    assert!(error.to_string().contains("0000000002.segment"), "{error}");
    assert_eq!(last, Some(1), "the first segment is sound");
}

#[test]
#[should_panic(expected = "cannot sync")]
fn a_failed_sync_is_a_crash() {
    let disk = FakeDisk::new();
    let mut log = open(&disk).expect("begins");
    log.append(b"entry").expect("room");
    disk.fail_at(disk.operations() + 1, ErrorKind::Other);
    let _ = log.sync();
}
