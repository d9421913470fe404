//! TLS of the door: certificate and key from files, taken anew when the files change, and whose certificates clients may show.
//! Must never touch a socket, nor log what stands in a key file. Invariant: a file that does not hold leaves in force what held.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::service::DoorOptions;
use crate::base::error::{Error, Result};
use crate::base::time::monotonic_ms;

/// How often the files are looked at while connections come.
const LOOK_EVERY_MS: i64 = 5_000;

/// Where certificate and key lie.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

impl Files {
    /// Those the options name; `None` where the door speaks no TLS. Errors: `Config`.
    fn of(options: &DoorOptions) -> Result<Option<Files>> {
        let client_ca = options.tls_client_ca_file.clone();
        match (&options.tls_cert_file, &options.tls_key_file) {
            (Some(cert), Some(key)) => Ok(Some(Files { cert: cert.clone(), key: key.clone(), client_ca })),
            (None, None) if client_ca.is_none() => Ok(None),
            _ => Err(Error::config(
                "`tls_cert_file` and `tls_key_file` belong together, and `tls_client_ca_file` to both",
            )
            .remedy("name both files, or none of the three")),
        }
    }

    /// When each was changed last; a file that cannot be looked at has no time.
    fn stamp(&self) -> Stamp {
        let of = |path: &Path| {
            let meta = fs::metadata(path).ok()?;
            Some((meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?, meta.len()))
        };
        [of(&self.cert), of(&self.key), self.client_ca.as_deref().and_then(of)]
    }

    fn load(&self) -> Result<Arc<ServerConfig>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = certificates(&self.cert)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|e| unfit(&self.key, &e.to_string()))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.map_err(|e| unfit(&self.cert, &e.to_string()))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates(path)? {
                    roots.add(authority).map_err(|e| unfit(path, &e.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|e| unfit(path, &e.to_string()))?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|e| unfit(&self.cert, &e.to_string()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

type Stamp = [Option<(Duration, u64)>; 3];

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<std::result::Result<Vec<_>, _>>();
    let all = read().map_err(|e| unfit(path, &e.to_string()))?;
    if all.is_empty() {
        return Err(unfit(path, "it holds no certificate"));
    }
    Ok(all)
}

fn unfit(path: &Path, what: &str) -> Error {
    Error::config(format!("{}: {what}", path.display()))
        .code("tls_files")
        .remedy("name PEM files: a certificate with its chain, and its key")
}

/// What the door speaks TLS with.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    config: Arc<ServerConfig>,
    stamp: Stamp,
    looked_ms: i64,
}

impl Tls {
    /// From the files that the options name; `None` where they name none. Errors: `Config` naming the file that does not
    /// hold.
    pub fn open(options: &DoorOptions) -> Result<Option<Tls>> {
        let Some(files) = Files::of(options)? else { return Ok(None) };
        let stamp = files.stamp();
        let config = files.load()?;
        let state = Mutex::new(State { config, stamp, looked_ms: monotonic_ms() });
        Ok(Some(Tls { files, state }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the next handshake uses; looks at the files a few times a minute.
    pub fn config(&self) -> Arc<ServerConfig> {
        let due = monotonic_ms() - self.lock().looked_ms >= LOOK_EVERY_MS;
        if due {
            self.reload();
        }
        Arc::clone(&self.lock().config)
    }

    /// Takes certificate and key anew where the files changed. What does not hold is logged once, and changes nothing.
    pub fn reload(&self) {
        let stamp = self.files.stamp();
        let mut state = self.lock();
        state.looked_ms = monotonic_ms();
        if state.stamp == stamp {
            return;
        }
        state.stamp = stamp;
        match self.files.load() {
            Ok(config) => {
                state.config = config;
                log::info!("the door's certificate was taken anew");
            }
            Err(error) => log::error!("the door's certificate stays what it was: {error}"),
        }
    }
}
