//! Access control: a caller's identities, the permissions a list grants, and the interned lists
//! that znodes refer to.
//!
//! Owns [`Acls`], which holds one counted entry per distinct list: a million znodes with the open
//! list cost one list.
//! Source: `ZooKeeperServer.checkACL`, `PrepRequestProcessor.fixupACL`, `server/auth/*`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;
use oxkeeper_proto::op::perms;
use oxkeeper_proto::records::{Acl, Id};
use oxkeeper_proto::{ErrorCode, Jute, Reader};

use crate::address::{address_matches, is_address_pattern};
use crate::digest;
use crate::settings::Settings;
use crate::x500::is_x500_name;

/// Maximum number of entries in a stored list. The longest list that fits into a request is
/// shorter, but `auth` entries expand.
const ENTRIES_MAX: usize = 1 << 16;

/// An access control list that owns its text.
pub type AclList = Vec<Acl<'static>>;

/// Id of the interned list that a znode has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AclId(pub u32);

impl AclId {
    /// `world:anyone:cdrwa`, the list nearly every znode has. Never checked, never released.
    pub const OPEN: AclId = AclId(0);
}

/// A caller's identities, Jute-encoded one after the other, as a command carries them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identities<'a>(pub &'a [u8]);

impl<'a> Identities<'a> {
    /// Returns each identity, in the order of the connection's set of identities.
    pub fn iter(self) -> impl Iterator<Item = Id<'a>> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || if reader.rest().is_empty() { None } else { Id::decode(&mut reader).ok() })
    }

    /// Scheme of an identity that the server adds to every client authenticated with SASL, and that
    /// no client can claim. Its id is the SASL user whose ACL entries apply to them as well. This
    /// is how `letAnySaslUserDoX` travels with each command.
    pub const ANY_SASL: &'static str = "oxkeeper.any-sasl";

    fn is_super(self) -> bool {
        self.iter().any(|id| id.scheme.as_deref() == Some("super"))
    }
}

/// The caller, and the settings of the server that took the request.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The connection's identities.
    pub identities: Identities<'a>,
    /// Switches that decide which checks are made.
    pub settings: Settings,
}

impl Caller<'_> {
    /// Checks that `list` grants any of the bits in `wanted`. *Errors*: `NoAuth`.
    pub fn check(&self, list: &[Acl<'_>], wanted: i32) -> Result<(), ErrorCode> {
        let allowed = self.settings.skip_acl()
            || list.is_empty()
            || list.iter().any(|entry| entry.perms & wanted != 0 && is_world(&entry.id))
            || self.identities.is_super()
            || list.iter().any(|entry| entry.perms & wanted != 0 && self.is_named_by(&entry.id));
        if allowed { Ok(()) } else { Err(ErrorCode::NoAuth) }
    }

    fn is_named_by(&self, wanted: &Id<'_>) -> bool {
        let (Some(scheme), Some(pattern)) = (wanted.scheme.as_deref(), wanted.id.as_deref()) else { return false };
        if !self.settings.has_provider(scheme) {
            return false;
        }
        self.identities.iter().any(|id| {
            let (given, id) = (id.scheme.unwrap_or_default(), id.id.unwrap_or_default());
            match scheme {
                "sasl" if given == Identities::ANY_SASL => id == pattern,
                _ if given != scheme => false,
                "ip" => address_matches(&id, pattern),
                // ZooKeeper: the sasl user `super` matches every sasl entry.
                "sasl" => id == pattern || id == "super",
                _ => id == pattern,
            }
        })
    }
}

/// Returns the list to store for the list a client sent: without duplicates, with `auth` expanded,
/// and with each entry valid.
///
/// *Errors*: `InvalidAcl`; `Marshalling` where the reference meets a null scheme or id it does not
/// expect.
pub fn fix_acl(sent: Option<Vec<Acl<'_>>>, caller: &Caller<'_>) -> Result<AclList, ErrorCode> {
    let sent = sent.unwrap_or_default();
    let mut fixed = AclList::with_capacity(sent.len());
    for entry in without_duplicates(&sent)? {
        fix_entry(entry, caller, &mut fixed)?;
        if fixed.len() > ENTRIES_MAX {
            return Err(ErrorCode::InvalidAcl);
        }
    }
    if fixed.is_empty() { Err(ErrorCode::InvalidAcl) } else { Ok(fixed) }
}

/// ZooKeeper: compares each entry with the entries before it, field by field. A null field is an
/// exception if the fields before it are equal, and this happens before any single entry is
/// validated.
fn without_duplicates<'l, 'a>(sent: &'l [Acl<'a>]) -> Result<Vec<&'l Acl<'a>>, ErrorCode> {
    let (mut perms, mut schemes, mut entries) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut distinct = Vec::with_capacity(sent.len());
    for entry in sent {
        let (scheme, id) = (entry.id.scheme.as_deref(), entry.id.id.as_deref());
        let same_perms = !perms.insert(entry.perms);
        let same_scheme = !schemes.insert((entry.perms, scheme));
        if same_perms && scheme.is_none() || same_scheme && id.is_none() {
            return Err(ErrorCode::Marshalling);
        }
        if entries.insert((entry.perms, scheme, id)) {
            distinct.push(entry);
        }
    }
    Ok(distinct)
}

fn fix_entry(entry: &Acl<'_>, caller: &Caller<'_>, fixed: &mut AclList) -> Result<(), ErrorCode> {
    let scheme = entry.id.scheme.as_deref().ok_or(ErrorCode::InvalidAcl)?;
    if scheme == "auth" {
        return expand_auth(entry.perms, caller, fixed);
    }
    if scheme != "world" && !caller.settings.has_provider(scheme) {
        return Err(ErrorCode::InvalidAcl);
    }
    // ZooKeeper: does not check for a null id here; the exception becomes a marshalling error.
    let id = entry.id.id.as_deref().ok_or(ErrorCode::Marshalling)?;
    let valid = match scheme {
        "world" => id == "anyone",
        "digest" => is_digest(id),
        "ip" => is_address_pattern(id),
        "sasl" => is_kerberos_name(id),
        "x509" => is_x500_name(id),
        _ => true,
    };
    if !valid {
        return Err(ErrorCode::InvalidAcl);
    }
    fixed.push(entry.clone().into_owned());
    Ok(())
}

/// Expands `auth` to every identity that the caller has proved, as opposed to those merely
/// observed.
fn expand_auth(perms: i32, caller: &Caller<'_>, fixed: &mut AclList) -> Result<(), ErrorCode> {
    let before = fixed.len();
    let proved = |id: &Id<'_>| {
        let scheme = id.scheme.as_deref().unwrap_or_default();
        matches!(scheme, "digest" | "sasl" | "x509") && caller.settings.has_provider(scheme)
    };
    fixed.extend(caller.identities.iter().filter(proved).map(|id| Acl { perms, id }.into_owned()));
    if fixed.len() == before { Err(ErrorCode::InvalidAcl) } else { Ok(()) }
}

/// Returns whether a list is the open one, which needs no fixing.
pub(crate) fn is_open(list: Option<&[Acl<'_>]>) -> bool {
    matches!(list, Some([only]) if only.perms == perms::ALL && is_world(&only.id))
}

fn is_world(id: &Id<'_>) -> bool {
    id.scheme.as_deref() == Some("world") && id.id.as_deref() == Some("anyone")
}

/// ZooKeeper: Java's split drops trailing empty parts, so `user:` is one part, not two.
fn is_digest(id: &str) -> bool {
    let mut parts = id.trim_end_matches(':').split(':');
    parts.next().is_some() && parts.next().is_some() && parts.next().is_none()
}

/// ZooKeeper: accepts a plain name, or `service/host@realm` with or without the host. Source:
/// `KerberosName`.
fn is_kerberos_name(id: &str) -> bool {
    match id.split_once('@') {
        None => true,
        Some((principal, realm)) => principal.matches('/').count() < 2 && !realm.contains(['/', '@']),
    }
}

/// Returns the list with the hash of every digest masked, for callers that may read but not
/// administer.
pub fn mask_digests(list: &[Acl<'_>]) -> AclList {
    let mask = |entry: &Acl<'_>| {
        let mut entry = entry.clone().into_owned();
        if entry.id.scheme.as_deref() == Some("digest") {
            entry.id.id = Some(mask_digest(entry.id.id.as_deref().unwrap_or_default()).into());
        }
        entry
    };
    list.iter().map(mask).collect()
}

/// ZooKeeper: `replaceAll(":.*", ":x")`, whose dot matches any character except a line end, so each
/// line is masked from its first colon on.
fn mask_digest(id: &str) -> String {
    let is_line_end = |c| matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mask = |line: &str| match line.split_once(':') {
        None => line.to_owned(),
        Some((start, secret)) => {
            let end = &secret[secret.trim_end_matches(is_line_end).len()..];
            format!("{start}:x{end}")
        }
    };
    id.split_inclusive(is_line_end).map(mask).collect()
}

/// Returns a list that grants `perms` to `world:anyone`.
pub fn world(perms: i32) -> AclList {
    vec![Acl { perms, id: Id { scheme: Some("world".into()), id: Some("anyone".into()) } }]
}

/// The interned lists. Invariant: `by_bytes` names exactly the used entries of `lists`.
#[derive(Debug)]
pub struct Acls {
    lists: Vec<Option<Interned>>,
    by_bytes: HashMap<Box<[u8]>, AclId, FixedState>,
    free: Vec<u32>,
    open: Arc<AclList>,
    /// Sum of the lists' digests, each counted once per use.
    digest: u64,
}

#[derive(Debug)]
struct Interned {
    list: Arc<AclList>,
    /// Number of znodes that have it.
    uses: u64,
    digest: u64,
}

impl Acls {
    /// Creates a table that holds only the open list.
    pub fn new(seed: u64) -> Acls {
        let open = Arc::new(world(perms::ALL));
        let mut acls = Acls {
            lists: Vec::new(),
            by_bytes: HashMap::with_hasher(FixedState::with_seed(seed)),
            free: Vec::new(),
            open: open.clone(),
            digest: 0,
        };
        acls.place(AclId::OPEN, open, 0);
        acls
    }

    /// Returns a digest that is equal if the same lists are used by the same number of znodes.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// Returns the list with this id.
    pub fn list(&self, id: AclId) -> &Arc<AclList> {
        self.find(id).expect("a znode's ACL is interned")
    }

    /// Returns the list with this id, if it is in use.
    pub fn find(&self, id: AclId) -> Option<&Arc<AclList>> {
        self.lists.get(id.0 as usize)?.as_ref().map(|interned| &interned.list)
    }

    /// Counts one more use of `list` and returns whether the list is new.
    pub fn acquire(&mut self, list: AclList) -> (AclId, bool) {
        if list == *self.open {
            return (AclId::OPEN, false);
        }
        if let Some(&id) = self.by_bytes.get(encode_list(&list).as_slice()) {
            self.retain(id);
            return (id, false);
        }
        let id = AclId(self.free.pop().unwrap_or(self.lists.len() as u32));
        self.place(id, Arc::new(list), 0);
        self.retain(id);
        (id, true)
    }

    /// Counts one more use of a list that is already interned.
    pub fn retain(&mut self, id: AclId) {
        if id != AclId::OPEN {
            let interned = self.interned_mut(id);
            interned.uses += 1;
            let digest = interned.digest;
            self.digest = self.digest.wrapping_add(digest);
        }
    }

    /// Counts one use less and returns whether the list was removed.
    pub fn release(&mut self, id: AclId) -> bool {
        if id == AclId::OPEN {
            return false;
        }
        let interned = self.interned_mut(id);
        interned.uses -= 1;
        let (uses, digest) = (interned.uses, interned.digest);
        self.digest = self.digest.wrapping_sub(digest);
        if uses > 0 {
            return false;
        }
        let interned = self.interned_mut(id);
        let bytes = encode_list(&interned.list);
        self.by_bytes.remove(bytes.as_slice());
        self.lists[id.0 as usize] = None;
        self.free.push(id.0);
        true
    }

    /// Stores a list loaded from the store under its id, with no use counted yet.
    pub fn place_loaded(&mut self, id: AclId, list: AclList) {
        self.place(id, Arc::new(list), 0);
    }

    /// Completes loading: gaps become free ids.
    pub fn finish_loading(&mut self) {
        self.free = (0..self.lists.len() as u32).rev().filter(|&id| self.lists[id as usize].is_none()).collect();
    }

    /// Panics unless exactly these lists are interned besides the open one, with these numbers of
    /// uses.
    pub(crate) fn check(&self, uses: &BTreeMap<AclId, u64>) {
        let interned = self.lists.iter().enumerate().skip(1);
        let counted = interned.filter_map(|(id, list)| Some((AclId(id as u32), list.as_ref()?.uses)));
        assert_eq!(&counted.collect::<BTreeMap<_, _>>(), uses, "interned ACLs and their uses");
        let digest = |list: &Interned| digest::of_bytes(&encode_list(&list.list)).wrapping_mul(list.uses);
        let digests = self.lists.iter().skip(1).flatten().map(digest);
        assert_eq!(digests.fold(0, u64::wrapping_add), self.digest, "digest of the ACLs");
        assert_eq!(self.by_bytes.len(), uses.len() + 1, "every list is found by its bytes");
        assert_eq!(self.lists.len(), uses.len() + 1 + self.free.len(), "gaps are free");
    }

    fn place(&mut self, id: AclId, list: Arc<AclList>, uses: u64) {
        let index = id.0 as usize;
        if self.lists.len() <= index {
            self.lists.resize_with(index + 1, || None);
        }
        let bytes = encode_list(&list);
        let digest = digest::of_bytes(&bytes);
        self.by_bytes.insert(bytes.into(), id);
        self.lists[index] = Some(Interned { list, uses, digest });
    }

    fn interned_mut(&mut self, id: AclId) -> &mut Interned {
        self.lists[id.0 as usize].as_mut().expect("a znode's ACL is interned")
    }
}

/// Encodes a list as one Jute vector.
pub fn encode_list(list: &AclList) -> Vec<u8> {
    let mut bytes = Vec::new();
    (list.len() as i32).encode(&mut bytes);
    list.iter().for_each(|entry| entry.encode(&mut bytes));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_ids() {
        let check = |id, expected| assert_eq!(is_digest(id), expected, "{id}");
        check("user:hash", true);
        check(":x", true);
        check("u:", false);
        check("a:b:c", false);
        check("", false);
    }

    #[test]
    fn masked_digests() {
        let check = |id, expected| assert_eq!(mask_digest(id), expected, "{id:?}");
        check("user:hash", "user:x");
        check("user:", "user:x");
        check("user", "user");
        check("user:x\n", "user:x\n");
        check("a\nb:c\r\nd:e:f\u{2028}:\u{85}g", "a\nb:x\r\nd:x\u{2028}:x\u{85}g");
        check("u:\u{b}\u{c}h", "u:x");
    }

    #[test]
    fn a_null_behind_equal_fields_is_met_before_anything_is_invalid() {
        let entry = |perms, scheme: Option<&'static str>, id: Option<&'static str>| Acl {
            perms,
            id: Id { scheme: scheme.map(Into::into), id: id.map(Into::into) },
        };
        let caller = Caller { identities: Identities::default(), settings: Settings::default() };
        let check = |list: Vec<Acl<'static>>, expected| {
            assert_eq!(fix_acl(Some(list.clone()), &caller).err(), Some(expected), "{list:?}");
        };
        let (marshalling, invalid) = (ErrorCode::Marshalling, ErrorCode::InvalidAcl);
        check(vec![entry(1, None, None)], invalid);
        check(vec![entry(1, None, None), entry(1, None, None)], marshalling);
        check(vec![entry(1, Some("world"), Some("anyone")), entry(1, None, None)], marshalling);
        check(vec![entry(1, None, None), entry(1, Some("world"), Some("anyone"))], invalid);
        check(vec![entry(1, None, None), entry(2, None, None)], invalid);
        check(
            vec![entry(1, Some("foo"), Some("x")), entry(1, Some("auth"), None), entry(1, Some("auth"), None)],
            marshalling,
        );
        check(
            vec![entry(1, Some("foo"), Some("x")), entry(1, Some("auth"), None), entry(2, Some("auth"), None)],
            invalid,
        );
        check(vec![entry(1, Some("world"), None)], marshalling);
    }

    #[test]
    fn interning_counts_uses() {
        let mut acls = Acls::new(1);
        let (id, new) = acls.acquire(world(perms::READ));
        assert!(new);
        assert_eq!(acls.acquire(world(perms::READ)), (id, false));
        assert!(!acls.release(id));
        assert!(acls.release(id));
        assert_eq!(acls.acquire(world(perms::ALL)), (AclId::OPEN, false));
    }
}
