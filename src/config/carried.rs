//! Checks of targets that are reached by sticks: to whom their files are encrypted, and whose acknowledgements count.
//! Must never read a key file. Invariant: a stick without protection is never a default, and never goes unsaid.

use crate::base::age;
use crate::base::text::unhex;
use crate::config::Severity;
use crate::config::findings::Findings;
use crate::forward::options::{Encryption, TargetOptions};

/// A stick is lost more easily than a machine.
pub(super) fn check(target: &TargetOptions, at: &str, findings: &mut Findings) {
    match (&target.encrypt_to, target.encrypt) {
        (Some(key), None) => {
            if let Err(error) = age::Recipient::parse(key) {
                findings.error(format!("{at}.encrypt_to"), error.what, error.remedy);
            }
        }
        (Some(_), Some(_)) => findings.clash(
            Severity::Error,
            [&format!("{at}.encrypt_to"), &format!("{at}.encrypt")],
            "files cannot be encrypted and plain",
            "leave one of them out",
        ),
        (None, Some(Encryption::None)) => findings.warn(
            format!("{at}.encrypt"),
            "whoever finds the stick reads what is on it",
            "name the receiver's public key in encrypt_to (`wayside carry key` prints it)",
        ),
        (None, None) => findings.error(
            format!("{at}.encrypt_to"),
            "it is not said to whom files on a stick are encrypted",
            "name the receiver's public key (`wayside carry key` prints it), or write encrypt = \"none\"",
        ),
    }
    match target.receiver_key.as_deref().map(|key| unhex::<32>(key.trim())) {
        Some(Ok(_)) => {}
        Some(Err(error)) => findings.error(
            format!("{at}.receiver_key"),
            error.what,
            "write the 64 hex digits as the receiver printed them",
        ),
        None => findings.warn(
            format!("{at}.receiver_key"),
            "acknowledgements of anybody who had the stick are believed",
            "name the receiver's key (`wayside carry key` prints it)",
        ),
    }
}
