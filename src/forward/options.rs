//! Options of forwarding: when rows are sealed into batches, and where batches go.
//! Owns the shapes and the built-in defaults; must never open a target. What contradicts is found by `config`.
//! Invariant: no default sends a byte to another machine.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// When rows are sealed, and how batches are packed. To seal means to number and freeze.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForwardOptions {
    /// Seal and deliver. Off, rows only pile up until retention or quota takes them.
    pub enabled: bool,
    /// Seconds after which waiting rows are sealed, however few.
    pub seal_after_seconds: u32,
    /// Rows of one batch at the most; as many waiting rows are sealed at once.
    pub seal_rows_max: u32,
    /// Bytes of one rendered batch at the most, before gzip. One longer line makes a batch of its own.
    pub seal_bytes_max: u64,
    /// gzip level of batches, 0 (none) to 9 (smallest).
    pub gzip_level: u32,
}

impl Default for ForwardOptions {
    fn default() -> Self {
        ForwardOptions {
            enabled: true,
            seal_after_seconds: 300,
            seal_rows_max: 5_000,
            seal_bytes_max: 4_194_304,
            gzip_level: 2,
        }
    }
}

/// How batches reach a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// Files in a folder of the data directory.
    #[default]
    Dir,
    /// A named cursor: a job comes and takes batches (`GET /v1/batches`); nothing is put to it.
    Pull,
    /// Pushed over HTTP to a receiver, another wayside for one.
    Http,
    /// Files on a stick, written by `wayside carry out`; nothing is put to it by itself.
    Carry,
}

/// How files of a `carry` target are protected where no key is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encryption {
    /// Not at all: whoever finds the stick reads them.
    None,
}

/// Whose hands a target is in (contract 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recipient {
    /// The operator's own: rows leave under the purposes they were collected for.
    #[default]
    Own,
    /// A processor on the operator's behalf (GDPR Art. 28): as own, and named in the notice.
    Processor,
    /// Anyone else: only rows with the purpose `share`, and named in the notice.
    ThirdParty,
}

/// Whether personal fields leave to a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonalFields {
    /// They stay here.
    #[default]
    Exclude,
    /// They leave as lines of their own, of people with the right to `personal`.
    Include,
}

/// One place where batches go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TargetOptions {
    /// Its name in commands, rows and logs: letters, digits, `-`, `_`, `.`; at most 64.
    pub name: String,
    /// How batches reach it.
    pub kind: TargetKind,
    /// The folder of a `dir` target, relative to the data directory and inside it.
    pub path: PathBuf,
    /// The public key (`age1...`) that files of a `carry` target are encrypted to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypt_to: Option<String>,
    /// `none`, where files of a `carry` target are to be readable by whoever finds the stick.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypt: Option<Encryption>,
    /// The base address of an `http` target, for example `https://centre.example`; batches go below `/v1/batches/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// File with the token that an `http` target is shown; read anew for each request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// PEM file of the authorities that may have signed its certificate; none = those this system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM file of the certificate that an `http` target is shown, with its chain; none = none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert_file: Option<PathBuf>,
    /// PEM file of that certificate's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key_file: Option<PathBuf>,
    /// Proxy on the way to it; none = what the environment names (`https_proxy`, `no_proxy`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// Public key an `http` or `carry` target signs its acknowledgements with, 64 hex digits; with it, no other counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receiver_key: Option<String>,
    /// Send in clear to another machine too.
    pub plain: bool,
    /// Seconds until a connection to it stands.
    pub connect_seconds: u32,
    /// Seconds until its answer has come, once a batch has left.
    pub answer_seconds: u32,
    /// Whose hands it is in.
    pub recipient: Recipient,
    /// The recipient as the notice names it; needed for a processor or third party.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient_name: Option<String>,
    /// Whether personal fields leave to it.
    pub personal: PersonalFields,
    /// Rows count as delivered only when this target has acknowledged them.
    pub required: bool,
    /// Days that files of a `dir` target wait to be taken; then they expire, with a loss record if unacknowledged.
    pub keep_days: u32,
    /// Bytes that files of a `dir` target may take while they wait; the oldest expire first.
    pub keep_bytes: u64,
    /// Bytes a second that leave to a target over the network, repeated attempts included; 0 = as many as there is room for.
    pub bytes_per_second: u64,
    /// Times of day at which batches leave over the network, `"22:00-06:00"`; none = always. The consent lane never waits.
    pub windows: Vec<String>,
    /// The IANA time zone of `windows`; empty = this machine's.
    pub time_zone: String,
}

impl Default for TargetOptions {
    fn default() -> Self {
        TargetOptions {
            name: "outbox".to_owned(),
            kind: TargetKind::Dir,
            path: PathBuf::from("outbox"),
            encrypt_to: None,
            encrypt: None,
            url: None,
            token_file: None,
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            proxy: None,
            receiver_key: None,
            plain: false,
            connect_seconds: 10,
            answer_seconds: 60,
            recipient: Recipient::Own,
            recipient_name: None,
            personal: PersonalFields::Exclude,
            required: true,
            keep_days: 30,
            keep_bytes: 1_073_741_824,
            bytes_per_second: 0,
            windows: Vec::new(),
            time_zone: String::new(),
        }
    }
}
