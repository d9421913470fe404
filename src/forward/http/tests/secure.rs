//! TLS: who is trusted, who we are, and whose clock is wrong.
//! The certificates are those of the corpus; nothing else is trusted.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::upstream::{Upstream, Wire};
use super::{batch, code, codes, options, raised};
use crate::base::time::{Clock, HOUR_MS};
use crate::forward::http::Http;
use crate::forward::options::TargetOptions;
use crate::forward::retry::Verdict;
use crate::forward::target::{Parcel, Target};
use crate::forward::tests::support::{MEASURE, World};
use crate::store::meta;

pub fn file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/tls")).join(name)
}

impl Wire for StreamOwned<ServerConnection, TcpStream> {
    fn cut(&mut self) {
        self.conn.send_close_notify();
        self.conn.complete_io(&mut self.sock).ok();
        self.sock.cut();
    }
}

/// A receiver with this certificate, that wants one of its callers where `asks`.
fn secure(name: &str, asks: bool) -> Upstream {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certs = CertificateDer::pem_file_iter(file(&format!("{name}.pem"))).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(file(&format!("{name}.key"))).unwrap();
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let builder = match asks {
        false => builder.with_no_client_auth(),
        true => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(file("ca.pem")).unwrap()).unwrap();
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap(),
            )
        }
    };
    let config = Arc::new(builder.with_single_cert(certs, key).unwrap());
    Upstream::over(move |mut stream| {
        let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).ok()?;
        }
        Some(Box::new(StreamOwned::new(connection, stream)))
    })
}

fn over(upstream: &Upstream) -> TargetOptions {
    let url = format!("https://localhost:{}", upstream.address.port());
    TargetOptions { ca_file: Some(file("ca.pem")), ..options(url) }
}

#[test]
fn who_is_not_trusted_is_told_nothing() {
    let (_world, key, rendered) = batch();
    let put = |options: &TargetOptions| Http::new(options).put(&Parcel::whole(key, &rendered, false));
    let upstream = secure("server", false);
    assert!(put(&over(&upstream)).unwrap().acknowledged);
    assert_eq!(upstream.asked().body, rendered.gz);
    let other = TargetOptions { ca_file: Some(file("other-ca.pem")), ..over(&upstream) };
    assert_eq!(code(put(&other)), ("tls", Verdict::Hold));
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", plain.local_addr().unwrap().port());
    std::thread::spawn(move || {
        let (mut stream, _) = plain.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).ok();
    });
    assert_eq!(code(put(&TargetOptions { url: Some(url), ..over(&upstream) })), ("tls", Verdict::Hold), "no TLS there");
}

#[test]
fn a_receiver_may_ask_for_our_certificate() {
    let (_world, key, rendered) = batch();
    let upstream = secure("server", true);
    let none = over(&upstream);
    let put = |options: &TargetOptions| Http::new(options).put(&Parcel::whole(key, &rendered, false));
    let without = put(&none).unwrap_err().error;
    assert!(["tls", "cut_off"].contains(&without.code), "{}: {without}", without.code);
    let (client_cert_file, client_key_file) = (Some(file("client.pem")), Some(file("client.key")));
    let shown = TargetOptions { client_cert_file, client_key_file, ..over(&upstream) };
    assert!(put(&shown).unwrap().acknowledged);
    let mixed = TargetOptions { client_key_file: Some(file("server.key")), ..shown };
    assert_eq!(code(put(&mixed)), ("tls_files", Verdict::Hold), "a key of another certificate ends nothing");
}

#[test]
fn a_certificate_of_another_time_is_the_clocks_fault_where_the_clock_is_behind() {
    let upstream = secure("expired", false);
    for (behind_ms, alarm) in [(0, "tls"), (2 * HOUR_MS, "clock")] {
        let world = World::new();
        let forwarder = world.forwarder_to(&[over(&upstream)]);
        let a = world.visitor("a", MEASURE);
        world.page(a);
        let known = world.clock.now();
        world.pen(move |tx| meta::set_newest_at(tx, known));
        world.clock.advance(-behind_ms);
        let report = forwarder.run_once(true).unwrap();
        assert_eq!((codes(&report), raised(&world)), (vec![alarm], vec![(alarm.to_owned(), "centre".to_owned())]));
    }
}
