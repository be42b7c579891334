//! Defines the four-letter words, and the whitelist of those that are answered.
//!
//! Owns the list of words and the whitelist. Invariant: `srvr` is always on the whitelist.
//! Source: `FourLetterCommands`.

/// A four-letter word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Word {
    /// Shows the configuration.
    Conf,
    /// Lists the connections in full.
    Cons,
    /// Resets the statistics of connections.
    Crst,
    /// Shows the sizes of the data directories.
    Dirs,
    /// Lists sessions, ephemerals and connections.
    Dump,
    /// Shows the environment.
    Envi,
    /// Shows the trace mask.
    Gtmk,
    /// Lists recorded tree digests.
    Hash,
    /// Tells whether the server is read-only.
    Isro,
    /// Shows metrics.
    Mntr,
    /// Tells whether the server is alive.
    Ruok,
    /// Resets the statistics of the server.
    Srst,
    /// Shows a summary of the server.
    Srvr,
    /// Shows a summary of the server and its connections.
    Stat,
    /// Sets the trace mask.
    Stmk,
    /// Lists watches by session.
    Wchc,
    /// Lists watches by path.
    Wchp,
    /// Shows a summary of watches.
    Wchs,
    /// Bytes that telnet sends when it is closed (`ff f4 ff fd`).
    TelnetClose,
}

/// All words with their bytes and names.
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
    /// Returns the word in the first four bytes of a connection; `None` if they are a frame length.
    pub fn from_bytes(bytes: [u8; 4]) -> Option<Self> {
        WORDS.iter().find(|(_, word, _)| *word == bytes).map(|(word, _, _)| *word)
    }

    /// Returns the word as text.
    pub fn name(self) -> &'static str {
        let (_, _, name) = WORDS[self as usize];
        name
    }

    /// Returns all words in alphabetical order.
    pub fn all() -> impl Iterator<Item = Word> {
        WORDS.iter().map(|(word, _, _)| *word)
    }

    /// Returns the number of bytes after the word that belong to it. They must arrive together with the word.
    pub fn argument_len(self) -> usize {
        if self == Word::Stmk { 8 } else { 0 }
    }
}

/// The set of words that are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whitelist {
    /// Bit n is set if word n of the enum is answered.
    bits: u32,
}

impl Whitelist {
    /// Parses `4lw.commands.whitelist`: names separated by commas; `*` stands for all words. `srvr` is always
    /// answered, and `isro` too if read-only mode is enabled. Names that are not words have no effect.
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

    /// Returns whether the word is answered.
    pub fn allows(self, word: Word) -> bool {
        self.bits & 1 << word as u32 != 0
    }
}

/// Allows only `srvr`.
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
