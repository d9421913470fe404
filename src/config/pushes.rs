//! Checks of targets that batches are pushed to: address, token, certificates, proxy, the receiver's key.
//! Must never connect to anybody, nor show what stands in a file. Invariant: what passes here can be tried.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::base::error::Result;
use crate::base::text::unhex;
use crate::config::findings::Findings;
use crate::forward::client::{Client, ClientOptions, token};
use crate::forward::http::client_options;
use crate::forward::options::{TargetKind, TargetOptions};

pub(super) fn check(target: &TargetOptions, at: &str, findings: &mut Findings) {
    if target.kind != TargetKind::Http {
        if target.url.is_some() {
            let what = "nothing is sent there: the target is of another kind";
            findings.warn(format!("{at}.url"), what, "write kind = \"http\", or remove url");
        }
        return;
    }
    let Some(url) = &target.url else {
        let remedy = "write url = \"https://centre.example\"";
        findings.error(format!("{at}.url"), "the target says not where batches go", remedy);
        return;
    };
    let all = client_options(target);
    let bare = ClientOptions { ca_file: None, client_cert: None, proxy: None, token_file: None, ..all.clone() };
    match Client::open(url, &bare) {
        // whom this system trusts matters only where no file says it
        Err(e) if e.code == "tls_files" && all.ca_file.is_some() => {}
        Err(e) if e.code == "tls_files" => findings.refused(format!("{at}.ca_file"), e),
        Err(e) if e.code == "clear" => {
            let remedy = "use https://, a tunnel on this machine, or plain = true where the line itself is safe";
            findings.error(format!("{at}.url"), e.what, remedy);
            return;
        }
        Err(e) => return findings.refused(format!("{at}.url"), e),
        Ok(_) => {}
    }
    let mut opens = |key: &str, options: ClientOptions| -> Result<()> {
        Client::open(url, &options).map(|_| ()).inspect_err(|e| findings.refused(format!("{at}.{key}"), e.again()))
    };
    let trusted = ClientOptions { ca_file: all.ca_file.clone(), ..bare.clone() };
    if all.ca_file.is_none() || opens("ca_file", trusted.clone()).is_ok() {
        if all.client_cert.is_some() {
            opens("client_cert_file", ClientOptions { client_cert: all.client_cert.clone(), ..trusted.clone() }).ok();
        }
        if all.proxy.is_some() {
            opens("proxy", ClientOptions { proxy: all.proxy.clone(), ..trusted }).ok();
        }
    }
    pair(target, at, findings);
    if let Some(path) = &target.token_file {
        secret(path, &format!("{at}.token_file"), token(path).map(|_| ()), findings);
    }
    if let Some(path) = &target.client_key_file {
        secret(path, &format!("{at}.client_key_file"), Ok(()), findings);
    }
    if let Some(Err(e)) = target.receiver_key.as_deref().map(unhex::<32>) {
        let remedy = "write the 64 hex digits that `wayside join` printed, or remove the key";
        findings.error(format!("{at}.receiver_key"), e.what, remedy);
    }
}

fn pair(target: &TargetOptions, at: &str, findings: &mut Findings) {
    let (has, misses) = match (&target.client_cert_file, &target.client_key_file) {
        (Some(_), None) => ("client_cert_file", "client_key_file"),
        (None, Some(_)) => ("client_key_file", "client_cert_file"),
        _ => return,
    };
    findings.error(format!("{at}.{has}"), format!("{misses} is missing beside it"), "name both, or neither");
}

/// A file that others should not read.
fn secret(path: &Path, key: &str, read: Result<()>, findings: &mut Findings) {
    if let Err(e) = read {
        return findings.refused(key, e);
    }
    if std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o004 != 0) {
        findings.warn(
            key,
            format!("{} can be read by every user of this machine", path.display()),
            format!("chmod o-rwx {}", path.display()),
        );
    }
}
