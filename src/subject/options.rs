//! Options of data-subject requests. Owns the shapes and the built-in defaults; must never read a file.
//! Invariant: without a key no assertion is believed.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How requests of data subjects are answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SubjectOptions {
    /// Who is responsible, as an answer names them: name and address; empty = the notice says.
    pub controller: String,
    /// The authority a person may complain to, as an answer names it.
    pub complaint: String,
    /// A file with the key by which the host site signs who is asking (JWT, HS256): at least 32 bytes; none = nobody is
    /// believed, and identities are reached through the operator only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assertion_key_file: Option<PathBuf>,
}

impl Default for SubjectOptions {
    fn default() -> Self {
        SubjectOptions {
            controller: String::new(),
            complaint: "the data protection authority of your country".to_owned(),
            assertion_key_file: None,
        }
    }
}
