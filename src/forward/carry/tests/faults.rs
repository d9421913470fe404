//! What befalls sticks: interrupted copies, full and changed ones, those of others, acknowledgements that lie.
//! Must never touch a real stick. Invariant: whatever befalls it, what is sound is taken, and the rest is told with its reason.

use std::path::Path;
use std::process::Command;

use crate::base::age::Identity;
use crate::base::digest::{SigningKey, sha256};
use crate::base::error::{Error, Kind};
use crate::base::text::hex;
use crate::domain::batch::Manifest;
use crate::domain::delivery::Ack;
use crate::domain::event::Lane;
use crate::domain::signed::Signed;
use crate::forward::carry::Carried;
use crate::forward::carry::dir::{Folder, signing};
use crate::forward::carry::key_of;
use crate::forward::carry::stick::{INDEX, Index, Place, alone};
use crate::forward::carry::take::{Receiver, carry_in};
use crate::forward::carry::tests::support::{Branch, Centre, TARGET, files, prints};
use crate::forward::tests::support::START;
use crate::store::alarms;

/// A branch with eleven batches, and what a whole stick of it holds.
fn branch(centre: &Centre) -> Branch {
    let branch = Branch::new(Some(&centre.key));
    let anna = branch.visitor("anna");
    for _ in 0..5 {
        branch.pages(anna, 20);
        branch.world.event(anna, "scroll", Lane::Fine);
    }
    branch
}

#[test]
fn a_copy_that_is_cut_off_anywhere_is_completed_by_the_next() {
    let centre = Centre::new();
    let branch = branch(&centre);
    let whole = tempfile::tempdir().unwrap();
    let all = branch.out(whole.path());
    for cut in [0, 1, 2, 7, usize::try_from(all.batches).unwrap() - 1] {
        let stick = tempfile::tempdir().unwrap();
        let mut given = 0;
        let broken = branch.out_with(stick.path(), None, &mut |_| {
            given += 1;
            if given > cut { Err(Error::busy("cut off").code("cut_off")) } else { Ok(()) }
        });
        assert_eq!(broken.unwrap_err().code, "cut_off");
        let there = prints(stick.path());
        // what is there already can be taken, and is
        if !there.is_empty() {
            let early = Centre { key: centre.key.clone(), dir: tempfile::tempdir().unwrap() };
            let taken = early.take(stick.path());
            assert_eq!((taken.refused.len(), u64::try_from(early.verify()).unwrap()), (0, taken.stored), "{taken:?}");
            for ack in files(stick.path()).into_iter().filter(|path| path.to_string_lossy().contains("acks-")) {
                std::fs::remove_file(ack).unwrap();
            }
        }
        branch.out(stick.path());
        let after = prints(stick.path());
        assert!(there.iter().all(|(path, print)| after.get(path) == Some(print)), "whole files were written again");
        assert!(branch.index(stick.path()).complete);
        let end = Centre { key: centre.key.clone(), dir: tempfile::tempdir().unwrap() };
        assert_eq!((end.take(stick.path()).stored, end.lines().len()), (all.batches, 106), "cut at {cut}");
    }
}

#[test]
fn a_file_that_does_not_hold_is_refused_with_its_reason_and_replaced_by_the_next_copy() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 5] = [
        ("half_copied", |path| {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_len(std::fs::metadata(path).unwrap().len() / 2).unwrap();
        }),
        ("altered", |path| {
            let mut bytes = std::fs::read(path).unwrap();
            let last = bytes.len() - 40;
            bytes[last] ^= 1;
            std::fs::write(path, bytes).unwrap();
        }),
        ("altered", |path| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, [&bytes[..], b"more"].concat()).unwrap();
        }),
        ("missing", |path| std::fs::remove_file(path).unwrap()),
        ("half_copied", |path| {
            let mut part = path.as_os_str().to_owned();
            part.push(".part");
            std::fs::rename(path, part).unwrap();
        }),
    ];
    for (reason, harm) in harms {
        let (centre, stick) = (Centre::new(), tempfile::tempdir().unwrap());
        let branch = branch(&centre);
        let all = branch.out(stick.path());
        let index = branch.index(stick.path());
        let victim = index.files.iter().find(|file| file.lane == "pages").unwrap();
        harm(&branch.place(stick.path()).path(&victim.name));
        let taken = centre.take(stick.path());
        let told: Vec<_> = taken.refused.iter().map(|one| (one.code, one.place.ends_with(&victim.name))).collect();
        assert_eq!(told, [(reason, true)], "{taken:?}");
        assert!(taken.stored > 0 && taken.stored < all.batches, "what is sound is taken: {taken:?}");
        centre.verify();
        // the next copy replaces it; nothing is lost
        branch.out(stick.path());
        centre.take(stick.path());
        assert_eq!(centre.lines().len(), 106, "{reason}");
    }
}

#[test]
fn files_for_somebody_else_are_left_alone_and_told() {
    let (centre, other, stick) = (Centre::new(), Centre::new(), tempfile::tempdir().unwrap());
    let branch = branch(&centre);
    branch.out(stick.path());
    let before = prints(stick.path());
    let taken = other.take(stick.path());
    assert_eq!((taken.stored, taken.acks), (0, 0));
    assert!(
        taken.refused.len() == before.len() && taken.refused.iter().all(|one| one.code == "wrong_key"),
        "{taken:?}"
    );
    assert_eq!(prints(stick.path()), before);
    assert_eq!(files(other.dir.path()).len(), 0);
    // of an edge that is not believed: whoever knows a public key may encrypt to it
    let clock = crate::base::time::ManualClock::at(START);
    let mut folder = Folder::new(other.dir.path(), Some(&centre.key), vec![[7; 32]], &clock);
    let taken = carry_in(&mut folder, stick.path(), std::slice::from_ref(&centre.key), None, &mut |_| ()).unwrap();
    let codes: Vec<&str> = taken.refused.iter().map(|one| one.code).collect();
    assert_eq!((taken.stored, codes[0]), (0, "bad_signature"), "its index says nothing either");
    assert!(codes.len() > 1 && codes[1..].iter().all(|code| *code == "unknown_edge"), "{codes:?}");
    let own = carry_in(&mut folder, stick.path(), &[], Some(branch.carry.edge()), &mut |_| ()).unwrap();
    assert_eq!((own.files, own.refused.len()), (0, 0), "an edge takes nothing of its own");
    let empty = tempfile::tempdir().unwrap();
    let nothing = carry_in(&mut folder, empty.path(), &[], None, &mut |_| ()).unwrap_err();
    assert_eq!(nothing.code, "nothing_carried");
    let gone = carry_in(&mut folder, &empty.path().join("no"), &[], None, &mut |_| ()).unwrap_err();
    assert_eq!((gone.code, gone.kind), ("no_stick", Kind::NotFound));
}

#[test]
fn an_index_that_was_changed_or_names_other_folders_is_not_followed() {
    let (centre, stick) = (Centre::new(), tempfile::tempdir().unwrap());
    let branch = branch(&centre);
    let all = branch.out(stick.path());
    let place = branch.place(stick.path());
    let path = place.path(INDEX);
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, good.replacen("pages", "fines", 1)).unwrap();
    let taken = centre.take(stick.path());
    assert_eq!((taken.refused.len(), taken.refused[0].code), (1, "bad_signature"));
    assert_eq!(taken.stored, all.batches, "each file speaks for itself");
    let mut index = branch.index_of(&good);
    index.files[0].name = "../../../../etc/passwd".to_owned();
    let key = SigningKey::from_seed([1; 32]);
    place.set_index(&crate::domain::signed::Signed::of(&index, &key)).unwrap();
    let error = place.index((&branch.edge(), TARGET), None).unwrap_err();
    assert_eq!(error.code, "bad_statement");
    let foreign = place.index((&branch.edge(), TARGET), Some(&[9; 32])).unwrap_err();
    assert_eq!(foreign.code, "bad_signature", "an edge that is known is known by its key");
}

impl Branch {
    fn index_of(&self, text: &str) -> crate::forward::carry::stick::Index {
        serde_json::from_str::<crate::domain::signed::Signed>(text).unwrap().open("carry_index", None).unwrap()
    }
}

#[test]
fn an_edge_is_believed_under_the_key_it_is_known_by_and_under_none_that_a_stick_brings() {
    let (centre, stick) = (Centre::new(), tempfile::tempdir().unwrap());
    let branch = branch(&centre);
    let all = branch.out(stick.path());
    centre.take(stick.path());
    let (place, stranger) = (branch.place(stick.path()), SigningKey::from_seed([6; 32]));
    // an index that names nothing any more, by somebody else: every file speaks for itself
    let posing = Index { files: Vec::new(), complete: true, ..branch.index(stick.path()) };
    place.set_index(&Signed::of(&posing, &stranger)).unwrap();
    let taken = centre.take(stick.path());
    assert_eq!(
        (taken.same, taken.refused.len(), taken.refused[0].code),
        (all.batches, 1, "bad_signature"),
        "{taken:?}"
    );
    // the edge does not go by it either: what lies there is written anew, under its own index
    let again = branch.out(stick.path());
    assert_eq!((again.kept, again.batches), (0, 0), "all of it was acknowledged");
    assert_eq!(place.index((&branch.edge(), TARGET), Some(&branch.carry.public_key())).unwrap().unwrap().0.files, []);
    // a batch that somebody else signed in its name
    let clock = crate::base::time::ManualClock::at(START);
    let mut folder = Folder::new(centre.dir.path(), Some(&centre.key), Vec::new(), &clock);
    let key = crate::forward::dir::keys(centre.dir.path()).unwrap().remove(0);
    let at = |kind: &str| std::fs::read(centre.dir.path().join(format!("{key}{kind}"))).unwrap();
    let manifest: Manifest = serde_json::from_slice(&at(".manifest.json")).unwrap();
    let mut part = manifest.open(None).unwrap();
    part.key_id = hex(&sha256(&stranger.public()))[..16].to_owned();
    part.batch_no += 1_000;
    let (sealed, signature) = part.sign(&stranger);
    let sealed = String::from_utf8(sealed).unwrap();
    let forged = Manifest { sealed, signature: hex(&signature), public_key: hex(&stranger.public()), ..manifest };
    let carried =
        Carried { key: key.at(part.batch_no), manifest: serde_json::to_string(&forged).unwrap(), gz: at(".ndjson.gz") };
    assert_eq!(folder.take(&carried).unwrap_err().code, "unknown_edge");
    let mut empty = Folder::new(&centre.dir.path().join("elsewhere"), Some(&centre.key), Vec::new(), &clock);
    assert!(empty.take(&carried).is_ok(), "where nothing is known of an edge, the first is believed");
}

#[test]
fn acknowledgements_count_only_as_the_receiver_signed_them_and_without_a_gap() {
    let (centre, stick) = (Centre::new(), tempfile::tempdir().unwrap());
    let branch = branch(&centre);
    branch.out(stick.path());
    let index = branch.index(stick.path());
    let file = index.files.iter().find(|file| file.lane == "pages").unwrap();
    let ack = |no: usize, key: &SigningKey| {
        let batch = &file.batches[no - 1];
        let ack = Ack {
            format: 1,
            kind: "ack".to_owned(),
            by: "00".repeat(16),
            edge: index.edge.clone(),
            epoch: file.epoch.clone(),
            lane: file.lane.clone(),
            batch_no: batch.batch_no,
            digest: batch.digest.clone(),
            received_at: START.rfc3339(),
        };
        (ack.clone(), ack.sign(key))
    };
    let key = signing(&centre.key);
    let acked = || branch.cursor(Lane::Pages).acked_no;
    let take = |acks: Vec<_>| branch.carry.acks(TARGET, &acks).unwrap();
    let foreign = take(vec![ack(1, &SigningKey::from_seed([5; 32])).1]);
    assert_eq!((foreign.acknowledged, foreign.refused.len(), acked()), (0, 1, 0));
    assert_eq!(take(vec![ack(2, &key).1, ack(3, &key).1]).acknowledged, 0, "the first is missing");
    assert_eq!((take(vec![ack(1, &key).1, ack(2, &key).1]).acknowledged, acked()), (2, 2));
    assert_eq!(take(vec![ack(1, &key).1]).refused, Vec::<String>::new(), "an old one changes nothing");
    let other_digest = Ack { digest: "ab".repeat(32), ..ack(3, &key).0 }.sign(&key);
    assert_eq!((take(vec![other_digest]).refused.len(), acked()), (1, 2));
    let other_epoch = Ack { epoch: "ab".repeat(8), ..ack(3, &key).0 }.sign(&key);
    assert!(take(vec![other_epoch]).refused[0].contains("no epoch of this database"));
    let beyond = Ack { batch_no: 999, ..ack(3, &key).0 }.sign(&key);
    assert_eq!((take(vec![beyond]).refused.len(), acked()), (1, 2));
    let raised = branch.world.store.read(alarms::list).unwrap();
    let raised: Vec<_> = raised.iter().map(|alarm| (alarm.code.as_str(), alarm.about.as_str())).collect();
    assert_eq!(raised, [("bad_ack", TARGET), ("fork", TARGET)]);
    // what lies on the stick and is none is passed over and told
    std::fs::write(branch.place(stick.path()).path("acks-00.json"), "nonsense").unwrap();
    assert!(branch.out(stick.path()).acks.refused[0].contains("does not parse"));
}

#[test]
fn another_batch_under_a_known_name_is_refused_as_a_fork() {
    let (centre, stick) = (Centre::new(), tempfile::tempdir().unwrap());
    let branch = branch(&centre);
    branch.out(stick.path());
    centre.take(stick.path());
    // the same number of the same lane and epoch, sealed by another database: its manifest lies at the receiver
    let manifests: Vec<_> =
        files(centre.dir.path()).into_iter().filter(|it| it.to_string_lossy().contains("/pages/")).collect();
    let (first, second) = (&manifests[0], &manifests[2]);
    std::fs::copy(second, first).unwrap();
    let taken = centre.take(stick.path());
    assert!(taken.refused.iter().any(|one| one.code == "fork"), "{taken:?}");
}

#[test]
fn a_full_stick_keeps_whole_files_and_the_next_one_goes_on() {
    let mount = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=32k", "tmpfs"]).arg(mount.path()).output();
    if !mounted.as_ref().is_ok_and(|done| done.status.success()) {
        eprintln!("\n*** SKIPPED: a full stick needs root, to mount a small one ***\n");
        return;
    }
    let unmount = Unmount(mount.path());
    let centre = Centre::new();
    let branch = Branch::new(Some(&centre.key));
    let anna = branch.visitor("anna");
    for _ in 0..12 {
        branch.pages(anna, 10);
        let attempt = branch.out_with(mount.path(), None, &mut |_| Ok(()));
        if let Err(error) = attempt {
            assert_eq!((error.code, error.kind), ("disk_full", Kind::Storage));
        }
    }
    let full = branch.out_with(mount.path(), None, &mut |_| Ok(())).unwrap_err();
    assert_eq!(full.code, "disk_full");
    assert!(files(mount.path()).iter().all(|path| !path.to_string_lossy().ends_with(".part")), "no part is left");
    let taken = centre.take_somewhere(mount.path());
    assert!(taken.stored > 0, "{taken:?}");
    centre.verify();
    let larger = tempfile::tempdir().unwrap();
    branch.out(larger.path());
    centre.take(larger.path());
    assert_eq!(centre.lines().len(), 121);
    drop(unmount);
}

impl Centre {
    /// Takes a stick that has no room for acknowledgements.
    fn take_somewhere(&self, stick: &Path) -> crate::forward::carry::take::Report {
        let clock = crate::base::time::ManualClock::at(START);
        let mut folder = Folder::new(self.dir.path(), None, Vec::new(), &clock);
        carry_in(&mut folder, stick, std::slice::from_ref(&self.key), None, &mut |_| ()).unwrap()
    }
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _done = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn two_at_one_stick_exclude_each_other() {
    let centre = Centre::new();
    let (branch, stick) = (branch(&centre), tempfile::tempdir().unwrap());
    let first = alone(stick.path()).unwrap();
    assert_eq!(alone(stick.path()).unwrap_err().code, "stick_in_use");
    assert_eq!(branch.out_with(stick.path(), None, &mut |_| Ok(())).unwrap_err().code, "stick_in_use");
    let clock = crate::base::time::ManualClock::at(START);
    let mut folder = Folder::new(centre.dir.path(), None, Vec::new(), &clock);
    let taken = carry_in(&mut folder, stick.path(), &[], None, &mut |_| ());
    assert_eq!(taken.unwrap_err().code, "stick_in_use");
    drop(first);
    branch.out(stick.path());
    assert!(alone(stick.path()).is_ok(), "and gives it free");
}

#[test]
fn keys_and_names_are_read_strictly() {
    let key = "00112233445566778899aabbccddeeff/0011223344556677/pages/000000000012";
    assert_eq!(key_of(key).unwrap().to_string(), key);
    for bad in [
        "",
        &key[1..],
        &format!("{key}/x"),
        &key.replace("pages", "clouds"),
        &key.replace("12", "00"),
        &key.to_uppercase(),
    ] {
        assert_eq!(key_of(bad).unwrap_err().code, "bad_key", "{bad}");
    }
    let stick = tempfile::tempdir().unwrap();
    assert_eq!(Place::of(&stick.path().join("no"), "e", "t").unwrap_err().code, "no_stick");
    assert_ne!(hex(&signing(&Identity::mint()).public()), hex(&signing(&Identity::mint()).public()));
}
