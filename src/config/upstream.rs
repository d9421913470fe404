//! The target `upstream` that `wayside join` leaves in the data directory: `upstream.toml`, and the token beside it.
//! Must never hold the token in the configuration. Invariant: a target of that name in the configuration file wins.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result, io};
use crate::forward::options::TargetOptions;

/// The target, as a configuration file would have it.
pub const FILE: &str = "upstream.toml";
/// The token it names.
pub const TOKEN: &str = "upstream.token";
/// Its name.
pub const NAME: &str = "upstream";

/// What joining gave.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The upstream's address.
    pub url: String,
    /// The authority that signed its certificate.
    pub ca_file: Option<PathBuf>,
    /// What it signs acknowledgements with, 64 hex digits.
    pub receiver_key: String,
}

#[derive(Serialize)]
struct Written<'a> {
    target: [Target<'a>; 1],
}

#[derive(Serialize)]
struct Target<'a> {
    name: &'a str,
    kind: &'a str,
    url: &'a str,
    token_file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_file: Option<&'a Path>,
    receiver_key: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    #[serde(default)]
    target: Vec<TargetOptions>,
}

fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let part = path.with_extension("part");
    let write = || -> std::io::Result<()> {
        let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(|e| io(format_args!("writing {}", path.display()), e))
}

/// Writes token and target, each for its owner alone; returns the target's file. Errors: `Storage`, `Config`.
pub fn write(data_dir: &Path, joined: &Joined, token: &str) -> Result<PathBuf> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (token_file, file) = (absolute(&data_dir.join(TOKEN)), data_dir.join(FILE));
    replace(&token_file, format!("{token}\n").as_bytes())?;
    let ca_file = joined.ca_file.as_deref().map(absolute);
    let target = Target {
        name: NAME,
        kind: "http",
        url: &joined.url,
        token_file,
        ca_file: ca_file.as_deref(),
        receiver_key: &joined.receiver_key,
    };
    let text = toml::to_string(&Written { target: [target] })
        .map_err(|e| Error::config(format!("a path of this machine has no TOML form: {e}")))?;
    let head =
        "# Written by `wayside join`. A [[target]] of the same name in the configuration file wins over this one.\n";
    replace(&file, format!("{head}{text}").as_bytes())?;
    Ok(file)
}

/// The target that lies in the data directory, if one does. Errors: `Config` naming the file that does not hold.
pub(super) fn read(data_dir: &Path) -> Result<Option<TargetOptions>> {
    let path = data_dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(Error::config(format!("{}: {e}", path.display())).code("upstream_file")),
    };
    let read: Read = toml::from_str(&text).map_err(|e| {
        Error::config(format!("{}: {}", path.display(), e.message()))
            .code("upstream_file")
            .remedy("join again (wayside join), or remove the file")
    })?;
    Ok(read.target.into_iter().next())
}

/// Adds the target to the configured ones, unless one has its name. It takes the place of the built-in one, which nobody
/// reads where batches are pushed.
pub(super) fn add(targets: &mut Vec<TargetOptions>, upstream: TargetOptions) {
    if targets.iter().any(|target| target.name == upstream.name) {
        return;
    }
    if *targets == [TargetOptions::default()] {
        targets.clear();
    }
    targets.push(upstream);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_joining_wrote_is_private_and_takes_the_place_of_the_built_in_target() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        let joined = Joined { url: "https://centre.example".to_owned(), ca_file: None, receiver_key: "0a".repeat(32) };
        let file = write(dir.path(), &joined, "secret").unwrap();
        for path in [&file, &dir.path().join(TOKEN)] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(!fs::read_to_string(&file).unwrap().contains("secret"));
        let target = read(dir.path()).unwrap().unwrap();
        assert_eq!((target.name.as_str(), target.url.as_deref()), (NAME, Some("https://centre.example")));
        let mut alone = vec![TargetOptions::default()];
        add(&mut alone, target.clone());
        assert_eq!(alone, std::slice::from_ref(&target));
        let own = TargetOptions { name: NAME.to_owned(), ..TargetOptions::default() };
        let mut named = vec![own.clone()];
        add(&mut named, target.clone());
        assert_eq!(named, [own], "the configuration file wins");
        let mut other = vec![TargetOptions { keep_days: 3, ..TargetOptions::default() }];
        add(&mut other, target);
        assert_eq!(other.len(), 2);
        fs::write(&file, "target = 3").unwrap();
        assert_eq!(read(dir.path()).unwrap_err().code, "upstream_file");
    }
}
