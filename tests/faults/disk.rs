//! A full disk: refused with the time to come back, nothing acknowledged lost, and served again by itself.
//! Must never fill a disk but a small one of its own. Invariant: that disk is unmounted at the end.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::json;

use crate::book::{Book, Decided, Sent};
use crate::child::{Home, SHOP};
use crate::client::{Answer, Client};
use crate::database::{Database, Seen};
use crate::support::{in_ci, say, skipped, until};

/// Root in a run that must leave nothing out is no reason to skip: then mounting has to be allowed there.
pub fn must_mount() {
    assert!(!(in_ci() && rustix::process::geteuid().is_root()), "no tmpfs can be mounted here, although this is root");
}

/// The whole disk.
const DISK: &str = "size=8m";
/// Taken by something else at first; more than the log of the database, which needs as much again to be carried over.
const BALLAST_BYTES: usize = 5 << 20;
/// Posts at most until the disk is full.
const POSTS_MAX: usize = 400;

/// A small disk in memory.
pub struct Disk(pub PathBuf);

impl Disk {
    /// `None` where this process may not mount.
    pub fn mount(at: &Path, size: &str) -> Option<Disk> {
        std::fs::create_dir_all(at).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", size, "wayside-fault"]).arg(at).output().ok()?;
        mount.status.success().then(|| Disk(at.to_owned()))
    }

    /// Takes all that is free.
    pub fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.0.join("filler")).unwrap();
        for step in [4_096, 1] {
            while file.write_all(&vec![7; step]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_refuses_loses_nothing_and_passes_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(&folder.path().join("disk"), DISK) else {
        must_mount();
        return skipped(
            "a_full_disk_refuses_loses_nothing_and_passes_by_itself",
            "a tmpfs can be mounted by root only",
        );
    };
    std::fs::write(disk.0.join("ballast"), vec![7; BALLAST_BYTES]).unwrap();
    let home = Home::at(&disk.0, SHOP);
    let mut scene = Scene { book: Arc::default(), number: 0 };
    let mut daemon = home.start();
    let mut client = daemon.client();
    let token = scene.consent(&mut client);
    scene.post_until_full(&mut client);
    disk.fill();
    scene.post_small_ones(&mut client);
    let withdrawn = scene.withdraw(&mut client, &token);
    if withdrawn.status == 200 {
        scene.post_withdrawn(&mut client);
    }
    check(&home, &scene.book);
    assert_eq!(daemon.ended(), None, "a full disk is no reason to end:\n{}", home.tail());

    disk.free();
    until("posts are accepted again", || scene.post(&mut client, 1, 10).status == 200);
    let after = scene.withdraw(&mut client, &token);
    assert_eq!(after.status, 200, "the withdrawal that was refused can be sent again: {after:?}");
    if withdrawn.status == 200 {
        assert_eq!(after.json()["outcome"], "duplicate", "it had been recorded: {withdrawn:?}");
    }
    assert_eq!(scene.post_withdrawn(&mut client), 200);
    scene.post(&mut client, 20, 100);
    check(&home, &scene.book);
    daemon.stop();
    check(&home, &scene.book);
    verify(&home);
    say(&format!("on a full disk the withdrawal was answered {}", withdrawn.status));
    drop(home);
    drop(disk);
}

#[test]
fn a_daemon_killed_on_a_full_disk_comes_back_with_everything() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(&folder.path().join("disk"), DISK) else {
        must_mount();
        return skipped(
            "a_daemon_killed_on_a_full_disk_comes_back_with_everything",
            "a tmpfs can be mounted by root only",
        );
    };
    std::fs::write(disk.0.join("ballast"), vec![7; BALLAST_BYTES]).unwrap();
    let home = Home::at(&disk.0, SHOP);
    let mut scene = Scene { book: Arc::default(), number: 0 };
    let daemon = home.start();
    let mut client = daemon.client();
    scene.consent(&mut client);
    scene.post_until_full(&mut client);
    disk.fill();
    scene.post_small_ones(&mut client);
    daemon.kill();
    // started on the full disk: it has everything, and waits for space as if it had never been away
    let daemon = home.start();
    check(&home, &scene.book);
    let mut client = daemon.client();
    scene.post_small_ones(&mut client);
    disk.free();
    until("posts are accepted again", || scene.post(&mut client, 1, 10).status == 200);
    check(&home, &scene.book);
    assert_eq!(scene.post(&mut client, 20, 100).status, 200);
    check(&home, &scene.book);
    daemon.stop();
    verify(&home);
    drop(home);
    drop(disk);
}

/// Everything acknowledged is there; the file is whole; it was never taken for a damaged one.
fn check(home: &Home, book: &Book) {
    let database = Database::open(&home.data());
    database.keeps(book, &Seen::default());
    database.is_sound();
    assert!(!home.data().join("damaged").exists(), "{}", home.tail());
}

fn verify(home: &Home) {
    if Database::open(&home.data()).number("SELECT count(*) FROM batches") > 0 {
        let verified = home.run(&["batches", "verify"]);
        assert!(verified.status.success(), "{verified:?}");
    }
}

/// The visitor whose consent is taken back while the disk is full.
const LEAVER: &str = "leaver";

struct Scene {
    book: Arc<Book>,
    number: u64,
}

impl Scene {
    /// Posts `count` events of about so many bytes. Whatever is answered is written down; any answer but success and
    /// "no room, come back" panics.
    fn post(&mut self, client: &mut Client, count: usize, bytes: usize) -> Answer {
        let ids: Vec<String> = (0..count).map(|_| self.write_down("filler", bytes, false)).collect();
        self.send(client, &ids)
    }

    fn write_down(&mut self, visitor: &str, bytes: usize, refused: bool) -> String {
        self.number += 1;
        let id = format!("event-{}", self.number);
        let text = "x".repeat(bytes.clamp(1, 1_000));
        let attributes: serde_json::Map<String, serde_json::Value> =
            (0..bytes.div_ceil(1_000)).map(|n| (format!("a{n}"), text.clone().into())).collect();
        let body = json!({"visitor": visitor, "name": "button_clicked", "eventId": id, "attributes": attributes});
        let sent = Sent { body: body.to_string(), page: false, refused, acked: false, seq: None };
        self.book.open().events.insert(id.clone(), sent);
        id
    }

    fn send(&mut self, client: &mut Client, ids: &[String]) -> Answer {
        let bodies: Vec<String> = ids.iter().map(|id| self.book.open().events[id].body.clone()).collect();
        let answer = client.post("/v1/events", &format!("[{}]", bodies.join(","))).unwrap();
        if answer.status == 200 {
            for (id, result) in ids.iter().zip(&answer.results()) {
                self.book.open().take(id, result).unwrap();
            }
        } else {
            no_room(&answer);
        }
        answer
    }

    /// The visitor who will withdraw consents; its token.
    fn consent(&mut self, client: &mut Client) -> String {
        let body = json!({"visitor": LEAVER, "action": "give", "purposes": ["measure"], "decisionId": "joining"});
        let answer = client.post("/v1/consent", &body.to_string()).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        let decided = Decided { body: body.to_string(), action: "give", acked: true };
        self.book.open().decisions.insert("joining".into(), decided);
        answer.json()["visitorToken"].as_str().unwrap().to_owned()
    }

    fn post_until_full(&mut self, client: &mut Client) {
        let mut refused = 0;
        for _ in 0..POSTS_MAX {
            if self.post(client, 20, 5_000).status != 200 {
                refused += 1;
            }
            if refused == 5 {
                return;
            }
        }
        panic!("the disk did not fill up");
    }

    /// Some may find room in what SQLite has already; none may be answered wrongly.
    fn post_small_ones(&mut self, client: &mut Client) {
        for _ in 0..20 {
            self.post(client, 1, 10);
        }
    }

    /// Takes the consent back, the same decision each time.
    fn withdraw(&mut self, client: &mut Client, token: &str) -> Answer {
        let body = json!({
            "visitor": LEAVER, "action": "withdraw", "purposes": ["measure"], "decisionId": "leaving", "visitorToken": token
        });
        let answer = client.post("/v1/consent", &body.to_string()).unwrap();
        let acked = answer.status == 200;
        if !acked {
            no_room(&answer);
        }
        let mut entries = self.book.open();
        let decided = Decided { body: body.to_string(), action: "withdraw", acked: false };
        entries.decisions.entry("leaving".into()).or_insert(decided).acked |= acked;
        answer
    }

    /// An event of the visitor who has withdrawn: counted where it can be, never stored.
    fn post_withdrawn(&mut self, client: &mut Client) -> u16 {
        let id = self.write_down(LEAVER, 10, true);
        self.send(client, &[id]).status
    }
}

/// 507 or 503, with the time to come back, the reason and the remedy.
#[track_caller]
fn no_room(answer: &Answer) {
    assert!(matches!(answer.status, 503 | 507), "{answer:?}");
    assert!(answer.header("retry-after").is_some_and(|s| s.parse::<u32>().is_ok()), "{answer:?}");
    let told = answer.json();
    assert!(told["what"].is_string() && told["remedy"].is_string(), "{answer:?}");
}
