//! A small async ZooKeeper client.
