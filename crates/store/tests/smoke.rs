//! The store on the real file system: a first start, a stop and a restart.

use std::sync::Arc;

use oxkeeper_store::{Kind, Log, LogOptions, RealDisk, Tree, TreeOptions};

#[test]
fn a_log_keeps_entries_and_scalars_over_a_restart() {
    let root = tempfile::tempdir().expect("temporary directory");
    let dir = root.path().join("data/log");
    let options = LogOptions { segment_len: 4096, ..LogOptions::default() };
    let mut log = Log::open(Arc::new(RealDisk), &dir, &options).expect("begins");
    log.set_scalar(1, b"promise").expect("room");
    for index in 0..200_u64 {
        assert_eq!(log.append(&index.to_le_bytes().repeat(10)), Ok(index));
        log.sync().expect("room");
    }
    assert!(log.trim(100).expect("removes") > 0);
    drop(log);

    let log = Log::open(Arc::new(RealDisk), &dir, &options).expect("opens");
    assert_eq!((log.scalar(1), log.next_index()), (Some(b"promise".to_vec()), 200));
    let mut next = log.first_index();
    assert!(next > 50 && next <= 101);
    log.read(next..u64::MAX, |index, payload| {
        assert_eq!((index, payload), (next, &*next.to_le_bytes().repeat(10)));
        next += 1;
    })
    .expect("sound");
    assert_eq!(next, 200);
}

#[test]
fn a_tree_keeps_checkpoints_over_a_restart() {
    let root = tempfile::tempdir().expect("temporary directory");
    let open = || Tree::open(Arc::new(RealDisk), root.path(), &TreeOptions::default()).expect("opens");
    let tree = open();
    assert!(tree.snapshot().expect("sound").is_none());
    assert_eq!(std::fs::read_dir(root.path()).expect("lists").count(), 0, "no file before a checkpoint");
    tree.checkpoint(7, |writer| {
        writer.put_meta("digest", b"1234")?;
        (0..1000).try_for_each(|key| writer.put(Kind::Znode, key, &key.to_le_bytes()))
    })
    .expect("room");
    let before = tree.snapshot().expect("sound").expect("a checkpoint");
    tree.checkpoint(9, |writer| {
        writer.remove(Kind::Znode, 999)?;
        writer.remove(Kind::Session, 1)?;
        writer.put(Kind::Znode, 0, b"zero")
    })
    .expect("room");
    assert_eq!((before.applied_index(), before.last_key(Kind::Znode).expect("sound")), (7, Some(999)));
    drop((before, tree));

    let view = open().snapshot().expect("sound").expect("a checkpoint");
    assert_eq!((view.applied_index(), view.count(Kind::Znode), view.count(Kind::Session)), (9, 999, 0));
    assert_eq!(view.meta("digest").expect("sound").as_deref(), Some(&b"1234"[..]));
    assert_eq!(view.get(Kind::Znode, 0).expect("sound").as_deref(), Some(&b"zero"[..]));
    let mut keys = Vec::new();
    view.load(Kind::Znode, |key, _| keys.push(key)).expect("sound");
    assert_eq!(keys, (0..999).collect::<Vec<_>>());
    let low = view.load_range(Kind::Znode, ..500, |_, _| {}).expect("sound");
    let high = view.load_range(Kind::Znode, 500.., |_, _| {}).expect("sound");
    view.check(Kind::Znode, low + high).expect("all of them");
    assert!(view.check(Kind::Znode, low).is_err());
}
