//! The door with TLS: real handshakes with the test authority, certificates that change, and who comes without.
//! Must never sleep. Invariant: whatever a client does on the way to a handshake, the next one is served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use wayside::base::error::Kind;
use wayside::http::server::DoorOptions;
use wayside::http::tls::Tls;

use crate::support::*;

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/tls").join(name)
}

fn tls(options: DoorOptions) -> DoorOptions {
    DoorOptions { tls_cert_file: Some(corpus("server.pem")), tls_key_file: Some(corpus("server.key")), ..options }
}

/// A client that trusts one authority, with a certificate of its own or without.
fn client(authority: &str, own: Option<&str>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for one in CertificateDer::pem_file_iter(corpus(authority)).unwrap() {
        roots.add(one.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let chain = CertificateDer::pem_file_iter(corpus(&format!("{name}.pem"))).unwrap().map(Result::unwrap);
            let key = PrivateKeyDer::from_pem_file(corpus(&format!("{name}.key"))).unwrap();
            builder.with_client_auth_cert(chain.collect(), key).unwrap()
        }
    })
}

fn secured(house: &House, config: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), house.connect())
}

/// One request, to the end; an error where no handshake comes about.
fn ask(house: &House, config: &Arc<ClientConfig>, request: &str) -> std::io::Result<String> {
    let mut stream = secured(house, config);
    stream.write_all(request.as_bytes())?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    Ok(String::from_utf8(reply).unwrap())
}

const GET: &str = "GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[test]
fn a_client_that_trusts_the_authority_is_served_and_one_that_does_not_is_not() {
    let house = house(tls(brief()));
    let reply = ask(&house, &client("ca.pem", None), GET).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200") && reply.contains("x-secure: true"), "{reply}");
    assert!(ask(&house, &client("other-ca.pem", None), GET).is_err());
    assert_eq!(house.echo.served.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[test]
fn long_answers_and_long_bodies_go_through_whole_and_connections_stay_open() {
    let house = house(tls(DoorOptions { request_timeout_ms: 20_000, ..brief() }));
    let config = client("ca.pem", None);
    let mut stream = secured(&house, &config);
    let body = "b".repeat(900_000);
    for _ in 0..2 {
        write!(stream, "POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut reply = vec![0; 64 << 10];
        let mut got = Vec::new();
        while !got.ends_with(b"bbbb") || got.len() < body.len() {
            let count = stream.read(&mut reply).unwrap();
            assert!(count > 0, "the connection stays open");
            got.extend_from_slice(&reply[..count]);
        }
        assert!(got.ends_with(format!("POST /big {body}").as_bytes()));
    }
    let reply = ask(&house, &config, "GET /long HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(reply.split("\r\n\r\n").nth(1).unwrap().len(), 8 << 20);
}

#[test]
fn plain_http_is_told_to_speak_tls() {
    let house = house(tls(brief()));
    let reply = house.send(GET);
    assert!(reply.starts_with("HTTP/1.1 400") && reply.contains("\"plain\"") && reply.contains("https://"), "{reply}");
    assert!(ask(&house, &client("ca.pem", None), GET).is_ok(), "the next one is served");
}

#[test]
fn a_handshake_that_never_ends_holds_nobody_and_is_cut() {
    let house = house(tls(brief()));
    let mut slow: Vec<TcpStream> = (0..20).map(|_| house.connect()).collect();
    for stream in &mut slow {
        stream.write_all(&[0x16, 3, 1]).unwrap(); // the beginning of a handshake
    }
    assert!(ask(&house, &client("ca.pem", None), GET).unwrap().starts_with("HTTP/1.1 200"));
    for stream in &mut slow {
        assert_eq!(to_end(stream), "", "cut in silence: nothing was agreed to speak in");
    }
}

#[test]
fn with_an_authority_for_clients_only_those_with_its_certificate_come_in() {
    let house = house(DoorOptions { tls_client_ca_file: Some(corpus("ca.pem")), ..tls(brief()) });
    assert!(ask(&house, &client("ca.pem", None), GET).is_err());
    assert!(ask(&house, &client("ca.pem", Some("client")), GET).unwrap().starts_with("HTTP/1.1 200"));
}

#[test]
fn a_certificate_that_changed_is_taken_anew_and_a_broken_one_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let put = |name: &str| {
        std::fs::copy(corpus(&format!("{name}.pem")), &cert).unwrap();
        std::fs::copy(corpus(&format!("{name}.key")), &key).unwrap();
    };
    put("server");
    let options = DoorOptions { tls_cert_file: Some(cert.clone()), tls_key_file: Some(key.clone()), ..brief() };
    let house = house(options);
    let shown = || {
        let mut stream = secured(&house, &client("ca.pem", None));
        stream.write_all(GET.as_bytes()).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
        stream.conn.peer_certificates().unwrap()[0].as_ref().to_vec()
    };
    let of = |name: &str| CertificateDer::from_pem_file(corpus(&format!("{name}.pem"))).unwrap().as_ref().to_vec();
    assert_eq!(shown(), of("server"));
    put("again");
    house.door.as_ref().unwrap().reload_tls();
    assert_eq!(shown(), of("again"));
    std::fs::write(&cert, "nonsense").unwrap();
    house.door.as_ref().unwrap().reload_tls();
    assert_eq!(shown(), of("again"), "a file that does not hold leaves in force what held");
}

#[test]
fn files_that_do_not_hold_are_named_at_the_start() {
    let refused = |options: DoorOptions| {
        let error = Tls::open(&options).unwrap_err();
        assert_eq!(error.kind, Kind::Config);
        error.what
    };
    assert!(Tls::open(&DoorOptions::default()).unwrap().is_none());
    let half = DoorOptions { tls_cert_file: Some(corpus("server.pem")), ..DoorOptions::default() };
    assert!(refused(half).contains("tls_key_file"));
    let alone = DoorOptions { tls_client_ca_file: Some(corpus("ca.pem")), ..DoorOptions::default() };
    assert!(refused(alone).contains("tls_client_ca_file"));
    let missing = DoorOptions { tls_key_file: Some(corpus("no-such.key")), ..tls(brief()) };
    assert!(refused(missing).contains("no-such.key"));
    let foreign = DoorOptions { tls_key_file: Some(corpus("client.key")), ..tls(brief()) };
    assert!(refused(foreign).contains("server.pem"), "a key of another certificate");
    let no_certificate = DoorOptions { tls_cert_file: Some(corpus("make.sh")), ..tls(brief()) };
    assert!(refused(no_certificate).contains("make.sh"));
}
