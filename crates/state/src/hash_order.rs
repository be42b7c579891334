//! The order in which a Java hash table lists its members, which clients of ZooKeeper see in its
//! `HashSet`s.
//!
//! A table of 2^n buckets doubles when it is more than three quarters full and never shrinks. It
//! lists bucket by bucket, and within a bucket in order of insertion. Source: `java.util.HashMap`,
//! `java.lang.String.hashCode`.

/// Number of buckets of a table, as a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Buckets(u8);

/// Maximum number of members that are sorted by comparison.
const FEW: usize = 20;

impl Buckets {
    /// The maximum that Java allocates: 2^30.
    const MOST: Buckets = Buckets(30);
    /// `new HashSet<>(8)`: the initial table of a znode's children. Source: `DataNode.addChild`.
    pub const OF_CHILDREN: Buckets = Buckets(3);
    /// `new HashSet<>()`, `new HashMap<>()`.
    pub const DEFAULT: Buckets = Buckets(4);

    /// Number of bits that [`Buckets::log2`] needs.
    pub(crate) const LOG2_BITS: u32 = 5;

    /// Returns the exponent n of 2^n buckets.
    pub(crate) fn log2(self) -> u32 {
        u32::from(self.0)
    }

    /// Returns 2^`log2` buckets, capped at the maximum.
    pub(crate) fn from_log2(log2: u32) -> Buckets {
        Buckets(log2.min(u32::from(Buckets::MOST.0)) as u8)
    }

    /// Returns the size of this table once it has grown for `len` members. It never shrinks.
    pub fn grown_for(self, len: usize) -> Buckets {
        let is_enough = |log2: &u8| *log2 == Buckets::MOST.0 || len <= 3 << log2 >> 2;
        (self.0..=Buckets::MOST.0).find(is_enough).map_or(Buckets::MOST, Buckets)
    }

    /// Returns the size of a clone of a set with `len` members. Source: `HashMap.putMapEntries`.
    pub fn of_clone(len: usize) -> Buckets {
        let wanted = (len as f32 / 0.75 + 1.0) as u32;
        Buckets::from_log2(wanted.max(1).next_power_of_two().trailing_zeros())
    }

    /// Returns the size of `new HashSet<>(collection)` for a collection of `len` members.
    pub fn of_copy(len: usize) -> Buckets {
        let wanted = (len as f32 / 0.75) as u32 + 1;
        Buckets::from_log2(wanted.next_power_of_two().trailing_zeros()).max(Buckets::DEFAULT)
    }

    /// Returns the size of a `ConcurrentHashMap` with `len` entries, which grows when it is three
    /// quarters full.
    pub fn of_concurrent(len: usize) -> Buckets {
        Buckets::DEFAULT.grown_for(len + 1)
    }

    /// Returns the bucket of a member with this hash code.
    pub fn bucket(self, hash: u32) -> u32 {
        (hash ^ hash >> 16) & ((1 << self.0) - 1)
    }

    /// Returns members in the order of the table. They come with their buckets, the newest first.
    pub(crate) fn newest_first<T: Copy>(self, mut members: Vec<(u32, T)>) -> Vec<T> {
        // Visiting every bucket does not pay in a sparse table; sorting a few members is faster, too.
        if members.len() <= FEW || members.len() < 1 << self.0 >> 3 {
            members.reverse();
            members.sort_by_key(|&(bucket, _)| bucket);
            return members.into_iter().map(|(_, member)| member).collect();
        }
        let mut ends = vec![0u32; 1 << self.0];
        members.iter().for_each(|&(bucket, _)| ends[bucket as usize] += 1);
        let mut end = 0;
        for count in &mut ends {
            end += *count;
            *count = end;
        }
        let mut listed: Vec<T> = members.iter().map(|&(_, member)| member).collect();
        for (bucket, member) in members {
            let end = &mut ends[bucket as usize];
            *end -= 1;
            listed[*end as usize] = member;
        }
        listed
    }

    /// Sorts members into the order of a table of this size. Members of one bucket keep their
    /// order.
    pub fn arrange<T>(self, members: &mut [T], hash: impl Fn(&T) -> u32) {
        members.sort_by_key(|member| self.bucket(hash(member)));
    }
}

/// Returns Java's `String.hashCode`, which is computed over UTF-16 code units.
pub fn hash_code(text: &[u8]) -> u32 {
    let (eights, rest) = text.as_chunks::<8>();
    let mut hash = 0u32;
    for eight in eights {
        if u64::from_ne_bytes(*eight) & 0x8080_8080_8080_8080 != 0 {
            return hash_code_of_units(text);
        }
        let sum: u32 = std::iter::zip(eight, POWERS)
            .map(|(&byte, power)| u32::from(byte).wrapping_mul(power))
            .fold(0, u32::wrapping_add);
        hash = hash.wrapping_mul(POWER_8).wrapping_add(sum);
    }
    for &byte in rest {
        if !byte.is_ascii() {
            return hash_code_of_units(text);
        }
        hash = step(hash, u32::from(byte));
    }
    hash
}

/// 31^7 to 31^0.
const POWERS: [u32; 8] = [1_742_810_335, 887_503_681, 28_629_151, 923_521, 29_791, 961, 31, 1];
const POWER_8: u32 = 2_487_512_833;

fn step(hash: u32, unit: u32) -> u32 {
    hash.wrapping_mul(31).wrapping_add(unit)
}

#[cold]
fn hash_code_of_units(text: &[u8]) -> u32 {
    String::from_utf8_lossy(text).encode_utf16().fold(0, |hash, unit| step(hash, u32::from(unit)))
}

/// Returns Java's `Long.hashCode`.
pub fn hash_code_of_long(long: i64) -> u32 {
    (long ^ (long as u64 >> 32) as i64) as u32
}
