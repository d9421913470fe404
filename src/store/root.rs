//! The root key: the one secret all keys of personal cells hang on. Owns its file; must never write it anywhere else, nor mint
//! a second one beside keys that hang on the first. Invariant: whoever has a copy of the data directory without this file, and
//! without a key it wraps, opens no personal cell.

use std::path::{Path, PathBuf};

use crate::base::cell::Key;
use crate::base::error::{Error, Result, io};
use crate::base::text::{hex, unhex};
use crate::store::files;

/// Its name in the data directory, and in a directory of credentials.
pub const ROOT_KEY: &str = "root.key";
/// Longest file that is read, bytes.
const BYTES_MAX: u64 = 256;

/// Where the root key stands: the file named, else `<data>/root.key`.
pub fn path(data_dir: &Path, named: Option<&Path>) -> PathBuf {
    named.map_or_else(|| data_dir.join(ROOT_KEY), Path::to_owned)
}

/// Reads the root key: 64 hex digits, or 32 bytes as they are. `None` where there is no file. Errors: `Config` with code
/// `root_key` if it cannot be read or is none.
pub(in crate::store) fn load(path: &Path) -> Result<Option<Key>> {
    let refuse = |what: &str| {
        Error::config(format!("the root key {}: {what}", path.display()))
            .code("root_key")
            .remedy("bring the file back from where you keep its copy; it is 64 hex digits on one line")
    };
    match std::fs::metadata(path) {
        Ok(meta) if meta.len() > BYTES_MAX => return Err(refuse("it is longer than a key")),
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(refuse("it cannot be read").source(e)),
    }
    let bytes = std::fs::read(path).map_err(|e| refuse("it cannot be read").source(e))?;
    if let Ok(raw) = <[u8; 32]>::try_from(bytes.as_slice()) {
        return Ok(Some(Key::new(raw)));
    }
    let text = std::str::from_utf8(&bytes).ok().map(str::trim);
    // what is wrong with a secret is never quoted
    let key = text.and_then(|text| unhex(text).ok()).ok_or_else(|| refuse("it is not a key"))?;
    Ok(Some(Key::new(key)))
}

/// Mints the root key into a file of mode 0600, which must not be there. Errors: `Storage`.
pub(in crate::store) fn mint(path: &Path) -> Result<Key> {
    let key = Key::mint();
    put(path, &key)?;
    Ok(key)
}

/// Writes a root key into a file of mode 0600, which must not be there. Errors: `Storage`.
pub(in crate::store) fn put(path: &Path, key: &Key) -> Result<()> {
    if path.exists() {
        let taken = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(io(format_args!("writing the root key {}", path.display()), taken));
    }
    files::make_dir(files::folder_of(path))?;
    files::write_whole(path, format!("{}\n", hex(key.bytes())).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_minted_root_key_is_private_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = path(dir.path(), None);
        assert_eq!(load(&path).unwrap(), None);
        let key = mint(&path).unwrap();
        assert_eq!(load(&path).unwrap(), Some(key.clone()));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(mint(&path).is_err(), "a second one would orphan every key under the first");
        std::fs::write(&path, key.bytes()).unwrap();
        assert_eq!(load(&path).unwrap(), Some(key), "a credential may be raw bytes");
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        for text in ["", "secret-words", &"ab".repeat(200)] {
            std::fs::write(&path, text).unwrap();
            let error = load(&path).unwrap_err();
            assert_eq!(error.code, "root_key");
            assert!(text.is_empty() || !format!("{error}").contains(text), "{error}");
        }
    }
}
