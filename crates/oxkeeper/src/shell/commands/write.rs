//! Commands that change one znode. Source: `CreateCommand`, `DeleteCommand`, `SetCommand`.

use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, Engine};
use oxkeeper_client::Error;
use oxkeeper_client::calls::{New, open_acl};
use oxkeeper_proto::ErrorCode;
use oxkeeper_proto::op::CreateMode;

use super::super::failure::{At, Failure, keeper_message};
use super::super::options::{Parsed, Spec};
use super::super::task::{Task, number, parse, version_of};
use super::super::{acl, path, stat};

const CREATE: Spec = Spec { options: &[("e", false), ("s", false), ("c", false), ("t", true)], exclusive: false };
const DELETE: Spec = Spec { options: &[("v", true)], exclusive: false };
const SET: Spec = Spec { options: &[("s", false), ("v", true), ("b", false)], exclusive: false };
/// Source: `EphemeralType.TTL.maxValue`.
const TTL_MAX_MS: i64 = 0xff_ffff_ffff;
/// A decoder as lenient as Java's `Base64.getDecoder`.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) async fn create(words: &[String], task: &mut Task<'_>) -> Result<(), Failure> {
    let parsed = parse(words, &CREATE, 2)?;
    let (mode, ttl_ms) = mode(&parsed)?;
    let path = &parsed.args[1];
    let acl = match parsed.args.get(3) {
        Some(text) => acl::parse(text, task.report),
        None => open_acl(),
    };
    if mode.is_sequential() {
        path::check_sequential(path)?
    } else {
        path::check(path)?
    };
    let invalid = Error::Server(ErrorCode::InvalidAcl);
    if acl.is_empty() {
        task.report.aside(keeper_message(&invalid, None));
        return Err(Failure::refused(&invalid, None));
    }
    let data = parsed.args.get(2).map(String::as_bytes);
    let client = task.handle.client().await.at(path)?;
    match client.create_new(&New { path, data, acl: &acl, mode, ttl_ms }).await {
        Ok(created) => {
            task.report.aside(format_args!("Created {created}"));
            task.report.field("path", created);
            Ok(())
        }
        Err(error) => {
            if let Error::Server(ErrorCode::EphemeralOnLocalSession) = error {
                task.report.aside("Unable to create ephemeral node on a local session");
            }
            if let Error::Server(ErrorCode::InvalidAcl) = error {
                task.report.aside(keeper_message(&error, Some(path)));
            }
            Err(Failure::refused(&error, Some(path)))
        }
    }
}

/// Returns the mode that the options of `create` ask for, and the ttl.
fn mode(parsed: &Parsed) -> Result<(CreateMode, i64), Failure> {
    let (ephemeral, sequential, container) = (parsed.has("e"), parsed.has("s"), parsed.has("c"));
    if container && (ephemeral || sequential) {
        let message = "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.";
        return Err(Failure::usage(message));
    }
    let Some(ttl) = parsed.value("t") else {
        let mode = match (ephemeral, sequential, container) {
            (true, true, _) => CreateMode::EphemeralSequential,
            (true, false, _) => CreateMode::Ephemeral,
            (false, true, _) => CreateMode::PersistentSequential,
            (false, false, true) => CreateMode::Container,
            (false, false, false) => CreateMode::Persistent,
        };
        return Ok((mode, 0));
    };
    let ttl_ms: i64 = ttl.parse().map_err(|_| Failure::value("-t argument must be a long value"))?;
    if ephemeral {
        return Err(Failure::usage("TTLs cannot be used with Ephemeral znodes"));
    }
    if container {
        return Err(Failure::usage("TTLs cannot be used with Container znodes"));
    }
    if !(1..=TTL_MAX_MS).contains(&ttl_ms) {
        let message = format!("ttl must be positive and cannot be larger than: {TTL_MAX_MS}");
        return Err(Failure::value(message));
    }
    let mode = if sequential { CreateMode::PersistentSequentialWithTtl } else { CreateMode::PersistentWithTtl };
    Ok((mode, ttl_ms))
}

pub(super) async fn delete(words: &[String], task: &mut Task<'_>) -> Result<(), Failure> {
    let parsed = parse(words, &DELETE, 2)?;
    if parsed.args.len() > 2 {
        // ZooKeeper: prints this and then ignores the version.
        task.report.warn("'delete path [version]' has been deprecated. Please use 'delete [-v version] path' instead.");
    }
    let path = &parsed.args[1];
    let version = version_of(&parsed)?;
    path::check(path)?;
    task.handle.client().await.at(path)?.delete(path, version).await.at(path)?;
    task.report.field("path", path.as_str());
    Ok(())
}

/// Decodes base64 as Java does; errors use its words.
fn decode(text: &str) -> Result<Vec<u8>, Failure> {
    LENIENT.decode(text).map_err(|error| match error {
        DecodeError::InvalidByte(_, byte) => Failure::value(format!("Illegal base64 character {byte:x}")),
        DecodeError::InvalidLength(_) | DecodeError::InvalidLastSymbol(..) | DecodeError::InvalidPadding => {
            Failure::value(format!("\"{text}\" is not base64: {error}"))
        }
    })
}

pub(super) async fn set(words: &[String], task: &mut Task<'_>) -> Result<(), Failure> {
    let parsed = parse(words, &SET, 3)?;
    let path = &parsed.args[1];
    let data = match parsed.args[2].as_str() {
        text if parsed.has("b") => decode(text)?,
        text => text.as_bytes().to_vec(),
    };
    let version = parsed.value("v").map_or(Ok(-1), number)?;
    path::check(path)?;
    let changed = task.handle.client().await.at(path)?.set_data(path, &data, version).await.at(path)?;
    task.report.field("path", path.as_str());
    task.report.field("stat", stat::json(&changed));
    if parsed.has("s") {
        stat::print(task.report, &changed);
    }
    Ok(())
}
