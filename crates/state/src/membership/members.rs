//! The members of an ensemble: `server.N=`, `group.N=` and `weight.N=` lines.
//!
//! Owns their syntax and the decision between a standalone server and an ensemble. Invariant: a
//! [`Server`] has at least one address, and its quorum and election ports differ. Source:
//! `QuorumPeer.QuorumServer`, `QuorumHierarchical#parse` and `QuorumPeerConfig#parseDynamicConfig`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use nom::branch::alt;
use nom::bytes::complete::{take_while, take_while1};
use nom::character::complete::char as one_char;
use nom::combinator::{all_consuming, opt};
use nom::multi::{many0, separated_list1};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};
use oxkeeper_proto::java;

/// Address to listen on or connect to: a host name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Host name or address; `None` is the wildcard: every address of this machine, IPv4 and IPv6.
    /// IPv6 literals have no brackets.
    pub host: Option<String>,
    /// Port; 0 lets the system choose.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.as_deref() {
            None => write!(f, "*:{}", self.port),
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Some(host) => write!(f, "{host}:{}", self.port),
        }
    }
}

/// Role of a server in votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// The server votes.
    #[default]
    Participant,
    /// The server only learns.
    Observer,
}

impl Role {
    /// Reads a role.
    ///
    /// *Errors*: neither `participant` nor `observer`, in any case.
    pub fn parse(text: &str) -> Result<Self, String> {
        match java::trim(text).to_ascii_lowercase().as_str() {
            "participant" => Ok(Role::Participant),
            "observer" => Ok(Role::Observer),
            _ => Err(format!("{text:?} is not a role: write participant or observer")),
        }
    }
}

/// One network address of a server, with its two ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// Host name or address; IPv6 literals have no brackets.
    pub host: String,
    /// Port on which a leader accepts followers.
    pub quorum_port: u16,
    /// Port for election votes.
    pub election_port: u16,
}

/// Returns whether a host is a wildcard, which can be listened on but not dialled.
pub fn is_wildcard(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_unspecified())
}

/// An error in a server line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerLineError {
    /// ZooKeeper: an error of the address instead of the configuration, which `reconfig` answers
    /// differently.
    PortOutOfRange(i64),
    /// Any other error.
    Wrong(String),
}

impl fmt::Display for ServerLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerLineError::PortOutOfRange(port) => write!(f, "port must be 0–65535, not {port}"),
            ServerLineError::Wrong(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ServerLineError {}

impl From<String> for ServerLineError {
    fn from(why: String) -> ServerLineError {
        ServerLineError::Wrong(why)
    }
}

/// The contents of one `server.N=` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Addresses of the server; more than one only if `multiAddress.enabled` is on.
    pub addresses: Vec<PeerAddress>,
    /// Role of the server.
    pub role: Role,
    /// Client address, `;[host:]port`; without a host it is the IPv4 wildcard `0.0.0.0`, as
    /// ZooKeeper prints it.
    pub client: Option<HostPort>,
}

impl Server {
    /// Reads the value of a `server.N=` line.
    ///
    /// *Errors*: wrong form, port outside 0–65535, equal ports, roles that differ between addresses, several addresses
    /// while `multi_address_enabled` is off.
    pub fn parse(id: i64, text: &str, multi_address_enabled: bool) -> Result<Self, ServerLineError> {
        let Ok((_, (addresses, client))) = all_consuming(server_line).parse(text) else {
            return Err(format!("{text:?} must have the form {FORM}").into());
        };
        if addresses.len() > 1 && !multi_address_enabled {
            return Err(format!("server {id} has several addresses, which needs multiAddress.enabled=true").into());
        }
        let client = match client {
            Some((host, port)) => {
                let host = host.unwrap_or("0.0.0.0").to_owned();
                Some(HostPort { port: parse_port(&host, port)?, host: Some(host) })
            }
            None => None,
        };
        let role = common_role(&addresses)?;
        let addresses = addresses.into_iter().map(|raw| raw.parse(id)).collect::<Result<_, _>>()?;
        Ok(Server { addresses, role, client })
    }
}

/// Formats the value of a server line in ZooKeeper's canonical spelling, as `/zookeeper/config` and
/// `conf` show it.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut addresses: Vec<_> = self.addresses.iter().collect();
        addresses.sort_by(|a, b| a.host.cmp(&b.host));
        for (i, address) in addresses.iter().enumerate() {
            let (separator, host) = (if i > 0 { "|" } else { "" }, bracketed(&address.host));
            write!(f, "{separator}{host}:{}:{}", address.quorum_port, address.election_port)?;
        }
        f.write_str(match self.role {
            Role::Participant => ":participant",
            Role::Observer => ":observer",
        })?;
        match &self.client {
            Some(client) => write!(f, ";{client}"),
            None => Ok(()),
        }
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

const FORM: &str = "host:port:port[:participant|observer][;[host:]clientPort]";

/// One `host:port:port[:role]` before its ports are parsed.
struct RawAddress<'a> {
    host: &'a str,
    quorum_port: &'a str,
    election_port: &'a str,
    role: Option<&'a str>,
}

impl RawAddress<'_> {
    fn parse(self, id: i64) -> Result<PeerAddress, ServerLineError> {
        let quorum_port = parse_port(self.host, self.quorum_port)?;
        let election_port = parse_port(self.host, self.election_port)?;
        if quorum_port == election_port {
            return Err(format!("the two ports of server {id} must be different").into());
        }
        Ok(PeerAddress { host: self.host.to_owned(), quorum_port, election_port })
    }
}

fn parse_port(host: &str, text: &str) -> Result<u16, ServerLineError> {
    let number: i64 =
        java::trim(text).parse().map_err(|_| format!("{text:?} behind {host} is not a port: port must be 0–65535"))?;
    u16::try_from(number).map_err(|_| ServerLineError::PortOutOfRange(number))
}

fn common_role(addresses: &[RawAddress<'_>]) -> Result<Role, String> {
    let mut roles = addresses.iter().filter_map(|address| address.role).map(Role::parse);
    let first = roles.next().transpose()?.unwrap_or_default();
    for role in roles {
        let role = role?;
        if role != first {
            return Err("all addresses of a server must have the same role".to_owned());
        }
    }
    Ok(first)
}

type ClientPart<'a> = (Option<&'a str>, &'a str);

fn server_line(input: &str) -> IResult<&str, (Vec<RawAddress<'_>>, Option<ClientPart<'_>>)> {
    let addresses = terminated(separated_list1(one_char('|'), peer_address), many0(one_char('|')));
    // ZooKeeper: Java's split drops empty trailing parts, so `a:1:2;` has no client part and is legal.
    let client = preceded(one_char(';'), client_part);
    terminated((addresses, opt(client)), many0(one_char(';'))).parse(input)
}

fn peer_address(input: &str) -> IResult<&str, RawAddress<'_>> {
    let (rest, (host, quorum_port, election_port, role, _)) =
        (host, colon_word, colon_word, opt(colon_word), many0(one_char(':'))).parse(input)?;
    Ok((rest, RawAddress { host, quorum_port, election_port, role }))
}

fn client_part(input: &str) -> IResult<&str, ClientPart<'_>> {
    alt(((terminated(host, one_char(':')).map(Some), word), word.map(|port| (None, port)))).parse(input)
}

fn host(input: &str) -> IResult<&str, &str> {
    let literal = delimited(one_char('['), take_while1(|c| c != ']'), one_char(']'));
    alt((literal, take_while1(|c| !matches!(c, ':' | ';' | '|' | '[' | ']')))).parse(input)
}

fn word(input: &str) -> IResult<&str, &str> {
    take_while1(|c| !matches!(c, ':' | ';' | '|')).parse(input)
}

fn colon_word(input: &str) -> IResult<&str, &str> {
    preceded((one_char(':'), take_while(|c| c == ' ')), word).parse(input)
}

/// The members of an ensemble and how they vote.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// Servers by id.
    pub servers: BTreeMap<i64, Server>,
    /// `group.N`: server ids by group id. If empty, a plain majority decides.
    pub groups: BTreeMap<i64, Vec<i64>>,
    /// `weight.N`: votes by server id; 1 if absent.
    pub weights: BTreeMap<i64, i64>,
}

impl Members {
    /// Returns the number of servers that vote.
    pub fn participants(&self) -> usize {
        self.servers.values().filter(|server| server.role == Role::Participant).count()
    }

    /// Returns whether any server has more than one address.
    pub fn has_several_addresses(&self) -> bool {
        self.servers.values().any(|server| server.addresses.len() > 1)
    }

    /// Replaces wildcards by hosts, where `known` has the host of that server.
    pub fn locate_by(&mut self, known: &Members) {
        for (id, server) in &mut self.servers {
            let known = known.servers.get(id).into_iter().flat_map(|known| &known.addresses);
            // With several addresses it is not clear which one to take.
            if let ([address], [known]) = (&mut server.addresses[..], &known.collect::<Vec<_>>()[..])
                && is_wildcard(&address.host)
            {
                address.host.clone_from(&known.host);
            }
        }
    }

    /// Adds the value of a `group.N=` line: `id:id:…`.
    ///
    /// *Errors*: an id that is not a number, or that is in another group.
    pub fn add_group(&mut self, group: i64, value: &str) -> Result<(), String> {
        let ids = value.split(':').map(parse_id).collect::<Result<Vec<_>, _>>()?;
        for (i, id) in ids.iter().enumerate() {
            if ids[..i].contains(id) || self.groups.values().any(|members| members.contains(id)) {
                return Err(format!("server {id} is in two groups"));
            }
        }
        self.groups.insert(group, ids);
        Ok(())
    }

    /// Checks that these lines make a valid standalone server or ensemble. `Ok` holds a warning, if
    /// one is due.
    ///
    /// *Errors*: no participant where there must be one; observers without an ensemble; a
    /// participant in no group.
    pub fn check(&self, standalone_enabled: bool) -> Result<Option<&'static str>, String> {
        let participants = self.participants();
        let observers = self.servers.len() - participants;
        if !self.groups.is_empty() || !self.weights.is_empty() {
            self.check_groups()?;
        }
        match participants {
            0 if !standalone_enabled => {
                Err("standaloneEnabled=false needs at least one server line of a participant".into())
            }
            0 if observers > 0 => Err("there are observers, but no participants".into()),
            0 => Ok(None),
            1 if standalone_enabled && observers > 0 => {
                Err("one participant runs standalone, so it cannot have observers: set standaloneEnabled=false".into())
            }
            1 if standalone_enabled => Ok(Some("there is one server line only: this server runs standalone")),
            1 | 2 => Ok(Some("this ensemble tolerates no failure: for that it needs at least 3 participants")),
            even if even % 2 == 0 => {
                Ok(Some("an even number of participants tolerates no more failures than one participant fewer would"))
            }
            _ => Ok(None),
        }
    }

    fn check_groups(&self) -> Result<(), String> {
        let grouped = |id| self.groups.values().any(|members| members.contains(id));
        let mut voters = self.servers.iter().filter(|(_, server)| server.role == Role::Participant);
        match voters.find(|(id, _)| !grouped(id)) {
            Some((id, _)) => Err(format!(
                "server {id} is in no group, but groups or weights are set: every participant needs a group"
            )),
            None => Ok(()),
        }
    }

    /// Returns whether ZooKeeper treats these members as an ensemble, and so requires limits and an
    /// id. A single voter is an ensemble if `standaloneEnabled=false`.
    pub fn asks_for_ensemble(&self, standalone_enabled: bool) -> bool {
        !standalone_enabled || self.participants() > 1
    }
}

/// Formats the lines in ZooKeeper's order, each with a line end. With groups, every voter's weight
/// is shown.
impl fmt::Display for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, server) in &self.servers {
            writeln!(f, "server.{id}={server}")?;
        }
        for (group, ids) in &self.groups {
            let ids: Vec<_> = ids.iter().map(i64::to_string).collect();
            writeln!(f, "group.{group}={}", ids.join(":"))?;
        }
        let mut weights = self.weights.clone();
        if !self.groups.is_empty() {
            let voters = self.servers.iter().filter(|(_, server)| server.role == Role::Participant);
            voters.for_each(|(&id, _)| _ = weights.entry(id).or_insert(1));
        }
        weights.iter().try_for_each(|(id, weight)| writeln!(f, "weight.{id}={weight}"))
    }
}

/// Parses a server, group or version id: decimal, as Java's `Long.parseLong` reads it.
pub fn parse_id(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("{text:?} is not a whole number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Checks `line` against `expected`, which is the canonical text or a part of the error.
    fn check(line: &str, expected: Result<&str, &str>) {
        match (Server::parse(1, line, true), expected) {
            (Ok(server), Ok(text)) => assert_eq!(server.to_string(), text, "{line:?}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{line:?}: {error}"),
            (got, _) => panic!("{line:?}: expected {expected:?}, got {got:?}"),
        }
    }

    #[test]
    fn server_lines() {
        check("zoo1:2888:3888", Ok("zoo1:2888:3888:participant"));
        check("zoo1:2888:3888;2181", Ok("zoo1:2888:3888:participant;0.0.0.0:2181"));
        check("zoo1:2888:3888:OBSERVER;10.0.0.1:2181", Ok("zoo1:2888:3888:observer;10.0.0.1:2181"));
        check("[2001:db8::1]:2888:3888;[::1]:2181", Ok("[2001:db8::1]:2888:3888:participant;[::1]:2181"));
        check("b:1:2|a:3:4:observer", Ok("a:3:4|b:1:2:observer"));
        check("a:1:2;", Ok("a:1:2:participant"));
        check("a:1:2:", Ok("a:1:2:participant"));
        check("a:1:1", Err("must be different"));
        check("a:1", Err("must have the form"));
        check("a:1:2:participant:x", Err("must have the form"));
        check("a:1:2;1;2", Err("must have the form"));
        check("a:1:2;b:c:3", Err("must have the form"));
        check("[::1:2:3", Err("must have the form"));
        check("", Err("must have the form"));
        check("a:x:2", Err("\"x\" behind a is not a port"));
        check("a:1:70000", Err("port must be 0–65535, not 70000"));
        check("a:1:2:voter", Err("\"voter\" is not a role"));
        check("a:1:2:observer|b:1:2:participant", Err("the same role"));
        let error = Server::parse(7, "a:1:2|b:1:2", false).expect_err("the feature is off");
        assert!(error.to_string().starts_with("server 7 has several addresses"), "{error}");
    }

    #[test]
    fn a_wildcard_gives_way_to_a_host() {
        let wildcards = ["0.0.0.0", "::", "0:0::0", "::ffff:0.0.0.0"];
        assert_eq!(wildcards.map(is_wildcard), [true; 4]);
        assert_eq!(["127.0.0.1", "a", "0.0.0.0.example", "*", ""].map(is_wildcard), [false; 5]);
        let members = |lines: &[&str]| {
            let servers = lines.iter().zip(1..).map(|(line, id)| (id, Server::parse(id, line, true).expect("legal")));
            Members { servers: servers.collect(), ..Members::default() }
        };
        let mut first = members(&["0.0.0.0:1:2;3", "b:4:5", "[::]:6:7", "[::]:8:9", "0.0.0.0:1:2|d:1:3"]);
        first.locate_by(&members(&["a:11:12;13", "0.0.0.0:14:15", "0.0.0.0:16:17"]));
        assert_eq!(first, members(&["a:1:2;3", "b:4:5", "0.0.0.0:6:7", "[::]:8:9", "0.0.0.0:1:2|d:1:3"]));
    }

    fn members(lines: &[&str]) -> Members {
        let server = |(i, line): (usize, &&str)| (i as i64 + 1, Server::parse(0, line, true).expect(line));
        Members { servers: lines.iter().enumerate().map(server).collect(), ..Members::default() }
    }

    #[test]
    fn one_voter_is_no_ensemble_unless_told_otherwise() {
        let cases: [(&[&str], bool, bool); 5] = [
            (&[], true, false),
            (&["a:1:2"], true, false),
            (&["a:1:2"], false, true),
            (&["a:1:2", "b:1:2"], true, true),
            (&["a:1:2", "b:1:2", "c:1:2"], true, true),
        ];
        for (lines, standalone_enabled, distributed) in cases {
            let members = members(lines);
            assert!(members.check(standalone_enabled).is_ok());
            assert_eq!(members.asks_for_ensemble(standalone_enabled), distributed, "{lines:?} {standalone_enabled}");
        }
        assert!(members(&[]).check(false).is_err());
        assert!(members(&["a:1:2:observer"]).check(true).is_err());
        assert!(members(&["a:1:2", "b:1:2:observer"]).check(true).is_err());
    }

    #[test]
    fn every_voter_is_in_one_group() {
        let mut members = members(&["a:1:2", "b:1:2", "c:1:2"]);
        members.add_group(1, "1:2").expect("numbers");
        assert!(members.add_group(2, "2:3").is_err());
        assert!(members.add_group(2, "x").is_err());
        assert!(members.check(true).expect_err("3 is in no group").contains('3'));
        members.add_group(2, "3").expect("numbers");
        assert_eq!(members.check(true), Ok(None));
    }

    proptest! {
        #[test]
        fn no_server_line_panics(line in "[a1:;|\\[\\] \\-]{0,30}|\\PC{0,30}") {
            let _ = Server::parse(1, &line, true);
        }

        #[test]
        fn the_canonical_text_means_the_same(
            host in "[a-z]{1,8}|::1", quorum in 1u16..1000, election in 1000u16..9999,
            observer: bool, client in proptest::option::of(any::<u16>()),
        ) {
            let role = if observer { Role::Observer } else { Role::Participant };
            let client = client.map(|port| HostPort { host: Some("0.0.0.0".into()), port });
            let addresses = vec![PeerAddress { host, quorum_port: quorum, election_port: election }];
            let server = Server { addresses, role, client };
            prop_assert_eq!(Server::parse(1, &server.to_string(), false), Ok(server));
        }
    }
}
