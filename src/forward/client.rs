//! The HTTP client of everything that speaks to another wayside: who is trusted, how long is waited, what an error means.
//! Must never follow a redirect (a token would go along), nor speak in clear to another machine unless told to. Invariant: an
//! answer of any status is an answer; only what kept one from coming is an error.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider, parse_pem};

use crate::base::error::{Error, Kind, Result, io};
use crate::base::time::monotonic_ms;

/// Until a connection stands, TLS included.
const CONNECT_MS: u64 = 10_000;
/// Until a whole body has left: somebody who takes it byte by byte holds a lane up no longer.
const SEND: Duration = Duration::from_secs(900);
/// Until bytes of a body move on.
const STALL: Duration = Duration::from_secs(30);
/// A connection that has rested so long is not used again: should the link have gone meanwhile, a new one finds out at once, and
/// an old one only when no answer comes.
const RESTED: Duration = Duration::from_secs(1);
/// Longest head of an answer, bytes.
const HEAD_BYTES_MAX: usize = 65_536;
/// Longest body that is read whole where nobody says otherwise, bytes.
const BODY_BYTES_MAX: u64 = 16 << 20;

/// How another side is spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientOptions {
    /// PEM file of the authorities that are trusted; without one those of this system.
    pub ca_file: Option<PathBuf>,
    /// PEM files of a client certificate with its chain, and of its key.
    pub client_cert: Option<(PathBuf, PathBuf)>,
    /// A proxy; without one what the environment names (`https_proxy`, `no_proxy` ...).
    pub proxy: Option<String>,
    /// File that holds the token.
    pub token_file: Option<PathBuf>,
    /// Until a connection stands, ms; 0 = 10 s.
    pub connect_ms: u64,
    /// Until the head of an answer has come, ms; 0 = 30 s.
    pub answer_ms: u64,
    /// Speak in clear to another machine too.
    pub clear: bool,
}

/// Speaks to one base address.
#[derive(Clone, Debug)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
    token_file: Option<PathBuf>,
}

/// An answer, its body not read yet.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    response: ureq::http::Response<ureq::Body>,
}

impl Client {
    /// A client of `base`, for example `https://collector.example:8787`. Connects to nobody yet. Errors: `Config` with code
    /// `address`, `clear` or `tls_files`.
    pub fn open(base: &str, options: &ClientOptions) -> Result<Client> {
        let base = base.trim_end_matches('/').to_owned();
        let bad = |what: &str| {
            Error::config(format!("{base:?} {what}"))
                .code("address")
                .remedy("write it like https://collector.example:8787")
        };
        let uri: ureq::http::Uri = base.parse().map_err(|_| bad("is no address"))?;
        let host = uri.host().ok_or_else(|| bad("names no host"))?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if options.clear || is_here(host) => false,
            Some("http") => {
                return Err(Error::config(format!("{base} would carry people's rows in clear"))
                    .code("clear")
                    .remedy("use https://, or a tunnel on this machine"));
            }
            _ => return Err(bad("is neither https:// nor http://")),
        };
        let connect = Duration::from_millis(if options.connect_ms == 0 { CONNECT_MS } else { options.connect_ms });
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("wayside/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .max_response_header_size(HEAD_BYTES_MAX)
            .timeout_resolve(Some(connect))
            .timeout_connect(Some(connect))
            .timeout_send_body(Some(SEND))
            .timeout_recv_response(Some(Duration::from_millis(match options.answer_ms {
                0 => 30_000,
                ms => ms,
            })))
            .max_idle_age(RESTED)
            .timeout_per_read(Some(STALL))
            .timeout_per_write(Some(STALL));
        if let Some(proxy) = &options.proxy {
            let parsed = ureq::Proxy::new(proxy).map_err(|e| {
                Error::config(format!("the proxy {proxy:?} cannot be used: {e}"))
                    .code("address")
                    .remedy("write it like http://proxy.example:3128")
            })?;
            config = config.proxy(Some(parsed));
        } else if is_here(host) {
            config = config.proxy(None); // nobody between us and this machine
        }
        if secure {
            config = config.tls_config(tls(options)?);
        }
        Ok(Client { agent: config.build().new_agent(), base, token_file: options.token_file.clone() })
    }

    /// The address it speaks to.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request. The token's file is read anew each time, so that a new one counts at once. Errors: `Upstream` with a code
    /// that tells why (`dns`, `refused`, `no_route`, `connect`, `unreachable`: nobody was reached; `timeout`, `cut_off`,
    /// `bad_answer`); `Denied` where a proxy wants a password; `Config` with code `tls` or `tls_time` (a certificate whose time is not now), or where the token cannot be read.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Result<Answer> {
        let url = format!("{}{path}", self.base);
        let mut request = ureq::http::Request::builder().method(method).uri(&url);
        if let Some(file) = &self.token_file {
            request = request.header("authorization", format!("Bearer {}", token(file)?));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let no_request = |e| Error::invalid(format!("the request to {url} cannot be written: {e}"));
        let sent = match body {
            Some(body) => self.agent.run(request.body(body).map_err(no_request)?),
            None => self.agent.run(request.body(()).map_err(no_request)?),
        };
        let response = sent.map_err(|error| failure(&self.base, error))?;
        Ok(Answer { status: response.status().as_u16(), response })
    }
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// The body's length, where it was told.
    pub fn length(&self) -> Option<u64> {
        self.header("content-length").and_then(|text| text.parse().ok())
    }

    /// The whole body, at most 16 MiB. Errors: `Upstream` with code `unreachable` where it ends early.
    pub fn bytes(self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let told = self.length();
        let mut reader = self.reader();
        (&mut reader).take(BODY_BYTES_MAX).read_to_end(&mut out).map_err(|e| cut_off(&e))?;
        match told {
            Some(told) if told != out.len() as u64 => Err(cut_off(&std::io::Error::other("the answer ended early"))),
            _ => Ok(out),
        }
    }

    /// The whole body of a short answer. Errors: `Upstream` with code `bad_answer` if it is longer than `bytes_max`, `timeout` if
    /// it takes longer than `ms_max`, `cut_off` if it ends early.
    pub fn short(self, bytes_max: usize, ms_max: i64) -> Result<Vec<u8>> {
        let upstream = |code, what: String| Error::new(Kind::Upstream, code, what).remedy("try again later");
        let (told, began) = (self.length(), monotonic_ms());
        let (mut reader, mut out, mut piece) = (self.reader(), Vec::new(), [0; 8_192]);
        loop {
            let n = reader.read(&mut piece).map_err(|e| match e.kind() {
                std::io::ErrorKind::TimedOut => upstream("timeout", format!("the answer stopped coming: {e}")),
                _ => upstream("cut_off", format!("the answer was cut off: {e}")),
            })?;
            out.extend_from_slice(&piece[..n]);
            if out.len() > bytes_max {
                return Err(upstream("bad_answer", format!("the answer is longer than {bytes_max} bytes")));
            }
            if monotonic_ms() - began > ms_max {
                return Err(upstream("timeout", format!("the answer took longer than {ms_max} ms")));
            }
            match told {
                _ if n > 0 => {}
                Some(told) if told != out.len() as u64 => {
                    return Err(upstream("cut_off", "the answer ended early".to_owned()));
                }
                _ => return Ok(out),
            }
        }
    }

    /// The body as it comes.
    pub fn reader(self) -> impl Read {
        self.response.into_body().into_reader()
    }
}

/// A body that could not be read to its end.
pub fn cut_off(error: &std::io::Error) -> Error {
    Error::new(Kind::Upstream, "unreachable", format!("the answer was cut off: {error}")).remedy("try again later")
}

fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The token in a file. Errors: `Config` with code `token_file`.
pub fn token(file: &Path) -> Result<String> {
    let bad = |what: String| {
        Error::config(what).code("token_file").remedy("write one token into that file, readable for you alone")
    };
    let text =
        std::fs::read_to_string(file).map_err(|e| bad(format!("reading the token in {}: {e}", file.display())))?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(bad(format!("{} holds no token", file.display())));
    }
    Ok(token.to_owned())
}

fn tls(options: &ClientOptions) -> Result<TlsConfig> {
    let bad =
        |what: String| Error::config(what).code("tls_files").remedy("name files in PEM form, as openssl writes them");
    let read = |path: &Path| std::fs::read(path).map_err(|e| io(format_args!("reading {}", path.display()), e));
    let roots: Vec<Certificate<'static>> = match &options.ca_file {
        Some(file) => certificates(&read(file)?),
        None => rustls_native_certs::load_native_certs()
            .certs
            .iter()
            .map(|der| Certificate::from_der(der).to_owned())
            .collect(),
    };
    if roots.is_empty() {
        return Err(bad(match &options.ca_file {
            Some(file) => format!("{} holds no certificate", file.display()),
            None => "this system trusts no authority".to_owned(),
        }));
    }
    let client = match &options.client_cert {
        None => None,
        Some((chain, key)) => {
            let certs = certificates(&read(chain)?);
            if certs.is_empty() {
                return Err(bad(format!("{} holds no certificate", chain.display())));
            }
            let parsed = PrivateKey::from_pem(&read(key)?).map_err(|e| bad(format!("{}: {e}", key.display())))?;
            // where they do not belong together the client would end the program when it connects first
            belong(&certs, &parsed)
                .map_err(|e| bad(format!("{} and {} are no pair: {e}", chain.display(), key.display())))?;
            Some(ClientCert::new_with_certs(&certs, parsed))
        }
    };
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(&roots))
        .client_cert(client)
        .build())
}

/// Is this the key of the first of these certificates?
fn belong(certs: &[Certificate<'static>], key: &PrivateKey<'static>) -> std::result::Result<(), rustls::Error> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
    let chain = certs.iter().map(|cert| CertificateDer::from(cert.der().to_vec())).collect();
    let der = PrivateKeyDer::try_from(key.der().to_vec())
        .unwrap_or_else(|_| PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.der().to_vec())));
    rustls::sign::CertifiedKey::from_der(chain, der, &rustls::crypto::ring::default_provider()).map(|_| ())
}

fn certificates(pem: &[u8]) -> Vec<Certificate<'static>> {
    let items = parse_pem(pem).filter_map(std::result::Result::ok);
    items.filter_map(|item| if let ureq::tls::PemItem::Certificate(one) = item { Some(one) } else { None }).collect()
}

/// What kept an answer from coming.
fn failure(base: &str, error: ureq::Error) -> Error {
    let what = format!("{base} did not answer: {error}");
    let inner = match &error {
        ureq::Error::Rustls(tls) => Some(tls),
        ureq::Error::Io(io) => io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
        _ => None,
    };
    match inner {
        Some(rustls::Error::InvalidCertificate(why)) => {
            use rustls::CertificateError as Why;
            let time = matches!(
                why,
                Why::Expired | Why::ExpiredContext { .. } | Why::NotValidYet | Why::NotValidYetContext { .. }
            );
            let (code, remedy) = if time {
                ("tls_time", "look at the clock of this machine, then at the certificate's dates")
            } else {
                ("tls", "name the authority that signed its certificate, or the name the certificate is for")
            };
            Error::config(what).code(code).remedy(remedy)
        }
        Some(_) => Error::config(what).code("tls").remedy("look at the TLS settings of both sides"),
        None if matches!(error, ureq::Error::Tls(_) | ureq::Error::Pem(_)) => Error::config(what).code("tls"),
        None if matches!(&error, ureq::Error::ConnectProxyFailed(said) if said.contains("407")) => {
            Error::denied(what).code("auth").remedy("give the proxy's name and password in the target's proxy")
        }
        None => Error::new(Kind::Upstream, kept_by(&error), what).remedy("try again later"),
    }
}

/// Why nobody answered: whether anybody was reached at all decides how soon it is tried again.
fn kept_by(error: &ureq::Error) -> &'static str {
    use std::io::ErrorKind as Io;
    use ureq::Timeout;
    match error {
        ureq::Error::HostNotFound => "dns",
        ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => "connect",
        ureq::Error::Timeout(_) => "timeout",
        ureq::Error::Io(e) => match e.kind() {
            Io::ConnectionRefused => "refused",
            Io::NetworkUnreachable | Io::HostUnreachable | Io::NetworkDown | Io::AddrNotAvailable => "no_route",
            _ => "cut_off",
        },
        ureq::Error::ConnectionFailed => "unreachable",
        _ => "bad_answer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_in_clear_to_another_machine() {
        let open = |base: &str, clear| Client::open(base, &ClientOptions { clear, ..ClientOptions::default() });
        for here in ["http://127.0.0.1:1", "http://[::1]:1/", "http://localhost:1", "https://collector.example"] {
            assert!(open(here, false).is_ok(), "{here}");
        }
        assert_eq!(open("http://192.0.2.1:8787", false).unwrap_err().code, "clear");
        assert!(open("http://192.0.2.1:8787", true).is_ok());
        for wrong in ["collector.example", "ftp://collector.example", "", "https://"] {
            assert_eq!(open(wrong, true).unwrap_err().code, "address", "{wrong}");
        }
    }

    #[test]
    fn files_that_hold_nothing_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty");
        std::fs::write(&empty, "\n").unwrap();
        assert_eq!(token(&empty).unwrap_err().code, "token_file");
        std::fs::write(dir.path().join("token"), "abc\n").unwrap();
        assert_eq!(token(&dir.path().join("token")).unwrap(), "abc");
        let options = ClientOptions { ca_file: Some(empty), ..ClientOptions::default() };
        assert_eq!(Client::open("https://localhost:1", &options).unwrap_err().code, "tls_files");
    }

    #[test]
    fn nobody_there_is_upstreams_failure() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let client = Client::open(&format!("http://{address}"), &ClientOptions::default()).unwrap();
        let error = client.send("GET", "/", &[], None).err().unwrap();
        assert_eq!((error.kind, error.code), (Kind::Upstream, "refused"));
    }
}
