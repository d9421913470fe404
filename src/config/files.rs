//! Checks of the files and folders that the configuration names.
//! Must never show what stands in a token file. Invariant: nothing is created or changed.

use std::fs;
use std::path::Path;

use crate::base::error::{Error, Result};
use crate::config::Config;
use crate::config::findings::Findings;
use crate::forward::directives::centre::{reply_key, signing};
use crate::http::tls::Tls;

/// Shortest token, in bytes: 128 bit if it is random.
const TOKEN_BYTES_MIN: usize = 16;
/// Longest token file that is read, in bytes.
const TOKEN_FILE_BYTES_MAX: u64 = 4_096;

pub(super) fn check(config: &Config, findings: &mut Findings) {
    if config.data_dir.as_os_str().is_empty() {
        findings.error("data_dir", "no path", "write a folder, for example \"wayside-data\"");
    } else if fs::metadata(&config.data_dir).is_ok_and(|found| !found.is_dir()) {
        let what = format!("{} is no folder", config.data_dir.display());
        findings.error("data_dir", what, "name a folder; it is made at first start");
    }
    for (n, path) in config.ingest_token_files.iter().enumerate() {
        let key = format!("ingest_token_files[{n}]");
        match token(path) {
            Err(e) => findings.refused(key, e),
            Ok(open) if open => findings.warn(
                key,
                format!("{} can be read by every user of this machine", path.display()),
                format!("chmod o-rwx {}", path.display()),
            ),
            Ok(_) => {}
        }
    }
    centre(config, findings);
    if let Some(path) = &config.subject.assertion_key_file
        && let Err(e) = crate::subject::assertion::check(path)
    {
        findings.refused("subject.assertion_key_file".to_owned(), e);
    }
    if let Err(e) = Tls::open(&config.door) {
        findings.refused("door.tls_cert_file", e);
    }
    if let Some(path) = &config.geoip_file
        && let Err(e) = fs::File::open(path).and_then(|file| file.metadata()).and_then(is_file)
    {
        findings.error(
            "geoip_file",
            format!("{}: {e}", path.display()),
            "name a readable MMDB file, or remove the key: places are null then",
        );
    }
}

/// The keys of directives: whose are believed, and the centre's own.
fn centre(config: &Config, findings: &mut Findings) {
    let directives = &config.directives;
    let own = directives.key_file.as_deref().map(signing);
    if let Some(Err(error)) = own {
        findings.error("directives.key_file", error.what, error.remedy);
        if let Err(error) = directives.named() {
            findings.error("directives.centre_key", error.what, error.remedy);
        }
    } else if let Err(error) = directives.key() {
        findings.error("directives.centre_key", error.what, error.remedy);
    } else if own.is_some() && !config.relay.enabled {
        let what = "no edge joins here, so nobody is handed what it signs";
        findings.warn("directives.key_file", what, "set [relay] enabled = true, or leave it out");
    }
    if let Some(Err(error)) = directives.reply_key_file.as_deref().map(reply_key) {
        findings.error("directives.reply_key_file", error.what, error.remedy);
    }
}

fn is_file(found: fs::Metadata) -> std::io::Result<fs::Metadata> {
    if found.is_file() { Ok(found) } else { Err(std::io::Error::other("no file")) }
}

/// Reads a token file; tells whether other users can read it too.
fn token(path: &Path) -> Result<bool> {
    let refuse = |what: String| {
        Error::config(format!("{}: {what}", path.display())).remedy(format!(
            "put one token of at least {TOKEN_BYTES_MIN} bytes on one line there, for example by: \
             openssl rand -hex 32"
        ))
    };
    let found = fs::metadata(path).and_then(is_file).map_err(|e| refuse(e.to_string()))?;
    if found.len() > TOKEN_FILE_BYTES_MAX {
        return Err(refuse(format!("longer than {TOKEN_FILE_BYTES_MAX} bytes")));
    }
    let token = fs::read_to_string(path).map_err(|e| refuse(e.to_string()))?;
    let token = token.trim();
    if token.len() < TOKEN_BYTES_MIN {
        return Err(refuse(format!("the token has {} bytes, at least {TOKEN_BYTES_MIN} are needed", token.len())));
    }
    if token.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(refuse("more than one token, or white space inside it".to_owned()));
    }
    Ok(for_others(&found))
}

#[cfg(unix)]
fn for_others(found: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    found.permissions().mode() & 0o006 != 0
}

#[cfg(not(unix))]
fn for_others(_: &fs::Metadata) -> bool {
    false
}
