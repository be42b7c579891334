//! The model's rules for paths, ACLs and kinds of znodes, each a pure function.
//!
//! Source: `PathUtils.validatePath`, `ZooKeeperServer.checkACL`, `PrepRequestProcessor.fixupACL`,
//! `EphemeralType`.

use std::collections::BTreeMap;

use crate::model::world;
use crate::request::{Entry, Identity, Order};

pub(crate) const MARSHALLING: i32 = -5;
pub(crate) const UNIMPLEMENTED: i32 = -6;
pub(crate) const BAD_ARGUMENTS: i32 = -8;
pub(crate) const NO_NODE: i32 = -101;
pub(crate) const NO_AUTH: i32 = -102;
pub(crate) const BAD_VERSION: i32 = -103;
pub(crate) const NO_CHILDREN_FOR_EPHEMERALS: i32 = -108;
pub(crate) const NODE_EXISTS: i32 = -110;
pub(crate) const NOT_EMPTY: i32 = -111;
pub(crate) const SESSION_EXPIRED: i32 = -112;
pub(crate) const INVALID_ACL: i32 = -114;
pub(crate) const EPHEMERAL_ON_LOCAL_SESSION: i32 = -120;
pub(crate) const RECONFIG_DISABLED: i32 = -123;
pub(crate) const QUOTA_EXCEEDED: i32 = -125;

pub(crate) const READ: i32 = 1;
pub(crate) const WRITE: i32 = 2;
pub(crate) const CREATE: i32 = 4;
pub(crate) const DELETE: i32 = 8;
pub(crate) const ADMIN: i32 = 16;

pub(crate) const CONTAINER: i64 = i64::MIN;
pub(crate) const TTL: i64 = -1 << 56;

pub(crate) fn is_ephemeral(owner: i64) -> bool {
    owner != 0 && owner != CONTAINER && owner >> 56 != -1
}

pub(crate) fn length(data: &Option<Vec<u8>>) -> i64 {
    data.as_ref().map_or(0, Vec::len) as i64
}

pub(crate) fn expect(expected: i32, current: i32) -> Result<(), i32> {
    if expected == -1 || expected == current { Ok(()) } else { Err(BAD_VERSION) }
}

pub(crate) fn parent_of(path: &str) -> &str {
    match path.rfind('/').expect("an absolute path") {
        0 => "/",
        slash => &path[..slash],
    }
}

/// Parses a quota's text where a limit may refuse, step by step as Java splits it.
pub(crate) fn strict_track(data: Option<&[u8]>) -> Result<BTreeMap<String, i64>, i32> {
    let text = String::from_utf8_lossy(data.ok_or(MARSHALLING)?).into_owned();
    let text = text.replace(';', ",");
    let mut track = BTreeMap::new();
    for (position, pair) in text.trim_end_matches(',').split(',').enumerate() {
        if text.chars().all(|it| it == ',') {
            break;
        }
        if pair.is_empty() && position > 0 {
            continue;
        }
        let mut parts: Vec<&str> = pair.split('=').collect();
        while parts.last() == Some(&"") {
            parts.pop();
        }
        if parts.len() < 2 {
            return Err(MARSHALLING);
        }
        let value = if parts[1].is_empty() { -1 } else { parts[1].parse().map_err(|_| MARSHALLING)? };
        track.insert(parts[0].to_owned(), value);
    }
    Ok(track)
}

/// Returns the subtree and the name of a quota znode.
pub(crate) fn quota_znode(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("/zookeeper/quota")?.rsplit_once('/')
}

pub(crate) fn deletable(path: &str) -> Result<&str, i32> {
    let special = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"].contains(&path);
    if !path.contains('/') || path.contains('\0') || special { Err(BAD_ARGUMENTS) } else { Ok(parent_of(path)) }
}

/// Validates a path character by character, as `PathUtils.validatePath` does.
pub(crate) fn valid(path: &str) -> Result<&str, i32> {
    let chars: Vec<u16> = path.encode_utf16().collect();
    let slash = u16::from(b'/');
    let dot = u16::from(b'.');
    if chars.first() != Some(&slash) {
        return Err(BAD_ARGUMENTS);
    }
    if chars.len() == 1 {
        return Ok(path);
    }
    if chars.last() == Some(&slash) {
        return Err(BAD_ARGUMENTS);
    }
    for (at, &char) in chars.iter().enumerate().skip(1) {
        let ends = at + 1 == chars.len() || chars[at + 1] == slash;
        let bad = match char {
            0 => true,
            _ if char == slash => chars[at - 1] == slash,
            _ if char == dot && chars[at - 1] == dot => chars[at - 2] == slash && ends,
            _ if char == dot => chars[at - 1] == slash && ends,
            0x1..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..=0xffff => true,
            _ => false,
        };
        if bad {
            return Err(BAD_ARGUMENTS);
        }
    }
    Ok(path)
}

pub(crate) fn allowed(acl: &[Entry], wanted: i32, order: &Order) -> Result<(), i32> {
    if order.settings & 4 != 0 || acl.is_empty() || order.identities.iter().any(|id| id.scheme == "super") {
        return Ok(());
    }
    for entry in acl.iter().filter(|entry| entry.perms & wanted != 0) {
        let (scheme, id) = (entry.scheme.as_deref().expect("stored"), entry.id.as_deref().expect("stored"));
        let same = |identity: &&Identity| identity.scheme == scheme;
        let matches = |identity: &Identity| match scheme {
            "ip" => in_network(&identity.id, id),
            _ => identity.id == id,
        };
        if *entry == world(entry.perms)
            || has_provider(scheme, order) && order.identities.iter().filter(same).any(matches)
        {
            return Ok(());
        }
    }
    Err(NO_AUTH)
}

pub(crate) fn has_provider(scheme: &str, order: &Order) -> bool {
    match scheme {
        "ip" => true,
        "digest" => order.settings & 32 == 0,
        "sasl" => order.settings & 16 != 0,
        "x509" => order.settings & 8 != 0,
        _ => false,
    }
}

pub(crate) fn fixup(acl: &[Entry], order: &Order) -> Result<Vec<Entry>, i32> {
    let mut unique: Vec<&Entry> = Vec::new();
    for entry in acl {
        // Java's equals compares field by field, and a method call on null is an exception.
        for other in unique.iter().filter(|other| other.perms == entry.perms) {
            if entry.scheme.is_none() || entry.scheme == other.scheme && entry.id.is_none() {
                return Err(MARSHALLING);
            }
        }
        if !unique.contains(&entry) {
            unique.push(entry);
        }
    }
    if unique.is_empty() {
        return Err(INVALID_ACL);
    }
    let mut fixed = Vec::new();
    for entry in unique {
        let scheme = entry.scheme.as_deref().ok_or(INVALID_ACL)?;
        if scheme == "world" && entry.id.as_deref().ok_or(MARSHALLING)? == "anyone" {
            fixed.push(entry.clone());
        } else if scheme == "auth" {
            let proved = |identity: &&Identity| {
                has_provider(&identity.scheme, order) && ["digest", "sasl", "x509"].contains(&&*identity.scheme)
            };
            let before = fixed.len();
            fixed.extend(order.identities.iter().filter(proved).map(|identity| Entry {
                perms: entry.perms,
                scheme: Some(identity.scheme.clone()),
                id: Some(identity.id.clone()),
            }));
            if fixed.len() == before {
                return Err(INVALID_ACL);
            }
        } else {
            if !has_provider(scheme, order) {
                return Err(INVALID_ACL);
            }
            let id = entry.id.as_deref().ok_or(MARSHALLING)?;
            let valid = match scheme {
                "digest" => java_split(id, ':').len() == 2,
                "ip" => network(id).is_some(),
                _ => true,
            };
            if !valid {
                return Err(INVALID_ACL);
            }
            fixed.push(entry.clone());
        }
    }
    Ok(fixed)
}

/// Splits like Java's `String.split`, which drops trailing empty parts.
pub(crate) fn java_split(text: &str, separator: char) -> Vec<&str> {
    let mut parts: Vec<&str> = text.split(separator).collect();
    while parts.len() > 1 && parts.last() == Some(&"") {
        parts.pop();
    }
    parts
}

/// Parses an IPv4 network; the tests use no other.
pub(crate) fn network(text: &str) -> Option<(u32, u32)> {
    let (address, bits) = text.split_once('/').unwrap_or((text, "32"));
    let bytes: Vec<u32> = address.split('.').map(|byte| byte.parse().ok()).collect::<Option<_>>()?;
    let bits: u32 = bits.parse().ok().filter(|&bits| bits <= 32)?;
    let valid = bytes.len() == 4 && bytes.iter().all(|&byte| byte < 256);
    valid.then(|| (bytes.iter().fold(0, |address, byte| address << 8 | byte), bits))
}

pub(crate) fn in_network(id: &str, pattern: &str) -> bool {
    let (Some((wanted, bits)), Some((actual, _))) = (network(pattern), network(id)) else { return false };
    u64::from(wanted) >> (32 - bits) == u64::from(actual) >> (32 - bits)
}
