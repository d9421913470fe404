//! What tells one machine from another: machine-id and the addresses of its physical network interfaces.
//! Must never keep a raw value: what is recorded are keyed hashes.
//! Invariant: a value that is missing, then or now, is no difference.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::digest::HashKey;
use crate::base::text::hex;

/// Most interfaces that are looked at, and most addresses that are remembered.
const MACS_MAX: usize = 64;
/// Longest value read from a file of the system, bytes.
const VALUE_MAX: usize = 128;

/// The machine as it is now. Raw values: never stored, never logged.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hardware {
    /// `/etc/machine-id`, where there is a valid one.
    pub machine_id: Option<String>,
    /// Permanent addresses of physical interfaces, lower case, sorted.
    pub macs: Vec<String>,
}

impl std::fmt::Debug for Hardware {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hardware(machine_id: {}, {} addresses)", self.machine_id.is_some(), self.macs.len())
    }
}

impl Hardware {
    /// Reads what the system below `root` (`/` on a real machine) shows. What cannot be read counts as missing.
    pub fn read(root: &Path) -> Hardware {
        let machine_id = value(&root.join("etc/machine-id"))
            .filter(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()));
        let mut macs: Vec<String> = std::fs::read_dir(root.join("sys/class/net"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| physical_address(&entry.path()))
            .take(MACS_MAX)
            .collect();
        macs.sort_unstable();
        macs.dedup();
        Hardware { machine_id, macs }
    }

    /// The keyed hashes that may be recorded.
    pub fn fingerprint(&self, key: &HashKey) -> Fingerprint {
        let hash = |kind: &str, raw: &String| hex(&key.hmac(&[b"hardware", kind.as_bytes(), raw.as_bytes()]));
        Fingerprint {
            machine_id: self.machine_id.as_ref().map(|id| hash("machine-id", id)),
            macs: self.macs.iter().map(|mac| hash("mac", mac)).collect(),
        }
    }
}

/// One trimmed, lower-case line of a small system file.
fn value(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty() && text.len() <= VALUE_MAX).then(|| text.to_ascii_lowercase())
}

/// The permanent address of an interface that is a device. An address the kernel or a network manager made up
/// (`addr_assign_type` other than 0) says nothing about the machine: boards without one of their own get a new one at
/// every start.
fn physical_address(interface: &Path) -> Option<String> {
    if !interface.join("device").exists() {
        return None;
    }
    if value(&interface.join("addr_assign_type")).is_some_and(|kind| kind != "0") {
        return None;
    }
    value(&interface.join("address")).filter(|mac| mac.bytes().any(|b| !matches!(b, b'0' | b':')))
}

/// A machine as it is recorded: hex of keyed hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Of the machine-id.
    pub machine_id: Option<String>,
    /// Of the addresses.
    pub macs: BTreeSet<String>,
}

impl Fingerprint {
    /// This record with what is present now added, so that parts may be exchanged one after the other.
    pub fn joined(&self, present: &Fingerprint) -> Fingerprint {
        let machine_id = present.machine_id.clone().or_else(|| self.machine_id.clone());
        let macs = present.macs.iter().chain(&self.macs).take(MACS_MAX).cloned().collect();
        Fingerprint { machine_id, macs }
    }
}

/// Is this another machine (contract 4): another machine-id, or none of the recorded addresses left?
pub fn is_other(recorded: &Fingerprint, present: &Fingerprint) -> bool {
    let other_id = matches!((&recorded.machine_id, &present.machine_id), (Some(a), Some(b)) if a != b);
    let none_left = !recorded.macs.is_empty() && !present.macs.is_empty() && recorded.macs.is_disjoint(&present.macs);
    other_id || none_left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(root: &Path, id: Option<&str>, interfaces: &[(&str, &str, bool, &str)]) -> Hardware {
        std::fs::create_dir_all(root.join("etc")).unwrap();
        if let Some(id) = id {
            std::fs::write(root.join("etc/machine-id"), format!("{id}\n")).unwrap();
        }
        for (name, mac, device, assigned) in interfaces {
            let dir = root.join("sys/class/net").join(name);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("address"), format!("{mac}\n")).unwrap();
            std::fs::write(dir.join("addr_assign_type"), format!("{assigned}\n")).unwrap();
            if *device {
                std::fs::create_dir(dir.join("device")).unwrap();
            }
        }
        Hardware::read(root)
    }

    #[test]
    fn only_permanent_addresses_of_devices_count() {
        let root = tempfile::tempdir().unwrap();
        let found = machine(
            root.path(),
            Some("0123456789ABCDEF0123456789abcdef"),
            &[
                ("eth0", "AA:BB:CC:00:00:01", true, "0"),
                ("lo", "00:00:00:00:00:00", false, "0"),
                ("docker0", "02:42:00:00:00:01", false, "0"),
                ("usb0", "00:00:00:00:00:00", true, "0"),
                ("wlan0", "8e:11:22:33:44:55", true, "3"),
                ("end0", "8e:11:22:33:44:56", true, "1"),
            ],
        );
        assert_eq!(found.machine_id.as_deref(), Some("0123456789abcdef0123456789abcdef"));
        assert_eq!(found.macs, ["aa:bb:cc:00:00:01"]);
        assert!(!format!("{found:?}").contains("aa:bb"), "raw values stay out of logs");
    }

    #[test]
    fn an_empty_machine_shows_nothing() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(machine(root.path(), Some("uninitialized"), &[]), Hardware::default());
    }

    #[test]
    fn recorded_values_are_keyed_hashes() {
        let here = Hardware { machine_id: Some("m".into()), macs: vec!["a".into()] };
        let (one, two) = (here.fingerprint(&HashKey::new(&[1; 32])), here.fingerprint(&HashKey::new(&[2; 32])));
        assert_ne!(one, two);
        assert_eq!(one.machine_id.unwrap().len(), 64);
    }

    #[test]
    fn a_missing_value_is_no_difference() {
        let key = HashKey::new(&[1; 32]);
        let print = |id: Option<&str>, macs: &[&str]| {
            let macs = macs.iter().map(|m| (*m).to_owned()).collect();
            Hardware { machine_id: id.map(str::to_owned), macs }.fingerprint(&key)
        };
        let recorded = print(Some("m"), &["a", "b"]);
        for (id, macs, other) in [
            (Some("m"), &["a", "b"][..], false),
            (Some("m"), &["b", "c"], false),
            (Some("m"), &[], false),
            (None, &["a"], false),
            (None, &[], false),
            (None, &["c"], true),
            (Some("m"), &["c"], true),
            (Some("n"), &["a", "b"], true),
        ] {
            assert_eq!(is_other(&recorded, &print(id, macs)), other, "{id:?} {macs:?}");
        }
        assert!(!is_other(&print(None, &[]), &print(Some("n"), &["c"])), "nothing was recorded");
        let swapped = recorded.joined(&print(None, &["b", "c"]));
        assert!(!is_other(&swapped, &print(Some("m"), &["c"])), "parts exchanged one after the other");
    }
}
