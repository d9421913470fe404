//! One error for the whole program, named by what its reader must do.
//! Owns the eight kinds. Must never know HTTP, SQLite or the command line: they are mapped
//! to status, exit code and retry in `http/reply.rs`, `main.rs` and `forward/retry.rs` only.

use std::fmt;

/// What the reader of an error must do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The caller's data is wrong: correct it.
    Invalid,
    /// A token or a right is missing.
    Denied,
    /// Nothing there under that name.
    NotFound,
    /// The present state forbids it.
    Conflict,
    /// Full or stopping: try again.
    Busy,
    /// The other side failed.
    Upstream,
    /// Disk or SQLite failed; nothing was acknowledged.
    Storage,
    /// Refuse to start.
    Config,
}

/// An error: its kind, a stable code, what happened, what to do, and the cause.
#[derive(Debug)]
pub struct Error {
    /// What the reader must do.
    pub kind: Kind,
    /// Stable word for programs, for example `disk_full`; never translated.
    pub code: &'static str,
    /// What was being done and what was wrong.
    pub what: String,
    /// What the reader can do about it; empty when the kind says all.
    pub remedy: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Result with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A new error of `kind` with a stable `code`.
    pub fn new(kind: Kind, code: &'static str, what: impl Into<String>) -> Self {
        Error { kind, code, what: what.into(), remedy: String::new(), source: None }
    }

    /// The caller's data is wrong.
    pub fn invalid(what: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, "invalid", what)
    }

    /// A token or right is missing.
    pub fn denied(what: impl Into<String>) -> Self {
        Self::new(Kind::Denied, "denied", what)
    }

    /// Nothing under that name.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, "not_found", what)
    }

    /// The present state forbids it.
    pub fn conflict(what: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, "conflict", what)
    }

    /// Full or stopping.
    pub fn busy(what: impl Into<String>) -> Self {
        Self::new(Kind::Busy, "busy", what)
    }

    /// Disk or database failed.
    pub fn storage(what: impl Into<String>) -> Self {
        Self::new(Kind::Storage, "storage", what)
    }

    /// The configuration forbids a start.
    pub fn config(what: impl Into<String>) -> Self {
        Self::new(Kind::Config, "config", what)
    }

    /// The same error under another stable code.
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }

    /// The same error with what the reader can do.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// The same error with its cause.
    pub fn source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// The same error with words before `what`, for the place that knows more.
    pub fn context(mut self, before: impl fmt::Display) -> Self {
        self.what = format!("{before}: {}", self.what);
        self
    }

    /// A second copy for another waiter of the same commit group; the cause stays with the first.
    pub fn again(&self) -> Self {
        Error { kind: self.kind, code: self.code, what: self.what.clone(), remedy: self.remedy.clone(), source: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(source) = &self.source {
            write!(f, " ({source})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|s| s as &(dyn std::error::Error + 'static))
    }
}

/// An I/O error while doing something with a file: full disks and readers that went away keep codes of their own.
pub fn io(doing: impl fmt::Display, error: std::io::Error) -> Error {
    use std::io::ErrorKind::{BrokenPipe, QuotaExceeded, StorageFull};
    let out = Error::storage(format!("{doing}: {error}"));
    match error.kind() {
        StorageFull | QuotaExceeded => out.code("disk_full").remedy("free space on this file system"),
        BrokenPipe => out.code("broken_pipe"),
        _ => out,
    }
}
