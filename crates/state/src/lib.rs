//! The replicated state machine: tree, sessions, ACLs, quotas.
