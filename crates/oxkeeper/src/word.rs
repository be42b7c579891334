//! `oxkeeper word`: a four-letter word, over TLS too. Source: `FourLetterWordMain`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use oxkeeper_client::ConnectString;
use tokio::runtime;

use crate::client_settings::ClientSettings;
use crate::out::{flush, put};
use crate::tls::TlsArgs;

/// Which word, and whom to ask.
#[derive(Args, Debug)]
pub(crate) struct WordArgs {
    /// ruok, srvr, mntr, …; the server's 4lw.commands.whitelist says which it answers
    #[arg(value_name = "WORD")]
    word: String,
    /// The server
    #[arg(short, long, value_name = "HOST:PORT", default_value = "localhost:2181")]
    server: String,
    /// Give up after so long
    #[arg(long, value_name = "MS", default_value_t = 5_000)]
    timeout: u64,
    /// Settings of ZooKeeper's clients, as a properties file; CLIENT_JVMFLAGS is read before it
    #[arg(long, value_name = "FILE")]
    client_configuration: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsArgs,
}

/// Asks, and prints what is answered.
pub(crate) fn run(args: &WordArgs) -> Result<ExitCode> {
    ensure!(args.word.len() == 4, "{:?} has not four letters", args.word);
    let servers = ConnectString::parse(&args.server)?.servers;
    let [server] = servers.as_slice() else { anyhow::bail!("--server: one server, not {}", servers.len()) };
    let tls = args.tls.load_with(&ClientSettings::load(args.client_configuration.as_deref())?)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let asked = async {
        let asking = oxkeeper_client::ask_word(server, tls.as_ref(), &args.word);
        tokio::time::timeout(Duration::from_millis(args.timeout), asking).await
    };
    let answer = runtime.block_on(asked).context("no answer in time")??;
    ensure!(!answer.is_empty(), "{} has closed the connection without an answer: is this port for TLS?", args.server);
    put(String::from_utf8_lossy(&answer));
    flush();
    Ok(ExitCode::SUCCESS)
}
