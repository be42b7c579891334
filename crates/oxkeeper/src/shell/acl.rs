//! Parses and prints ACLs. Source: `AclParser`, `ZKUtil.getPermString`, `GetAclCommand`.

use oxkeeper_client::calls::acl_entry;
use oxkeeper_proto::op::perms;
use oxkeeper_proto::records::Acl;
use serde_json::{Value, json};

use super::report::Report;

/// Letters and bits, in the order in which they are printed.
const PERMS: [(char, i32); 5] =
    [('c', perms::CREATE), ('d', perms::DELETE), ('r', perms::READ), ('w', perms::WRITE), ('a', perms::ADMIN)];

/// Parses `scheme:id:perms,…`. Leaves out malformed entries with a warning; the server decides about the rest.
pub(super) fn parse<'a>(text: &'a str, report: &mut Report) -> Vec<Acl<'a>> {
    // ZooKeeper: Java's split drops empty pieces at the end, but never the only piece.
    let pieces = if text.is_empty() { text } else { text.trim_end_matches(',') };
    let mut acl = Vec::new();
    for piece in pieces.split(',').filter(|_| text.is_empty() || !pieces.is_empty()) {
        let ends = piece.split_once(':').zip(piece.rsplit_once(':'));
        match ends.filter(|((scheme, _), (front, _))| scheme.len() < front.len()) {
            Some(((scheme, _), (front, letters))) => {
                acl.push(acl_entry(bits(letters, report), scheme, &front[scheme.len() + 1..]));
            }
            None => report.warn(format_args!("{piece} does not have the form scheme:id:perm")),
        }
    }
    acl
}

fn bits(letters: &str, report: &mut Report) -> i32 {
    letters.chars().fold(0, |bits, char| match PERMS.iter().find(|(letter, _)| *letter == char) {
        Some((_, bit)) => bits | bit,
        None => {
            report.warn(format_args!("Unknown perm type: {char}"));
            bits
        }
    })
}

fn letters(bits: i32) -> String {
    PERMS.iter().filter(|(_, bit)| bits & bit != 0).map(|(letter, _)| letter).collect()
}

/// Prints the lines of `getAcl`.
pub(super) fn print(report: &Report, acl: &[Acl<'_>]) {
    for (scheme, id, perms) in acl.iter().map(parts) {
        report.line(format_args!("'{scheme},'{id}\n: {perms}"));
    }
}

/// Returns one object for each entry.
pub(super) fn json(acl: &[Acl<'_>]) -> Value {
    acl.iter().map(parts).map(|(scheme, id, perms)| json!({"scheme": scheme, "id": id, "perms": perms})).collect()
}

fn parts<'a>(entry: &'a Acl<'_>) -> (&'a str, &'a str, String) {
    (entry.id.scheme.as_deref().unwrap_or_default(), entry.id.id.as_deref().unwrap_or_default(), letters(entry.perms))
}

#[cfg(test)]
mod tests {
    use super::super::report::Format;
    use super::*;

    fn check(text: &str, expected: &[(&str, &str, &str)]) {
        let mut report = Report::new(Format::Json);
        let acl = parse(text, &mut report);
        let parts: Vec<_> = acl.iter().map(parts).collect();
        let parts: Vec<_> = parts.iter().map(|(scheme, id, perms)| (*scheme, *id, perms.as_str())).collect();
        assert_eq!(parts, expected, "{text}");
    }

    #[test]
    fn entries() {
        check("world:anyone:r", &[("world", "anyone", "r")]);
        check("auth::awrdc,", &[("auth", "", "cdrwa")]);
        check("digest:bob:x=:c,ip:::1:rw", &[("digest", "bob:x=", "c"), ("ip", "::1", "rw")]);
        check("world:anyone", &[]);
        check("world:anyone:rz,bad", &[("world", "anyone", "r")]);
        check("", &[]);
        check(",", &[]);
    }
}
