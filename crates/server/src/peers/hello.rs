//! The messages that two servers exchange first: their encoding, and the reasons to refuse. Pure.
//!
//! The dialler sends a hello, the other side answers with a welcome or a refusal, and the dialler
//! confirms a welcome with one byte. Only then does the link exist. So a hello that sat in a queue
//! until its sender gave up never replaces a newer link.
//!
//! The hello and the answer each have a head of 8 bytes — magic (4), version (u16), length of the
//! body (u16) — and a body. The parts described in this paragraph never change; everything after
//! them may. The version in a hello's head is the lowest that its sender speaks, and its body
//! begins with the highest (u16). A welcome's head has the highest version that both speak, which
//! then applies to everything on the link. A refusal's head has the lowest of its sender.
//!
//! The rest of a hello: purpose (u8), from (u8), to (u8), ensemble id (u64, 0 = none yet), number
//! of members (u8), their ids in ascending order (u8 each), then fields, each with a tag (u8), a
//! length (u8) and a value: 1 is the feature level that its ensemble has agreed on, 2 the highest
//! that it knows (u32 each). A field with an unknown tag is skipped. Answer: verdict (u8, 0 =
//! welcome), followed by the reason in a refusal (UTF-8), or by any additions of a newer server in
//! a welcome.

use std::fmt;
use std::net::IpAddr;

use oxkeeper_proto::ServerId;
use oxkeeper_state::Level;
use thiserror::Error;

/// Range of versions of the protocol between servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Versions {
    pub(super) lowest: u16,
    pub(super) highest: u16,
}

impl Versions {
    /// The range of this release. The release before a new version speaks only the old one, so
    /// `lowest` stays for one more release.
    pub(super) const HERE: Versions = Versions { lowest: 3, highest: 3 };
    /// First version whose hello has a range. Earlier ones have a single version in the head.
    const FIRST_RANGE: u16 = 3;

    /// Returns the highest version that both speak.
    pub(super) fn shared(self, other: Versions) -> Option<u16> {
        let highest = self.highest.min(other.highest);
        (highest >= self.lowest.max(other.lowest)).then_some(highest)
    }

    /// Returns the range of the sender of a hello.
    pub(super) fn of_hello(lowest: u16, body: &[u8]) -> Versions {
        let highest = match body.first_chunk() {
            Some(highest) if lowest >= Versions::FIRST_RANGE => u16::from_be_bytes(*highest),
            Some(_) | None => lowest,
        };
        Versions { lowest, highest }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Versions { lowest, highest } if lowest == highest => write!(formatter, "version {lowest}"),
            Versions { lowest, highest } => write!(formatter, "versions {lowest} to {highest}"),
        }
    }
}

/// Length of a head, bytes.
pub(super) const HEAD_LEN: usize = 8;
/// Maximum length of a body, bytes.
pub(super) const BODY_LEN_MAX: usize = 1024;
/// The dialler's reply to a welcome.
pub(super) const CONFIRMATION: u8 = 1;

const HELLO_MAGIC: [u8; 4] = *b"OXKH";
const ANSWER_MAGIC: [u8; 4] = *b"OXKA";
/// Length of a hello's body before the ids, bytes.
const FIXED_LEN: usize = 14;
/// Tags of a hello's fields.
const AGREED: u8 = 1;
const KNOWS: u8 = 2;

/// Purpose of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The single link between two servers.
    Link,
    /// A state transfer to the dialler.
    State,
}

/// The dialler's greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) purpose: Purpose,
    pub(super) from: ServerId,
    pub(super) to: ServerId,
    /// 0: no ensemble yet.
    pub(super) ensemble: u64,
    /// Ascending, including the sender.
    pub(super) members: Vec<ServerId>,
    pub(super) levels: Levels,
}

/// Feature levels known to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Levels {
    /// The level of its state.
    pub(super) agreed: Level,
    /// The highest level it knows.
    pub(super) knows: Level,
}

impl Hello {
    pub(super) fn encode(&self) -> Vec<u8> {
        let purpose = match self.purpose {
            Purpose::Link => 1,
            Purpose::State => 2,
        };
        let count = u8::try_from(self.members.len()).expect("ids are bytes and differ");
        let mut body = Versions::HERE.highest.to_be_bytes().to_vec();
        body.extend_from_slice(&[purpose, self.from.0, self.to.0]);
        body.extend_from_slice(&self.ensemble.to_be_bytes());
        body.push(count);
        body.extend(self.members.iter().map(|member| member.0));
        for (tag, level) in [(AGREED, self.levels.agreed), (KNOWS, self.levels.knows)] {
            body.extend_from_slice(&[tag, size_of::<u32>() as u8]);
            body.extend_from_slice(&level.0.to_be_bytes());
        }
        message(HELLO_MAGIC, Versions::HERE.lowest, &body)
    }

    /// Returns `None` if it is not a hello of this version.
    pub(super) fn decode(body: &[u8]) -> Option<Hello> {
        let (fixed, rest) = body.split_at_checked(FIXED_LEN)?;
        let purpose = match fixed[2] {
            1 => Purpose::Link,
            2 => Purpose::State,
            _ => return None,
        };
        let ensemble = u64::from_be_bytes(fixed[5..13].try_into().expect("8 bytes"));
        let (members, fields) = rest.split_at_checked(fixed[13].into())?;
        let levels = Levels::decode(fields)?;
        let members = members.iter().copied().map(ServerId).collect();
        Some(Hello { purpose, from: ServerId(fixed[3]), to: ServerId(fixed[4]), ensemble, members, levels })
    }

    /// Returns an error unless each side knows everything that the other side's state may contain.
    pub(super) fn check_levels(&self, me: ServerId, mine: Levels) -> Result<(), Refusal> {
        let lacks =
            |server, knows, agreed| if knows < agreed { Err(Refusal::Level { server, knows, agreed }) } else { Ok(()) };
        lacks(self.from, self.levels.knows, mine.agreed)?;
        lacks(me, mine.knows, self.levels.agreed)
    }

    /// Returns an error unless server `me` of `members` accepts this greeting. With changing
    /// members, the ensemble is `open`: a sender with a different list may be behind or ahead, and
    /// a non-member may become a member. The address is checked elsewhere.
    pub(super) fn check(&self, me: ServerId, members: &[ServerId], ensemble: u64, open: bool) -> Result<(), Refusal> {
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

impl Levels {
    fn decode(mut fields: &[u8]) -> Option<Levels> {
        let mut levels = Levels::default();
        while let [tag, len, rest @ ..] = fields {
            let (value, rest) = rest.split_at_checked((*len).into())?;
            let level = || value.first_chunk().map(|level| Level(u32::from_be_bytes(*level)));
            match *tag {
                AGREED => levels.agreed = level()?,
                KNOWS => levels.knows = level()?,
                // A newer server may send additional fields.
                _ => {}
            }
            fields = rest;
        }
        fields.is_empty().then_some(levels)
    }
}

/// Reason to refuse a greeting. The text is also sent to the other server.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum Refusal {
    #[error(
        "the server that answers speaks {here} of the protocol between servers, the one that dials {there}: start a newer \
         release on the older one; upgrade one release at a time"
    )]
    Version { here: Versions, there: Versions },
    #[error(
        "server {server} knows feature levels up to {knows}, the ensemble has agreed on {agreed}: start a newer release on \
         server {server}, with the data it has"
    )]
    Level { server: ServerId, knows: Level, agreed: Level },
    #[error("this is server {me}, not {to}: look at the addresses in the server lines")]
    NotMe { me: ServerId, to: ServerId },
    #[error("this is server {0} as well: two servers have the same myid")]
    Same(ServerId),
    #[error("server {from} is not among the members here, {members:?}")]
    Unknown { from: ServerId, members: Vec<ServerId> },
    #[error("the members here are {here:?}, not {there:?}: the server lines differ")]
    Members { here: Vec<ServerId>, there: Vec<ServerId> },
    #[error("this server belongs to ensemble {here:016x}, not {there:016x}")]
    Ensemble { here: u64, there: u64 },
    #[error("server {me} dials server {from}, not the other way round")]
    Direction { me: ServerId, from: ServerId },
    #[error("{address} is not an address of server {from}'s host {host}")]
    Address { address: IpAddr, from: ServerId, host: String },
    #[error("{0}: look at the server lines, or set ssl.quorum.clientHostnameVerification=false")]
    Certificate(String),
    #[error("too many state transfers are under way")]
    Busy,
}

/// Returns version and body length from a head, or `None` if it is not a hello.
pub(super) fn hello_head(head: &[u8; HEAD_LEN]) -> Option<(u16, usize)> {
    split_head(HELLO_MAGIC, head)
}

/// Returns version and body length from a head, or `None` if it is not an answer.
pub(super) fn answer_head(head: &[u8; HEAD_LEN]) -> Option<(u16, usize)> {
    split_head(ANSWER_MAGIC, head)
}

/// Encodes the answer to a hello: a welcome with a version, or a refusal.
pub(super) fn answer(verdict: Result<u16, &Refusal>) -> Vec<u8> {
    match verdict {
        Ok(version) => message(ANSWER_MAGIC, version, &[0]),
        Err(refusal) => {
            let mut body = refusal.to_string().into_bytes();
            body.insert(0, 1);
            body.truncate(BODY_LEN_MAX);
            message(ANSWER_MAGIC, Versions::HERE.lowest, &body)
        }
    }
}

/// Decodes an answer's body. *Errors*: the reason for a refusal, suitable for a log line.
pub(super) fn verdict(body: &[u8]) -> Result<(), String> {
    match body {
        [0, ..] => Ok(()),
        [] => Err("its answer makes no sense".to_owned()),
        [_, reason @ ..] => Err(String::from_utf8_lossy(reason).replace(char::is_control, " ")),
    }
}

fn message(magic: [u8; 4], version: u16, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).expect("bodies are short");
    [&magic[..], &version.to_be_bytes(), &len.to_be_bytes(), body].concat()
}

fn split_head(magic: [u8; 4], head: &[u8; HEAD_LEN]) -> Option<(u16, usize)> {
    let (version, len) = (u16::from_be_bytes([head[4], head[5]]), u16::from_be_bytes([head[6], head[7]]));
    (head[..4] == magic && usize::from(len) <= BODY_LEN_MAX).then_some((version, usize::from(len)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEVELS: Levels = Levels { agreed: Level(1), knows: Level(2) };

    fn hello(from: u8, to: u8) -> Hello {
        Hello {
            purpose: Purpose::Link,
            from: ServerId(from),
            to: ServerId(to),
            ensemble: 7,
            members: [1, 2, 3].map(ServerId).into(),
            levels: LEVELS,
        }
    }

    #[test]
    fn a_hello_survives_the_wire() {
        for hello in [hello(1, 2), Hello { purpose: Purpose::State, ensemble: u64::MAX, ..hello(3, 255) }] {
            let bytes = hello.encode();
            let (head, body) = bytes.split_first_chunk().unwrap();
            assert_eq!(hello_head(head), Some((Versions::HERE.lowest, body.len())));
            assert_eq!(Versions::of_hello(Versions::HERE.lowest, body), Versions::HERE);
            assert_eq!(answer_head(head), None);
            assert_eq!(Hello::decode(body), Some(hello));
        }
    }

    #[test]
    fn answers_say_why() {
        assert_eq!(verdict(&answer(Ok(3))[HEAD_LEN..]), Ok(()));
        assert_eq!(verdict(&[0, 9, 9]), Ok(()), "a newer server says more");
        let refused = answer(Err(&Refusal::NotMe { me: ServerId(2), to: ServerId(3) }));
        assert!(verdict(&refused[HEAD_LEN..]).unwrap_err().starts_with("this is server 2, not 3"));
        assert_eq!(verdict(b"\x01one\ntwo").unwrap_err(), "one two");
    }

    #[test]
    fn the_highest_shared_version_is_taken() {
        let versions = |lowest, highest| Versions { lowest, highest };
        let shared = |a: Versions, b: Versions| {
            assert_eq!(a.shared(b), b.shared(a));
            a.shared(b)
        };
        assert_eq!(shared(versions(3, 3), versions(3, 3)), Some(3));
        assert_eq!(shared(versions(3, 3), versions(3, 4)), Some(3));
        assert_eq!(shared(versions(3, 5), versions(4, 9)), Some(5));
        assert_eq!(shared(versions(3, 3), versions(4, 5)), None);
        // Before there were ranges, the head had the only version.
        assert_eq!(Versions::of_hello(2, &[1, 1, 2]), versions(2, 2));
        assert_eq!(Versions::of_hello(3, &[0, 5, 1]), versions(3, 5));
        assert_eq!(Versions::of_hello(3, &[5]), versions(3, 3));
        let refusal = Refusal::Version { here: versions(3, 3), there: versions(4, 5) }.to_string();
        assert!(refusal.contains("speaks version 3 of") && refusal.contains("dials versions 4 to 5"), "{refusal}");
    }

    #[test]
    fn a_hello_may_say_more() {
        let bytes = hello(1, 2).encode();
        let body = &bytes[HEAD_LEN..];
        let more = [body, &[99, 2, 1, 1, 100, 0]].concat();
        assert_eq!(Hello::decode(&more), Some(hello(1, 2)));
        let (fixed, _) = body.split_at(body.len() - 12);
        assert_eq!(Hello::decode(fixed), Some(Hello { levels: Levels::default(), ..hello(1, 2) }));
        assert_eq!(Hello::decode(&more[..more.len() - 1]), None);
    }

    #[test]
    fn nobody_is_linked_to_a_state_that_he_does_not_know() {
        let check = |there: (u32, u32), here: (u32, u32)| {
            let levels = |(agreed, knows)| Levels { agreed: Level(agreed), knows: Level(knows) };
            Hello { levels: levels(there), ..hello(1, 2) }.check_levels(ServerId(2), levels(here))
        };
        assert_eq!(check((1, 1), (1, 2)), Ok(()));
        assert_eq!(check((0, 1), (1, 1)), Ok(()));
        let lacks = |server| Err(Refusal::Level { server, knows: Level(1), agreed: Level(2) });
        assert_eq!(check((1, 1), (2, 2)), lacks(ServerId(1)));
        assert_eq!(check((2, 2), (1, 1)), lacks(ServerId(2)));
    }

    #[test]
    fn each_mismatch_has_its_refusal() {
        let check = |hello: Hello| hello.check(ServerId(2), &[1, 2, 3].map(ServerId), 7, false);
        assert_eq!(check(hello(1, 2)), Ok(()));
        assert_eq!(check(Hello { ensemble: 0, ..hello(1, 2) }), Ok(()));
        assert_eq!(hello(1, 2).check(ServerId(2), &[1, 2, 3].map(ServerId), 0, false), Ok(()));
        assert_eq!(check(hello(1, 3)), Err(Refusal::NotMe { me: ServerId(2), to: ServerId(3) }));
        assert_eq!(check(hello(2, 2)), Err(Refusal::Same(ServerId(2))));
        assert_eq!(
            check(hello(4, 2)),
            Err(Refusal::Unknown { from: ServerId(4), members: [1, 2, 3].map(ServerId).into() })
        );
        assert_eq!(check(hello(3, 2)), Err(Refusal::Direction { me: ServerId(2), from: ServerId(3) }));
        assert_eq!(check(Hello { purpose: Purpose::State, ..hello(3, 2) }), Ok(()));
        let there: Vec<ServerId> = [1, 2].map(ServerId).into();
        let other = Refusal::Members { here: [1, 2, 3].map(ServerId).into(), there: there.clone() };
        assert_eq!(check(Hello { members: there, ..hello(1, 2) }), Err(other));
        for greeting in [hello(4, 2), Hello { members: [1, 2].map(ServerId).into(), ..hello(1, 2) }] {
            assert_eq!(greeting.check(ServerId(2), &[1, 2, 3].map(ServerId), 7, true), Ok(()));
        }
        assert_eq!(check(Hello { ensemble: 8, ..hello(1, 2) }), Err(Refusal::Ensemble { here: 7, there: 8 }));
        assert_eq!(
            hello(0, 2).check(ServerId(2), &[0, 1, 2].map(ServerId), 7, true),
            Ok(()),
            "0 is a number like any other"
        );
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes: Vec<u8>, head: [u8; HEAD_LEN]) {
            let _ = (Hello::decode(&bytes), verdict(&bytes), hello_head(&head), answer_head(&head));
        }
    }
}
