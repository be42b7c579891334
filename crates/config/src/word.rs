//! Which four bytes are a word, and which words are answered.
//!
//! Owns the list of words and the whitelist. Invariant: `srvr` is always on the whitelist.
//! Source: `FourLetterCommands`.

/// A four-letter word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Word {
    /// Configuration.
    Conf,
    /// Connections in full.
    Cons,
    /// Reset the statistics of connections.
    Crst,
    /// Sizes of the data directories.
    Dirs,
    /// Sessions, ephemerals and connections.
    Dump,
    /// The environment.
    Envi,
    /// The trace mask.
    Gtmk,
    /// Recorded tree digests.
    Hash,
    /// Read-only or not.
    Isro,
    /// Metrics.
    Mntr,
    /// Alive?
    Ruok,
    /// Reset the statistics of the server.
    Srst,
    /// The server in short.
    Srvr,
    /// The server and its connections in short.
    Stat,
    /// Set the trace mask.
    Stmk,
    /// Watches by session.
    Wchc,
    /// Watches by path.
    Wchp,
    /// Watches in short.
    Wchs,
    /// What telnet sends when it is closed (`ff f4 ff fd`).
    TelnetClose,
}

/// Every word with its bytes and its name.
const WORDS: [(Word, [u8; 4], &str); 19] = [
    (Word::Conf, *b"conf", "conf"),
    (Word::Cons, *b"cons", "cons"),
    (Word::Crst, *b"crst", "crst"),
    (Word::Dirs, *b"dirs", "dirs"),
    (Word::Dump, *b"dump", "dump"),
    (Word::Envi, *b"envi", "envi"),
    (Word::Gtmk, *b"gtmk", "gtmk"),
    (Word::Hash, *b"hash", "hash"),
    (Word::Isro, *b"isro", "isro"),
    (Word::Mntr, *b"mntr", "mntr"),
    (Word::Ruok, *b"ruok", "ruok"),
    (Word::Srst, *b"srst", "srst"),
    (Word::Srvr, *b"srvr", "srvr"),
    (Word::Stat, *b"stat", "stat"),
    (Word::Stmk, *b"stmk", "stmk"),
    (Word::Wchc, *b"wchc", "wchc"),
    (Word::Wchp, *b"wchp", "wchp"),
    (Word::Wchs, *b"wchs", "wchs"),
    (Word::TelnetClose, [0xff, 0xf4, 0xff, 0xfd], "telnet close"),
];

impl Word {
    /// The word that a connection opens with, if its first four bytes are one. They are a frame length otherwise.
    pub fn from_bytes(bytes: [u8; 4]) -> Option<Self> {
        WORDS.iter().find(|(_, word, _)| *word == bytes).map(|(word, _, _)| *word)
    }

    /// The word as text.
    pub fn name(self) -> &'static str {
        let (_, _, name) = WORDS[self as usize];
        name
    }

    /// Every word, in the order of the alphabet.
    pub fn all() -> impl Iterator<Item = Word> {
        WORDS.iter().map(|(word, _, _)| *word)
    }

    /// How many bytes after the word belong to it. They must already be there when the word is.
    pub fn argument_len(self) -> usize {
        if self == Word::Stmk { 8 } else { 0 }
    }
}

/// The words that are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whitelist {
    /// Bit n is word n of the enum.
    bits: u32,
}

impl Whitelist {
    /// Reads `4lw.commands.whitelist`: names between commas, `*` is every word. `srvr` is always answered, `isro` also
    /// where read-only mode is enabled. Names that are no words are of no effect.
    pub fn parse(list: &str, read_only_mode: bool) -> Self {
        let mut whitelist = Whitelist::default();
        if read_only_mode {
            whitelist.insert(Word::Isro);
        }
        for name in list.split(',').map(str::trim) {
            Word::all().filter(|word| name == "*" || name == word.name()).for_each(|word| whitelist.insert(word));
        }
        whitelist
    }

    fn insert(&mut self, word: Word) {
        self.bits |= 1 << word as u32;
    }

    /// Is the word answered?
    pub fn allows(self, word: Word) -> bool {
        self.bits & 1 << word as u32 != 0
    }
}

/// Only `srvr`.
impl Default for Whitelist {
    fn default() -> Self {
        Whitelist { bits: 1 << Word::Srvr as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_in_the_order_of_the_enum() {
        for (index, word) in Word::all().enumerate() {
            assert_eq!(word as usize, index);
            let (_, bytes, name) = WORDS[index];
            assert_eq!(Word::from_bytes(bytes), Some(word));
            assert!(word == Word::TelnetClose || name.as_bytes() == bytes, "{name}");
        }
        assert_eq!(Word::from_bytes([0, 0, 0, 45]), None);
        assert_eq!(Word::from_bytes(*b"RUOK"), None);
    }

    #[test]
    fn whitelist() {
        let cases: [(&str, bool, &[Word]); 7] = [
            ("", false, &[Word::Srvr]),
            ("", true, &[Word::Srvr, Word::Isro]),
            ("ruok", false, &[Word::Srvr, Word::Ruok]),
            (" stat , ruok,,conf ", false, &[Word::Srvr, Word::Ruok, Word::Stat, Word::Conf]),
            ("RUOK,nope", false, &[Word::Srvr]),
            ("telnet close", false, &[Word::Srvr, Word::TelnetClose]),
            ("ruok, *", false, &Word::all().collect::<Vec<_>>()),
        ];
        for (list, read_only_mode, expected) in cases {
            let whitelist = Whitelist::parse(list, read_only_mode);
            let allowed = Word::all().filter(|&word| whitelist.allows(word)).count();
            assert_eq!(allowed, expected.len(), "{list:?}");
            assert!(expected.iter().all(|&word| whitelist.allows(word)), "{list:?}");
        }
    }
}
