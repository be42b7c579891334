//! Tests that a configuration follows its files.

use std::sync::Arc;

use oxkeeper_tls::{LiveTls, Sides};

use crate::support::Authority;

#[test]
fn new_files_are_in_force_and_bad_ones_are_not() {
    let authority = Authority::new();
    let signed = |name: &str| authority.sign(name, &["localhost"], |_| {});
    let settings = authority.settings("server", &signed("first"));
    let live = LiveTls::load(settings, Sides::Both).unwrap();
    let subject = || live.own().unwrap().subject;
    let (first, first_client) = (live.server(), live.client());
    assert!(!live.look());
    assert_eq!(subject(), "CN=first");
    // The name in the new certificate is longer, so that the length of its file differs even if the file's time does
    // not.
    authority.settings("server", &signed("the second one"));
    assert!(live.look());
    assert_eq!(subject(), "CN=the second one");
    assert!(!Arc::ptr_eq(&first, &live.server()) && !Arc::ptr_eq(&first_client, &live.client()));
    authority.write("server.pem", "nothing of use");
    assert!(!live.look());
    assert_eq!(subject(), "CN=the second one");
    authority.settings("server", &signed("the third and last one"));
    assert!(live.look());
    assert_eq!(subject(), "CN=the third and last one");
    std::fs::remove_file(authority.dir.path().join("trust.pem")).unwrap();
    assert!(!live.look());
    authority.write("trust.pem", authority.trust_pem());
    assert!(live.look());
}

#[test]
fn what_is_missing_is_said() {
    let authority = Authority::new();
    let settings = authority.settings("server", &authority.sign("x", &[], |_| {}));
    let error = |settings| LiveTls::load(settings, Sides::Server).unwrap_err().to_string();
    let mut without = settings.clone();
    without.key_store = None;
    assert!(error(without).contains("ssl.keyStore.location: a server with TLS needs a key store"));
    let mut without = settings;
    without.trust_store = None;
    assert!(error(without).contains("clientAuth=none"));
}
