//! Makes a configuration from properties, from a file, or from defaults alone.
//!
//! Owns the reading of zoo.cfg, of the dynamic file that it may name, and of `myid`.
//! Source: `QuorumPeerConfig#parse`, `QuorumPeerMain#initializeAndRun`.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::draft::{self, Problem, interpret};
use super::explain::system_properties;
use super::keys::{self, Here};
use super::my_id::{parse_my_id, version_of_file_name};
use super::properties::{Properties, Source, SyntaxError};
use super::settings::Config;

/// Errors of a configuration. The process should print the error and exit with [`super::EXIT_CODE_INVALID`].
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file, or a file that it names, cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The file is not in properties syntax.
    #[error("{}:{}: {}", path.display(), error.line, error.message)]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The mistake in it.
        error: SyntaxError,
    },
    /// One or more lines are wrong.
    #[error("{}", Lines(.0))]
    Wrong(Vec<Problem>),
}

impl ConfigError {
    /// Adds the name of the file to each problem.
    fn located(mut self, file: &Path, dynamic: Option<&Path>) -> ConfigError {
        if let ConfigError::Wrong(problems) = &mut self {
            for problem in problems {
                let file = if problem.source == Some(Source::DynamicFile) { dynamic } else { Some(file) };
                problem.file = file.map(Path::to_owned);
            }
        }
        self
    }
}

/// Prints one problem on each line.
struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if i > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl Config {
    /// Interprets properties. Reads no file, so `myid` is unknown; [`Config::with_my_id`] adds it.
    ///
    /// *Errors*: [`ConfigError::Wrong`] with every problem that would prevent ZooKeeper's start.
    pub fn from_properties(properties: &Properties) -> Result<Self, ConfigError> {
        let interpretation = interpret(properties);
        if interpretation.problems.is_empty() {
            let system_properties = system_properties(properties);
            Ok(Config { system_properties, ..interpretation.config })
        } else {
            Err(ConfigError::Wrong(interpretation.problems))
        }
    }

    /// Adds the content of `myid`; this server's line may name the client port.
    ///
    /// *Errors*: [`ConfigError::Wrong`] if an ensemble has no `myid`, or this server's line contradicts `clientPort`.
    pub fn with_my_id(mut self, my_id: Option<i64>) -> Result<Self, ConfigError> {
        draft::adopt_my_id(&mut self, my_id).map_err(|problem| ConfigError::Wrong(vec![problem]))?;
        Ok(self)
    }

    /// Reads a configuration file, the dynamic file that it names, and `myid`. `others` contains the
    /// properties from other sources: JVM flags and our own command line.
    ///
    /// *Errors*: every [`ConfigError`].
    pub fn load(path: &Path, others: Properties) -> Result<Self, ConfigError> {
        let mut properties = others;
        let text = read(path)?;
        properties.extend(parse(path, &text)?);
        let dynamic = draft::dynamic_file(&properties).map(Path::to_owned);
        if let Some(dynamic) = &dynamic {
            properties.extend(read_dynamic(dynamic)?);
        }
        let mut config = Self::from_properties(&properties).map_err(|error| error.located(path, dynamic.as_deref()))?;
        config.warnings.splice(..0, draft::strays(&properties, path));
        config.initial = Some(String::from_utf8_lossy(&text).into_owned());
        config.ensemble.config_version =
            dynamic.map(|path| version_of_file_name(&path.to_string_lossy()).unwrap_or_default());
        config.file = Some(path.to_owned());
        let my_id = read_my_id(&config.data_dir)?;
        config.with_my_id(my_id)
    }

    /// Returns the configuration without a file: 127.0.0.1:2181, `./oxkeeper-data`, ticks of 2 s. `others`
    /// contains JVM flags and our own command line.
    ///
    /// *Errors*: [`ConfigError::Wrong`] if `others` is wrong.
    pub fn standalone(others: Properties) -> Result<Self, ConfigError> {
        let mut properties = Properties::default();
        for (key, value) in STANDALONE {
            properties.push(Source::File, key, value);
        }
        properties.extend(others);
        let mut config = Self::from_properties(&properties)?;
        config.warnings.splice(..0, draft::strays(&properties, Path::new("")));
        Ok(config)
    }

    /// Returns [`Config::standalone`] without other properties.
    pub fn default_standalone() -> Self {
        Self::standalone(Properties::default()).expect("these lines are legal, as a test shows")
    }

    /// Returns one line for each key that asks for a feature which this build does not have. A server must
    /// not start unless this is empty.
    pub fn unserved(&self) -> Vec<String> {
        let mut lines: Vec<_> = keys::all()
            .filter_map(|key| match key.here {
                Here::Unserved { when, what } if when(self) => {
                    Some(format!("{}: oxkeeper does not support {what}", key.name))
                }
                Here::Unserved { .. } | Here::Used | Here::Ignored(_) => None,
            })
            .collect();
        if self.client.is_none() && self.secure_client.is_none() {
            lines.push("clientPort is not set, and neither is secureClientPort; clients need one of them".to_owned());
        }
        lines
    }
}

/// The lines of [`Config::default_standalone`].
const STANDALONE: [(&str, &str); 4] =
    [("clientPort", "2181"), ("clientPortAddress", "127.0.0.1"), ("dataDir", "./oxkeeper-data"), ("tickTime", "2000")];

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })
}

fn parse(path: &Path, text: &[u8]) -> Result<Properties, ConfigError> {
    Properties::from_file_bytes(text).map_err(|error| ConfigError::Syntax { path: path.to_owned(), error })
}

fn read_dynamic(path: &Path) -> Result<Properties, ConfigError> {
    let mut dynamic = Properties::default();
    for property in parse(path, &read(path)?)?.entries() {
        dynamic.push_at(Source::DynamicFile, property.line, &property.key, &property.value);
    }
    Ok(dynamic)
}

/// Reads the id in `<data_dir>/myid`; `None` if there is no such file.
fn read_my_id(data_dir: &Path) -> Result<Option<i64>, ConfigError> {
    let path = data_dir.join("myid");
    if !path.is_file() {
        return Ok(None);
    }
    let wrong = |message| ConfigError::Wrong(vec![Problem::without_line(&path.display().to_string(), message)]);
    parse_my_id(&String::from_utf8_lossy(&read(&path)?)).map(Some).map_err(wrong)
}
