//! `oxkeeper word`: sends a four-letter word, with or without TLS. Source: `FourLetterWordMain`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use oxkeeper_client::ConnectString;
use tokio::runtime;

use crate::client_settings::ClientSettings;
use crate::out::{flush, put};
use crate::tls::TlsArgs;
use crate::usage_error::UsageError;

/// Options of `oxkeeper word`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  oxkeeper word srvr
  oxkeeper word ruok --server zoo1:2281 --tls --tls-trust-store ca.pem")]
pub(crate) struct WordArgs {
    /// The word: srvr, ruok, mntr, …; a server answers those in its 4lw.commands.whitelist
    #[arg(value_name = "WORD")]
    word: String,
    /// The server to ask
    #[arg(short, long, value_name = "HOST:PORT", default_value = "localhost:2181")]
    server: String,
    /// Time limit for the answer
    #[arg(long, value_name = "MS", default_value_t = 5_000)]
    timeout: u64,
    /// A properties file with settings of ZooKeeper's clients, which override CLIENT_JVMFLAGS
    #[arg(long, value_name = "FILE")]
    client_configuration: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsArgs,
}

/// Sends the word and prints the answer.
pub(crate) fn run(args: &WordArgs) -> Result<ExitCode> {
    ensure!(args.word.len() == 4, UsageError(format!("the word {} does not have four letters", args.word)));
    let servers = ConnectString::parse(&args.server);
    let servers = servers.map_err(|error| UsageError(format!("--server {}: {error}", args.server)))?.servers;
    let [server] = servers.as_slice() else {
        bail!(UsageError(format!("--server takes one server, not {}", servers.len())));
    };
    let tls = args.tls.load_with(&ClientSettings::load(args.client_configuration.as_deref())?)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
    let asked = async {
        let asking = oxkeeper_client::ask_word(server, tls.as_ref(), &args.word);
        tokio::time::timeout(Duration::from_millis(args.timeout), asking).await
    };
    let answer = runtime
        .block_on(asked)
        .with_context(|| format!("{} did not answer within {} ms", args.server, args.timeout))??;
    ensure!(!answer.is_empty(), "{} closed the connection without an answer: does this port need --tls?", args.server);
    put(String::from_utf8_lossy(&answer));
    flush();
    Ok(ExitCode::SUCCESS)
}
