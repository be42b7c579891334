//! Tracking of records that changed since the last checkpoint, and of their contents when the
//! current one began.
//!
//! A checkpoint is a consistent image at one zxid, taken while commands go on: beginning it freezes
//! the set of changed slots; the capturing thread encodes them a few at a time; a command that is
//! about to change a frozen slot first saves its old record. Invariant: every frozen slot is
//! captured exactly once, as it was when the checkpoint began.

/// A set of small integers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    pub(crate) fn insert(&mut self, index: u32) {
        let word = index as usize / 64;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (index % 64);
    }

    /// Removes `index` and returns whether it was a member.
    pub(crate) fn remove(&mut self, index: u32) -> bool {
        let Some(word) = self.words.get_mut(index as usize / 64) else { return false };
        let bit = 1 << (index % 64);
        let was_in = *word & bit != 0;
        *word &= !bit;
        was_in
    }

    /// Removes and returns the smallest member at or after `from`.
    fn pop_from(&mut self, from: u32) -> Option<u32> {
        let start = from as usize / 64;
        for (offset, word) in self.words.get_mut(start..)?.iter_mut().enumerate() {
            if *word != 0 {
                let bit = word.trailing_zeros();
                *word &= *word - 1;
                return Some((start + offset) as u32 * 64 + bit);
            }
        }
        None
    }

    fn merge(&mut self, other: &Bits) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        self.words.iter_mut().zip(&other.words).for_each(|(word, more)| *word |= more);
    }
}

/// A slot and its record, or `None` if the record is gone.
pub type Captured = (u32, Option<Vec<u8>>);

/// The changes of one table.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    dirty: Bits,
    frozen: Option<Frozen>,
}

#[derive(Debug)]
struct Frozen {
    all: Bits,
    pending: Bits,
    /// Lower bound of all pending members.
    cursor: u32,
    saved: Vec<Captured>,
}

impl Changes {
    /// Notes that slot `index` is about to change; `encode` returns its present record. Must be
    /// called before the change.
    pub(crate) fn before_change(&mut self, index: u32, encode: impl FnOnce() -> Option<Vec<u8>>) {
        if let Some(frozen) = &mut self.frozen
            && frozen.pending.remove(index)
        {
            frozen.saved.push((index, encode()));
        }
        self.dirty.insert(index);
    }

    pub(crate) fn begin_checkpoint(&mut self) {
        assert!(self.frozen.is_none(), "one checkpoint at a time");
        let all = std::mem::take(&mut self.dirty);
        self.frozen = Some(Frozen { pending: all.clone(), all, cursor: 0, saved: Vec::new() });
    }

    /// Returns up to `count` records of the checkpoint; empty once all were returned.
    pub(crate) fn capture(&mut self, count: usize, encode: impl Fn(u32) -> Option<Vec<u8>>) -> Vec<Captured> {
        let frozen = self.frozen.as_mut().expect("a checkpoint is under way");
        let kept = frozen.saved.len().saturating_sub(count);
        let mut captured = frozen.saved.split_off(kept);
        while captured.len() < count {
            let Some(index) = frozen.pending.pop_from(frozen.cursor) else { break };
            frozen.cursor = index;
            captured.push((index, encode(index)));
        }
        captured
    }

    /// Ends the checkpoint. Everything it covered is dirty again unless it was `committed`.
    pub(crate) fn end_checkpoint(&mut self, committed: bool) {
        let frozen = self.frozen.take().expect("a checkpoint is under way");
        if !committed {
            self.dirty.merge(&frozen.all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_sees_what_was_there_when_it_began() {
        let mut changes = Changes::default();
        changes.before_change(3, || None);
        changes.before_change(70, || None);
        changes.begin_checkpoint();
        changes.before_change(70, || Some(vec![70]));
        changes.before_change(70, || Some(vec![71]));
        changes.before_change(5, || Some(vec![5]));
        let encode = |index: u32| Some(vec![index as u8]);
        assert_eq!(changes.capture(1, encode), [(70, Some(vec![70]))]);
        assert_eq!(changes.capture(9, encode), [(3, Some(vec![3]))]);
        assert_eq!(changes.capture(9, encode), []);
        changes.end_checkpoint(true);
        changes.begin_checkpoint();
        assert_eq!(changes.capture(9, encode), [(5, Some(vec![5])), (70, Some(vec![70]))]);
        changes.end_checkpoint(false);
        changes.begin_checkpoint();
        assert_eq!(changes.capture(9, encode).len(), 2);
    }
}
