//! What two servers say to each other before anything else: bytes, and the reasons to refuse. Pure.
//!
//! The dialler says hello, the other answers with a welcome or a refusal, the dialler confirms a welcome with one byte.
//! Only then is there a link: a hello that waited in a queue while its sender gave up never replaces a newer one.
//!
//! Each of the first two is a head of 8 bytes — magic (4), version (u16), length of the body (u16) — and a body. The version
//! stands before all that may change with it. Hello: purpose (u8), from (u8), to (u8), ensemble id (u64, 0 = none yet),
//! number of members (u8), their ids in ascending order (u8 each). Answer: verdict (u8, 0 = welcome), reason (UTF-8).

use std::net::IpAddr;

use thiserror::Error;

/// Version of everything that passes between servers. 3: frames are cut into pieces, and some overtake others.
pub(super) const VERSION: u16 = 3;
/// Bytes of a head.
pub(super) const HEAD_LEN: usize = 8;
/// Longest body, bytes.
pub(super) const BODY_LEN_MAX: usize = 1024;
/// What the dialler says to a welcome.
pub(super) const CONFIRMATION: u8 = 1;

const HELLO_MAGIC: [u8; 4] = *b"OXKH";
const ANSWER_MAGIC: [u8; 4] = *b"OXKA";
/// Bytes of a hello's body before the ids.
const FIXED_LEN: usize = 12;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The one link of two servers.
    Link,
    /// A state transfer to the dialler.
    State,
}

/// The dialler's greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) purpose: Purpose,
    pub(super) from: u8,
    pub(super) to: u8,
    /// 0: none yet.
    pub(super) ensemble: u64,
    /// Ascending, with oneself.
    pub(super) members: Vec<u8>,
}

impl Hello {
    pub(super) fn encode(&self) -> Vec<u8> {
        let purpose = match self.purpose {
            Purpose::Link => 1,
            Purpose::State => 2,
        };
        let count = u8::try_from(self.members.len()).expect("ids are bytes and differ");
        let mut body = vec![purpose, self.from, self.to];
        body.extend_from_slice(&self.ensemble.to_be_bytes());
        body.push(count);
        body.extend_from_slice(&self.members);
        message(HELLO_MAGIC, &body)
    }

    /// `None`: not a hello of this version.
    pub(super) fn decode(body: &[u8]) -> Option<Hello> {
        let (fixed, members) = body.split_at_checked(FIXED_LEN)?;
        let purpose = match fixed[0] {
            1 => Purpose::Link,
            2 => Purpose::State,
            _ => return None,
        };
        let ensemble = u64::from_be_bytes(fixed[3..11].try_into().expect("8 bytes"));
        let whole = usize::from(fixed[11]) == members.len();
        whole.then(|| Hello { purpose, from: fixed[1], to: fixed[2], ensemble, members: members.to_vec() })
    }

    /// Whether server `me` of `members` takes this greeting. Where members change, the ensemble is `open`: whoever knows
    /// others may be behind, or before, and who is no member may become one. The address is judged elsewhere.
    pub(super) fn check(&self, me: u8, members: &[u8], ensemble: u64, open: bool) -> Result<(), Refusal> {
        let from = self.from;
        if self.to != me {
            return Err(Refusal::NotMe { me, to: self.to });
        }
        if from == me {
            return Err(Refusal::Same(me));
        }
        if !members.contains(&from) && !open {
            return Err(Refusal::Unknown { from, members: members.to_vec() });
        }
        if self.members != members && !open {
            return Err(Refusal::Members { here: members.to_vec(), there: self.members.clone() });
        }
        if self.ensemble != 0 && ensemble != 0 && self.ensemble != ensemble {
            return Err(Refusal::Ensemble { here: ensemble, there: self.ensemble });
        }
        if self.purpose == Purpose::Link && from > me && members.contains(&from) {
            return Err(Refusal::Direction { me, from });
        }
        Ok(())
    }
}

/// Why a greeting is refused. The text goes to the other server, too.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum Refusal {
    #[error("servers here speak version {VERSION} to each other, not {0}")]
    Version(u16),
    #[error("this is server {me}, not {to}: look at the addresses in the server lines")]
    NotMe { me: u8, to: u8 },
    #[error("this is server {0} as well: two servers have the same myid")]
    Same(u8),
    #[error("server {from} is not among the members here, {members:?}")]
    Unknown { from: u8, members: Vec<u8> },
    #[error("the members here are {here:?}, not {there:?}: the server lines differ")]
    Members { here: Vec<u8>, there: Vec<u8> },
    #[error("this server belongs to ensemble {here:016x}, not {there:016x}")]
    Ensemble { here: u64, there: u64 },
    #[error("server {me} dials server {from}, not the other way round")]
    Direction { me: u8, from: u8 },
    #[error("{address} is not an address of server {from}'s host {host}")]
    Address { address: IpAddr, from: u8, host: String },
    #[error("{0}: look at the server lines, or set ssl.quorum.clientHostnameVerification=false")]
    Certificate(String),
    #[error("too many state transfers are under way")]
    Busy,
}

/// Version and body length out of a head. `None`: not a hello.
pub(super) fn hello_head(head: &[u8; HEAD_LEN]) -> Option<(u16, usize)> {
    split_head(HELLO_MAGIC, head)
}

/// Version and body length out of a head. `None`: not an answer.
pub(super) fn answer_head(head: &[u8; HEAD_LEN]) -> Option<(u16, usize)> {
    split_head(ANSWER_MAGIC, head)
}

/// The answer to a hello.
pub(super) fn answer(verdict: Result<(), &Refusal>) -> Vec<u8> {
    match verdict {
        Ok(()) => message(ANSWER_MAGIC, &[0]),
        Err(refusal) => {
            let mut body = refusal.to_string().into_bytes();
            body.insert(0, 1);
            body.truncate(BODY_LEN_MAX);
            message(ANSWER_MAGIC, &body)
        }
    }
}

/// What an answer's body says. *Errors*: the reason for a refusal, fit for a log line.
pub(super) fn verdict(body: &[u8]) -> Result<(), String> {
    match body {
        [0] => Ok(()),
        [0, ..] | [] => Err("its answer makes no sense".to_owned()),
        [_, reason @ ..] => Err(String::from_utf8_lossy(reason).replace(char::is_control, " ")),
    }
}

fn message(magic: [u8; 4], body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).expect("bodies are short");
    [&magic[..], &VERSION.to_be_bytes(), &len.to_be_bytes(), body].concat()
}

fn split_head(magic: [u8; 4], head: &[u8; HEAD_LEN]) -> Option<(u16, usize)> {
    let (version, len) = (u16::from_be_bytes([head[4], head[5]]), u16::from_be_bytes([head[6], head[7]]));
    (head[..4] == magic && usize::from(len) <= BODY_LEN_MAX).then_some((version, usize::from(len)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello(from: u8, to: u8) -> Hello {
        Hello { purpose: Purpose::Link, from, to, ensemble: 7, members: vec![1, 2, 3] }
    }

    #[test]
    fn a_hello_survives_the_wire() {
        for hello in [hello(1, 2), Hello { purpose: Purpose::State, ensemble: u64::MAX, ..hello(3, 255) }] {
            let bytes = hello.encode();
            let (head, body) = bytes.split_first_chunk().unwrap();
            assert_eq!(hello_head(head), Some((VERSION, body.len())));
            assert_eq!(answer_head(head), None);
            assert_eq!(Hello::decode(body), Some(hello));
        }
    }

    #[test]
    fn answers_say_why() {
        assert_eq!(verdict(&answer(Ok(()))[HEAD_LEN..]), Ok(()));
        let refused = answer(Err(&Refusal::NotMe { me: 2, to: 3 }));
        assert!(verdict(&refused[HEAD_LEN..]).unwrap_err().starts_with("this is server 2, not 3"));
        assert_eq!(verdict(b"\x01one\ntwo").unwrap_err(), "one two");
    }

    #[test]
    fn each_mismatch_has_its_refusal() {
        let check = |hello: Hello| hello.check(2, &[1, 2, 3], 7, false);
        assert_eq!(check(hello(1, 2)), Ok(()));
        assert_eq!(check(Hello { ensemble: 0, ..hello(1, 2) }), Ok(()));
        assert_eq!(hello(1, 2).check(2, &[1, 2, 3], 0, false), Ok(()));
        assert_eq!(check(hello(1, 3)), Err(Refusal::NotMe { me: 2, to: 3 }));
        assert_eq!(check(hello(2, 2)), Err(Refusal::Same(2)));
        assert_eq!(check(hello(4, 2)), Err(Refusal::Unknown { from: 4, members: vec![1, 2, 3] }));
        assert_eq!(check(hello(3, 2)), Err(Refusal::Direction { me: 2, from: 3 }));
        assert_eq!(check(Hello { purpose: Purpose::State, ..hello(3, 2) }), Ok(()));
        let there = vec![1, 2];
        let other = Refusal::Members { here: vec![1, 2, 3], there: there.clone() };
        assert_eq!(check(Hello { members: there, ..hello(1, 2) }), Err(other));
        for greeting in [hello(4, 2), Hello { members: vec![1, 2], ..hello(1, 2) }] {
            assert_eq!(greeting.check(2, &[1, 2, 3], 7, true), Ok(()));
        }
        assert_eq!(check(Hello { ensemble: 8, ..hello(1, 2) }), Err(Refusal::Ensemble { here: 7, there: 8 }));
        assert_eq!(hello(0, 2).check(2, &[0, 1, 2], 7, true), Ok(()), "0 is a number like any other");
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes: Vec<u8>, head: [u8; HEAD_LEN]) {
            let _ = (Hello::decode(&bytes), verdict(&bytes), hello_head(&head), answer_head(&head));
        }
    }
}
