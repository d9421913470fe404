//! The configuration: one TOML file, composed of option structs that live with their users.
//! Owns where a value comes from (flag > environment > file > default) and what is said about it; must never hold a
//! rule of the domain, a secret (secrets are named by file) or print. Every problem is found, not only the first.
//! Invariant: no file is needed; an empty file, no file and `config.example.toml` mean the same.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::consent::proofs::EraseOptions;
use crate::domain::notice::Controller;
use crate::domain::site::SiteOptions;
use crate::domain::visit::VisitOptions;
use crate::forward::directives::DirectivesOptions;
use crate::forward::options::{ForwardOptions, TargetOptions};
use crate::forward::relay::options::RelayOptions;
use crate::http::server::DoorOptions;
use crate::ingest::options::{IngestOptions, PersonalOptions, PersonalStore};
use crate::store::StoreOptions;
use crate::store::keys::KeyOptions;
use crate::store::root::ROOT_KEY;
use crate::subject::options::SubjectOptions;
use crate::upkeep::options::{QuotaOptions, RetentionOptions, UpkeepOptions};

mod basics;
mod carried;
mod files;
mod findings;
mod numbers;
mod pushes;
mod read;
mod relay;
mod sites;
mod targets;
pub mod upstream;

use self::findings::{Findings, Places};
pub use self::findings::{Problem, Severity};

/// Longest configuration file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1_048_576;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The data directory, relative to the working directory: database, outbox, spool, lock, control socket.
    pub data_dir: PathBuf,
    /// What is logged: `off`, `error`, `warn`, `info`, `debug` or `trace`.
    pub log: String,
    /// Addresses and networks (CIDR) of proxies whose X-Forwarded-For is believed.
    pub trusted_proxies: Vec<String>,
    /// Files with one token each; who presents one may send decisions along with events.
    pub ingest_token_files: Vec<PathBuf>,
    /// A database of places by address (MMDB); none = places are null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geoip_file: Option<PathBuf>,
    /// This installation.
    pub edge: EdgeOptions,
    /// Who answers for the processing.
    pub controller: Controller,
    /// The HTTP door.
    pub door: DoorOptions,
    /// When visits end.
    pub visits: VisitOptions,
    /// How events are taken in.
    pub ingest: IngestOptions,
    /// Personal fields.
    pub personal: PersonalOptions,
    /// How long rows stay.
    pub retention: RetentionOptions,
    /// Requests of data subjects.
    pub subject: SubjectOptions,
    /// Whose directives are believed.
    pub directives: DirectivesOptions,
    /// What stays after an erasure.
    pub erase: EraseOptions,
    /// How much of the disk may be used.
    pub quota: QuotaOptions,
    /// How often care is taken.
    pub upkeep: UpkeepOptions,
    /// Tuning of the store.
    pub store: StoreTuning,
    /// When rows are sealed.
    pub forward: ForwardOptions,
    /// Receiving batches of other edges.
    pub relay: RelayOptions,
    /// The sites, `[[site]]`; without any, the built-in one.
    #[serde(rename = "site")]
    pub sites: Vec<SiteOptions>,
    /// Where batches go, `[[target]]`; without any, the folder `outbox` in the data directory.
    #[serde(rename = "target")]
    pub targets: Vec<TargetOptions>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data_dir: PathBuf::from("wayside-data"),
            log: "info".to_owned(),
            trusted_proxies: Vec::new(),
            ingest_token_files: Vec::new(),
            geoip_file: None,
            edge: EdgeOptions::default(),
            controller: Controller::default(),
            door: DoorOptions::default(),
            visits: VisitOptions::default(),
            ingest: IngestOptions::default(),
            personal: PersonalOptions::default(),
            retention: RetentionOptions::default(),
            subject: SubjectOptions::default(),
            directives: DirectivesOptions::default(),
            erase: EraseOptions::default(),
            quota: QuotaOptions::default(),
            upkeep: UpkeepOptions::default(),
            store: StoreTuning::default(),
            forward: ForwardOptions::default(),
            relay: RelayOptions::default(),
            sites: vec![SiteOptions::builtin()],
            targets: vec![TargetOptions::default()],
        }
    }
}

/// This installation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdgeOptions {
    /// Its name for people, for example a branch or a kiosk; in every line that leaves. At most 64 characters.
    pub label: String,
    /// Keep id and keys when the data directory is started on other hardware (contract 4).
    pub pin: bool,
}

/// Tuning of the store; the defaults were measured and seldom need a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreTuning {
    /// Requests that may wait for the pen; 503 above.
    pub queue_max: usize,
    /// Events of one commit at the most.
    pub group_max: usize,
    /// Connections that read the database.
    pub read_connections: usize,
    /// Longest time one read may hold its snapshot, in milliseconds.
    pub read_ms_max: u64,
    /// Size of the write-ahead log at which a backup gives way, in bytes.
    pub wal_bytes_max: u64,
}

impl Default for StoreTuning {
    fn default() -> Self {
        StoreTuning {
            queue_max: 4_096,
            group_max: 4_096,
            read_connections: 4,
            read_ms_max: 5_000,
            wal_bytes_max: 67_108_864,
        }
    }
}

/// What the command line says about configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--data-dir DIR`.
    pub data_dir: Option<PathBuf>,
    /// `--log LEVEL`.
    pub log: Option<String>,
}

/// A configuration that was read, and all that is to be said about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What is in force; a key with an error in it has its default here.
    pub config: Config,
    /// Every problem, by line; those without a line come first.
    pub problems: Vec<Problem>,
    /// The file it was read from.
    pub file: Option<PathBuf>,
}

impl Loaded {
    /// The configuration, where nothing forbids a start. Errors: `Config` naming every error, one a line.
    pub fn usable(self) -> Result<Config> {
        let errors: Vec<String> =
            self.problems.iter().filter(|p| p.severity == Severity::Error).map(Problem::to_string).collect();
        if errors.is_empty() {
            return Ok(self.config);
        }
        let file = self.file.map_or_else(|| "the configuration".to_owned(), |file| file.display().to_string());
        Err(Error::config(format!("{file} cannot be used:\n{}", errors.join("\n")))
            .remedy("correct it; `wayside check` shows the whole configuration and every problem"))
    }
}

impl Config {
    /// Reads the configuration: flag > environment > file > default. The file is the one given (`--config`), else the one
    /// `WAYSIDE_CONFIG` names, else there is none. `WAYSIDE_DATA_DIR`, `WAYSIDE_LOG` and `WAYSIDE_LISTEN` stand above the
    /// file; an empty variable counts as absent. Errors: `Config` where the file cannot be read at all.
    pub fn load(file: Option<&Path>, env: &dyn Fn(&str) -> Option<String>, flags: &Flags) -> Result<Loaded> {
        let env = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        let file = file.map(Path::to_owned).or_else(|| env("WAYSIDE_CONFIG").map(PathBuf::from));
        let text = file.as_deref().map(read_file).transpose()?;
        let (mut config, mut problems) = text.as_deref().map_or_else(Default::default, read::read);

        let mut above = Vec::new();
        if let Some(dir) = flags.data_dir.clone() {
            config.data_dir = dir;
            above.push(("data_dir", "--data-dir"));
        } else if let Some(dir) = env("WAYSIDE_DATA_DIR") {
            config.data_dir = PathBuf::from(dir);
            above.push(("data_dir", "WAYSIDE_DATA_DIR"));
        }
        if let Some(log) = flags.log.clone() {
            config.log = log;
            above.push(("log", "--log"));
        } else if let Some(log) = env("WAYSIDE_LOG") {
            config.log = log;
            above.push(("log", "WAYSIDE_LOG"));
        }
        if let Some(listen) = env("WAYSIDE_LISTEN") {
            config.door.listen = listen;
            above.push(("door.listen", "WAYSIDE_LISTEN"));
        }

        // a credential that the service manager hands over wins over a file beside the data
        if let Some(root) =
            env("CREDENTIALS_DIRECTORY").map(|dir| Path::new(&dir).join(ROOT_KEY)).filter(|f| f.is_file())
        {
            config.personal.root_key_file = Some(root);
            above.push(("personal.root_key_file", "CREDENTIALS_DIRECTORY"));
        }

        match upstream::read(&config.data_dir) {
            Ok(Some(target)) => upstream::add(&mut config.targets, target),
            Ok(None) => {}
            Err(e) => problems.push(Problem {
                severity: Severity::Error,
                line: None,
                key: "target".to_owned(),
                what: e.what,
                remedy: e.remedy,
            }),
        }

        // What cannot be read as written stands on its default now: nothing sensible can be said about that line again.
        let said: Vec<Option<usize>> = problems.iter().map(|p| p.line).collect();
        let more = config.check_above(text.as_deref(), above);
        problems.extend(more.into_iter().filter(|p| p.line.is_none() || !said.contains(&p.line)));
        problems.sort_by_key(|p| p.line);
        Ok(Loaded { config, problems, file })
    }

    /// Every problem of the values in force, by line; `text` is the file they were read from, for the line numbers.
    /// Looks at the files that are named, and resolves the name to listen on. What cannot be read as TOML or has the wrong
    /// type is found by [`Config::load`].
    pub fn check(&self, text: Option<&str>) -> Vec<Problem> {
        self.check_above(text, Vec::new())
    }

    /// What the operator should do about the keys of personal fields and of proofs. No value is wrong, so a start says nothing of it:
    /// `wayside check` does. `text` as in [`Config::check`].
    pub fn advice(&self, text: Option<&str>) -> Vec<Problem> {
        let mut findings = Findings::new(text.map(Places::of).unwrap_or_default(), Vec::new());
        basics::keys(self, &mut findings);
        basics::proofs(self, &mut findings);
        findings.done()
    }

    fn check_above(&self, text: Option<&str>, above: Vec<(&'static str, &'static str)>) -> Vec<Problem> {
        let mut findings = Findings::new(text.map(Places::of).unwrap_or_default(), above);
        numbers::check(self, &mut findings);
        basics::check(self, &mut findings);
        sites::check(self, &mut findings);
        targets::check(self, &mut findings);
        relay::check(self, &mut findings);
        files::check(self, &mut findings);
        findings.done()
    }

    /// The whole effective configuration as TOML, defaults included. Keys whose default is "none" appear once they are set.
    pub fn effective(&self) -> String {
        // A path that is no UTF-8 has no TOML; it is shown as well as can be.
        let shown = |path: &PathBuf| PathBuf::from(path.to_string_lossy().into_owned());
        let mut config = self.clone();
        config.data_dir = shown(&config.data_dir);
        config.geoip_file = config.geoip_file.as_ref().map(shown);
        config.door.tls_cert_file = config.door.tls_cert_file.as_ref().map(shown);
        config.door.tls_key_file = config.door.tls_key_file.as_ref().map(shown);
        config.door.tls_client_ca_file = config.door.tls_client_ca_file.as_ref().map(shown);
        config.personal.root_key_file = config.personal.root_key_file.as_ref().map(shown);
        config.personal.keys_copy = config.personal.keys_copy.as_ref().map(shown);
        config.ingest_token_files = config.ingest_token_files.iter().map(shown).collect();
        for target in &mut config.targets {
            target.path = shown(&target.path);
            for file in
                [&mut target.token_file, &mut target.ca_file, &mut target.client_cert_file, &mut target.client_key_file]
            {
                *file = file.as_ref().map(shown);
            }
        }
        toml::to_string(&config).unwrap_or_else(|e| format!("# this configuration has no TOML form: {e}\n"))
    }

    /// What the store needs of it.
    pub fn store_options(&self) -> StoreOptions {
        StoreOptions {
            data_dir: self.data_dir.clone(),
            queue_max: self.store.queue_max,
            group_max: self.store.group_max,
            readers: self.store.read_connections,
            read_ms_max: self.store.read_ms_max,
            wal_bytes_max: self.store.wal_bytes_max,
            pin: self.edge.pin,
            keys: KeyOptions {
                seal: self.personal.store == PersonalStore::Sealed,
                root_key_file: self.personal.root_key_file.clone(),
                copy: self.personal.keys_copy.clone(),
            },
        }
    }
}

fn read_file(path: &Path) -> Result<String> {
    let refuse = |what: String| {
        Error::config(format!("configuration file {}: {what}", path.display()))
            .code("config_file")
            .remedy("name a readable TOML file with --config or WAYSIDE_CONFIG, or leave both out to use the defaults")
    };
    let size = std::fs::metadata(path).map_err(|e| refuse(e.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(refuse(format!("has {size} bytes, at most {FILE_BYTES_MAX} are read")));
    }
    let bytes = std::fs::read(path).map_err(|e| refuse(e.to_string()))?;
    String::from_utf8(bytes).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        refuse(format!("line {line} is not UTF-8"))
    })
}

#[cfg(test)]
mod tests;
