//! The live part of the log and its places in the files, built by applying records in the order in
//! which they were written.
//!
//! Recovery and `sync` both use [`Index::apply`], so a reopened log knows what it knew before. Owns
//! the scalars and the spans. Invariant: spans ascend in index and in place, do not overlap, and
//! leave no gap: the first begins at `first`, each begins at the end of the one before, and the
//! last ends at `next`.

use std::collections::{BTreeMap, VecDeque};

use crate::batch::{Record, records};

/// Approximate length that a span covers, bytes. A read starts at most this far before the entry it
/// wants.
const SPAN_LEN: u64 = 1 << 20;

/// Place of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) sequence: u64,
    /// Offset of the batch in the segment.
    pub(crate) batch: u64,
    /// Offset of the record in the batch's body.
    pub(crate) record: usize,
}

/// Entries `first..end`, which lie in one segment in that order; none of them is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) place: Place,
}

/// Error for a record that does not fit the records before it, at an offset in the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// The record cannot be read, or voids entries that do not exist.
    Nonsense { record: usize },
    /// The entry's index is not the next one.
    Gap { record: usize, expected: u64, found: u64 },
}

/// The live part of a log.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) first: u64,
    pub(crate) next: u64,
    pub(crate) scalars: BTreeMap<u8, Box<[u8]>>,
    spans: VecDeque<Span>,
    /// Whether the next entry begins a new span, because void records lie between it and the last
    /// one.
    broken: bool,
}

impl Index {
    /// Creates an index without entries.
    pub(crate) fn new(first: u64) -> Self {
        Self { first, next: first, ..Self::default() }
    }

    /// Applies the records of a batch.
    pub(crate) fn apply(&mut self, sequence: u64, batch: u64, body: &[u8], body_len: usize) -> Result<(), Misfit> {
        for (at, record) in records(body, body_len) {
            match record.ok_or(Misfit::Nonsense { record: at })? {
                Record::Entry { index, .. } if index != self.next => {
                    return Err(Misfit::Gap { record: at, expected: self.next, found: index });
                }
                Record::Entry { .. } => self.push(Place { sequence, batch, record: at }),
                Record::Truncate { index } if index > self.next => return Err(Misfit::Nonsense { record: at }),
                Record::Truncate { index } => self.truncate(index),
                Record::Reset { index } => self.reset(index),
                Record::Scalar { key, payload } => {
                    self.scalars.insert(key, payload.into());
                }
            }
        }
        Ok(())
    }

    /// Returns the spans that hold entries of `from..to`, in order.
    pub(crate) fn spans(&self, from: u64, to: u64) -> impl Iterator<Item = &Span> {
        let start = self.spans.partition_point(|span| span.end <= from);
        self.spans.range(start..).take_while(move |span| span.first < to)
    }

    /// Returns whether a live entry above `through` lies in the segment `sequence` or an earlier
    /// one.
    pub(crate) fn needs(&self, sequence: u64, through: u64) -> bool {
        // Spans ascend in both: the last one of the segment has its highest index.
        let end = self.spans.partition_point(|span| span.place.sequence <= sequence);
        end > 0 && self.spans[end - 1].end > through.saturating_add(1)
    }

    /// Removes the entries of the segment `sequence` and earlier ones, whose files are gone.
    pub(crate) fn forget(&mut self, sequence: u64) {
        while self.spans.front().is_some_and(|span| span.place.sequence <= sequence) {
            self.spans.pop_front();
        }
        self.first = self.spans.front().map_or(self.next, |span| span.first);
    }

    fn push(&mut self, place: Place) {
        match self.spans.back_mut() {
            Some(span)
                if !self.broken
                    && span.place.sequence == place.sequence
                    && place.batch - span.place.batch < SPAN_LEN =>
            {
                span.end += 1;
            }
            Some(_) | None => {
                let first = self.next;
                self.spans.push_back(Span { first, end: first + 1, place });
            }
        }
        self.broken = false;
        self.next += 1;
    }

    fn truncate(&mut self, index: u64) {
        while self.spans.back().is_some_and(|span| span.first >= index) {
            self.spans.pop_back();
        }
        if let Some(span) = self.spans.back_mut() {
            span.end = span.end.min(index);
        }
        self.next = index;
        // It is lower only if the earlier segments were trimmed: their entries are void, too.
        self.first = self.first.min(index);
        self.broken = true;
    }

    fn reset(&mut self, index: u64) {
        self.spans.clear();
        (self.first, self.next, self.broken) = (index, index, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::push;

    fn apply(index: &mut Index, sequence: u64, batch: u64, written: &[Record<'_>]) -> Result<(), Misfit> {
        let mut body = Vec::new();
        written.iter().for_each(|record| push(&mut body, *record));
        index.apply(sequence, batch, &body, body.len())
    }

    fn entries(range: std::ops::Range<u64>) -> Vec<Record<'static>> {
        range.map(|index| Record::Entry { index, payload: b"" }).collect()
    }

    fn ranges(index: &Index) -> Vec<(u64, u64)> {
        index.spans(0, u64::MAX).map(|span| (span.first, span.end)).collect()
    }

    #[test]
    fn a_truncation_cuts_spans_and_breaks_the_last() {
        let mut index = Index::new(0);
        apply(&mut index, 1, 512, &entries(0..10)).expect("fits");
        apply(&mut index, 1, 600, &[Record::Truncate { index: 4 }]).expect("fits");
        apply(&mut index, 1, 700, &entries(4..6)).expect("fits");
        assert_eq!((ranges(&index), index.next), (vec![(0, 4), (4, 6)], 6));
    }

    #[test]
    fn gaps_and_nonsense_are_named() {
        let mut index = Index::new(3);
        assert_eq!(apply(&mut index, 1, 512, &entries(4..5)), Err(Misfit::Gap { record: 0, expected: 3, found: 4 }));
        let beyond = [Record::Truncate { index: 4 }];
        assert_eq!(apply(&mut index, 1, 512, &beyond), Err(Misfit::Nonsense { record: 0 }));
    }

    #[test]
    fn a_segment_is_needed_until_its_last_live_entry_is_trimmed() {
        let mut index = Index::new(0);
        apply(&mut index, 1, 512, &entries(0..10)).expect("fits");
        apply(&mut index, 2, 512, &entries(10..20)).expect("fits");
        assert!(index.needs(1, 8) && !index.needs(1, 9) && index.needs(2, 18));
        apply(&mut index, 2, 600, &[Record::Truncate { index: 5 }]).expect("fits");
        assert!(!index.needs(1, 4), "entries from 5 on are void");
        index.forget(1);
        assert_eq!((index.first, index.next), (5, 5));
    }

    #[test]
    fn a_reset_goes_forward_over_a_gap() {
        let mut index = Index::new(0);
        apply(&mut index, 1, 512, &entries(0..3)).expect("fits");
        apply(&mut index, 1, 600, &[Record::Reset { index: 100 }]).expect("fits");
        apply(&mut index, 1, 700, &entries(100..102)).expect("fits");
        assert_eq!((ranges(&index), index.first, index.next), (vec![(100, 102)], 100, 102));
    }
}
