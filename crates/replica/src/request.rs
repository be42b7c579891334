//! Requests that a connection answers by itself: ping, authentication, the watches of a former
//! connection, and reads.
//!
//! Source: `FinalRequestProcessor.processRequest`, `DataTree.setWatches`, `ZooKeeperServer.processPacket`.

use oxkeeper_proto::op::{EventType, XID_PING};
use oxkeeper_proto::records::{AuthPacket, RequestHeader, SaslToken, SetWatches, SetWatches2};
use oxkeeper_proto::{ErrorCode, Jute, OpCode, frame};
use oxkeeper_state::{Identities, State};

use crate::auth::digest_md5::{Answer, Rejection};
use crate::auth::ensemble::Expectation;
use crate::auth::{self, Sasl};
use crate::connection::{Connection, End, Flow, Turn};
use crate::reading::{Reading, decoded};
use crate::watches::{Mode, Table, Watcher, Watches, put_event};

/// The zxid of events that setWatches sends for missed changes.
const CATCH_UP_ZXID: i64 = -1;

/// Number of characters of an unknown scheme that the log shows.
const SCHEME_SHOWN: usize = 32;

/// Offset of the error in a reply's header, behind xid and zxid, bytes.
const ERR_AT: usize = 12;

/// Outcome of a request; its body is written if it succeeded.
pub(crate) type Outcome = Result<(), ErrorCode>;

impl Connection {
    /// Answers a request that is not a write.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the few that need the connection itself; the rest are reads")]
    pub(crate) fn answer(
        &mut self,
        header: RequestHeader,
        op: OpCode,
        body: &[u8],
        turn: &mut Turn<'_>,
    ) -> Result<(), Flow> {
        let zxid = turn.shared.state.zxid().0;
        match op {
            OpCode::Ping => {
                let header = RequestHeader { xid: XID_PING, ..header };
                self.put_reply(header, zxid, turn, |_, _, _| Ok(()));
            }
            OpCode::Auth => return self.authenticate(header, body, turn),
            OpCode::Sasl => return self.sasl(header, body, turn),
            OpCode::SetWatches | OpCode::SetWatches2 => {
                // Missed events go out in front of the reply.
                let before = turn.out.len();
                let outcome = self.set_watches(op, body, turn);
                self.count_events(before, turn);
                self.put_reply(header, zxid, turn, |_, _, _| outcome);
            }
            op => self
                .put_reply(header, zxid, turn, |connection, turn, out| connection.reading(turn).answer(op, body, out)),
        }
        Ok(())
    }

    fn watcher(&self) -> Watcher<'_> {
        Watcher { connection: self.id, session: self.session, identities: &self.identities }
    }

    fn reading<'a>(&'a self, turn: &'a Turn<'_>) -> Reading<'a> {
        Reading { shared: turn.shared, settings: turn.config.settings, who: self.watcher() }
    }

    /// Registers the watches of a former connection; missed changes become events.
    fn set_watches(&self, op: OpCode, body: &[u8], turn: &mut Turn<'_>) -> Outcome {
        let request = if op == OpCode::SetWatches {
            let SetWatches { relative_zxid, data_watches, exist_watches, child_watches } = decoded(body)?;
            let none = || Some(Vec::new());
            SetWatches2 {
                relative_zxid,
                data_watches,
                exist_watches,
                child_watches,
                persistent_watches: none(),
                persistent_recursive_watches: none(),
            }
        } else {
            decoded(body)?
        };
        let mut watches = turn.shared.watches.lock();
        let mut catch_up = CatchUp { state: &turn.shared.state, watches: &mut watches, who: self.watcher() };
        catch_up.run(request, turn.out)
    }

    /// Counts the events among the output from `start` on.
    fn count_events(&mut self, start: usize, turn: &mut Turn<'_>) {
        let mut rest = &turn.out[start..];
        while let Ok(Some((event, behind))) = frame::split_frame(rest, usize::MAX) {
            self.counting(turn.stats).notified(frame::PREFIX_LEN + event.len(), turn.now_ms);
            rest = behind;
        }
    }

    /// Handles an auth packet. The reply's zxid is 0. Source: `ZooKeeperServer.processPacket`, case
    /// auth.
    fn authenticate(&mut self, header: RequestHeader, body: &[u8], turn: &mut Turn<'_>) -> Result<(), Flow> {
        let packet = AuthPacket::from_bytes(body).map_err(|_| Flow::End(End::AuthMalformed))?;
        let scheme = packet.scheme.unwrap_or_default();
        if let ("ensemble", Some(names)) = (&*scheme, &turn.config.auth.ensemble) {
            let sent = packet.auth.unwrap_or_default();
            match names.check(packet.auth) {
                Expectation::None => turn.stats.ensemble_skipped += 1,
                Expectation::Met => turn.stats.ensemble_met += 1,
                // ZooKeeper: no answer, so that the client tries another server rather than give
                // up.
                Expectation::Failed => {
                    turn.stats.ensemble_failed += 1;
                    let name = String::from_utf8_lossy(sent).chars().take(SCHEME_SHOWN).collect();
                    return Err(Flow::End(End::OtherEnsemble(name)));
                }
            }
            self.put_reply(header, 0, turn, |_, _, _| Ok(()));
            return Ok(());
        }
        let accepted = match (&*scheme, packet.auth) {
            // ZooKeeper: the address is an identity already; claiming it again changes nothing.
            ("ip", _) => true,
            // The certificate is an identity too, if there is one.
            ("x509", _) => Identities(&self.identities).iter().any(|id| id.scheme.as_deref() == Some("x509")),
            ("digest", Some(credentials)) if turn.config.settings.has_provider("digest") => {
                self.prove_digest(credentials, turn)
            }
            _ => false,
        };
        if !accepted {
            turn.stats.auth_failed += 1;
            self.put_reply(header, 0, turn, |_, _, _| Err(ErrorCode::AuthFailed));
            return Err(Flow::End(End::AuthFailed(scheme.chars().take(SCHEME_SHOWN).collect())));
        }
        self.put_reply(header, 0, turn, |_, _, _| Ok(()));
        Ok(())
    }

    /// Adds the identity. Returns false if the connection has too many.
    fn prove_digest(&mut self, credentials: &[u8], turn: &Turn<'_>) -> bool {
        let digest = turn.config.auth.digest.identity(credentials);
        if turn.config.auth.super_digest.as_deref() == Some(&*digest) {
            auth::add_identity(&mut self.identities, "super", "");
        }
        auth::add_identity(&mut self.identities, "digest", &digest);
        self.identified(turn)
    }

    /// Handles one token of a SASL exchange. Source: `ZooKeeperServer.processSasl`.
    fn sasl(&mut self, header: RequestHeader, body: &[u8], turn: &mut Turn<'_>) -> Result<(), Flow> {
        let SaslToken { token } = SaslToken::from_bytes(body).map_err(|_| Flow::End(End::AuthMalformed))?;
        let token = token.ok_or(Flow::End(End::AuthMalformed))?;
        // ZooKeeper: without SASL configuration the answer is a null token, and no error.
        let Some(sasl) = turn.config.auth.sasl.clone() else {
            self.put_sasl_reply(header, None, turn);
            return Ok(());
        };
        match self.sasl.get_or_insert_default().evaluate(token, &sasl, sasl.entropy) {
            Ok(Answer::Challenge(token)) => self.put_sasl_reply(header, Some(&token), turn),
            Ok(Answer::Proved { token, user }) => {
                if !self.prove_sasl(&user, &sasl, turn)? {
                    return self.fail_sasl(header, "there are too many identities", turn);
                }
                self.put_sasl_reply(header, Some(&token), turn);
            }
            Err(Rejection::Malformed) => return Err(Flow::End(End::SaslMalformed)),
            Err(Rejection::Failed(_) | Rejection::Refused { .. })
                if sasl.allow_failed && !turn.config.auth.requires_sasl() =>
            {
                self.put_sasl_reply(header, None, turn);
            }
            Err(Rejection::Failed(reason)) => return self.fail_sasl(header, reason, turn),
            Err(Rejection::Refused { user, reason }) => {
                return self.fail_sasl(header, &format!("user {user:?}: {reason}"), turn);
            }
        }
        Ok(())
    }

    /// Adds the identity. Returns false if the connection has too many.
    ///
    /// ZooKeeper: a name that is not a Kerberos name causes an exception, which costs the
    /// connection.
    fn prove_sasl(&mut self, user: &str, sasl: &Sasl, turn: &Turn<'_>) -> Result<bool, Flow> {
        let identity = sasl.identity(user).ok_or(Flow::End(End::SaslMalformed))?;
        auth::add_identity(&mut self.identities, "sasl", &identity);
        if let Some(other) = &sasl.any_user {
            auth::add_identity(&mut self.identities, Identities::ANY_SASL, other);
        }
        if sasl.is_super(&identity) {
            auth::add_identity(&mut self.identities, "super", "");
        }
        Ok(self.identified(turn))
    }

    /// Answers a failed SASL exchange. Unlike other failures, this one has a body.
    fn fail_sasl(&mut self, header: RequestHeader, reason: &str, turn: &mut Turn<'_>) -> Result<(), Flow> {
        let required = turn.config.auth.requires_sasl();
        let code = if required { ErrorCode::SessionClosedRequireSaslAuth } else { ErrorCode::AuthFailed };
        turn.stats.auth_failed += 1;
        let start = turn.out.len();
        self.put_sasl_reply(header, None, turn);
        let err = start + frame::PREFIX_LEN + ERR_AT;
        turn.out[err..err + 4].copy_from_slice(&code.wire().to_be_bytes());
        Err(Flow::End(End::SaslFailed(reason.to_owned())))
    }

    fn put_sasl_reply(&mut self, header: RequestHeader, token: Option<&[u8]>, turn: &mut Turn<'_>) {
        self.put_reply(header, 0, turn, |_, _, out| {
            SaslToken { token }.encode(out);
            Ok(())
        });
    }

    /// Updates the identities of its watches after identities were added. Returns false if there
    /// are too many.
    fn identified(&self, turn: &Turn<'_>) -> bool {
        if self.identities.len() > auth::IDENTITIES_LEN_MAX {
            return false;
        }
        turn.shared.watches.lock().identified(self.id, &self.identities);
        true
    }
}

/// State of a setWatches request: each list has its own rule for missed changes.
struct CatchUp<'a> {
    state: &'a State,
    watches: &'a mut Watches,
    who: Watcher<'a>,
}

impl CatchUp<'_> {
    /// Registers the watches. *Errors*: a list or path is null; the ones before it have been
    /// processed.
    fn run(&mut self, request: SetWatches2<'_>, out: &mut Vec<u8>) -> Outcome {
        let since = request.relative_zxid;
        for path in present(request.data_watches)? {
            let path = present(path)?;
            match self.state.tree().lookup(&path).map(|slot| self.state.tree().znode(slot).versions.mzxid) {
                None => put_event(out, EventType::NodeDeleted, &path, CATCH_UP_ZXID),
                Some(mzxid) if mzxid > since => put_event(out, EventType::NodeDataChanged, &path, CATCH_UP_ZXID),
                Some(_) => self.watches.add(&self.who, &path, Table::Data, Mode::Standard),
            }
        }
        for path in present(request.exist_watches)? {
            let path = present(path)?;
            match self.state.tree().lookup(&path) {
                Some(_) => put_event(out, EventType::NodeCreated, &path, CATCH_UP_ZXID),
                None => self.watches.add(&self.who, &path, Table::Data, Mode::Standard),
            }
        }
        for path in present(request.child_watches)? {
            let path = present(path)?;
            match self.state.tree().lookup(&path).map(|slot| self.state.tree().znode(slot).versions.pzxid) {
                None => put_event(out, EventType::NodeDeleted, &path, CATCH_UP_ZXID),
                Some(pzxid) if pzxid > since => put_event(out, EventType::NodeChildrenChanged, &path, CATCH_UP_ZXID),
                Some(_) => self.watches.add(&self.who, &path, Table::Child, Mode::Standard),
            }
        }
        for path in present(request.persistent_watches)? {
            self.watches.add_persistent(&self.who, &present(path)?, false);
        }
        for path in present(request.persistent_recursive_watches)? {
            self.watches.add_persistent(&self.who, &present(path)?, true);
        }
        Ok(())
    }
}

/// Rejects null. ZooKeeper: a null list or path causes an exception; the ones before it stand.
fn present<T>(value: Option<T>) -> Result<T, ErrorCode> {
    value.ok_or(ErrorCode::Marshalling)
}
