//! A stick's journey when all goes well: out, in, and back; several edges, several sticks, withdrawals on the way.
//! Must never count an event twice. Invariant: what is carried is what was sealed, but for what may no longer leave.

use crate::domain::consent::Action;
use crate::domain::event::Lane;
use crate::domain::purpose::Purposes;
use crate::forward::carry::file::FileReader;
use crate::forward::carry::tests::support::{Branch, Centre, files, prints};
use crate::store::attempts;

#[test]
fn a_stick_goes_out_is_taken_and_brings_acknowledgements_back() {
    let (centre, stick) = (Centre::new(), tempfile::tempdir().unwrap());
    let branch = Branch::new(Some(&centre.key));
    let anna = branch.visitor("anna");
    branch.pages(anna, 25);
    let out = branch.out(stick.path());
    assert_eq!(
        (out.written, out.batches, out.waiting),
        (2, 4, 0),
        "consent, and three batches of pages in one file: {out:?}"
    );
    let index = branch.index(stick.path());
    assert!(index.complete && index.files[0].lane == "consent", "the consent lane comes first");
    let text = |path: &std::path::PathBuf| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    assert!(
        files(stick.path()).iter().all(|path| !text(path).contains("shop.example")),
        "nothing readable is on the stick"
    );
    assert_eq!(branch.cursor(Lane::Pages).acked_no, 0, "what is on a stick is not there yet");

    let taken = centre.take(stick.path());
    assert_eq!((taken.stored, taken.acks, taken.refused.len()), (4, 4, 0), "{taken:?}");
    assert_eq!((centre.verify(), centre.lines().len()), (4, 26), "one decision and 25 pages");

    let back = branch.out(stick.path());
    assert_eq!((back.acks.acknowledged, back.written, back.removed), (4, 0, 2), "{back:?}");
    assert_eq!(prints(stick.path()).len(), 0, "what was acknowledged makes room");
    assert_eq!((branch.cursor(Lane::Pages).acked_no, branch.cursor(Lane::Consent).acked_no), (3, 1));
    branch.pages(anna, 1);
    assert_eq!(branch.out(stick.path()).batches, 1, "only what is new");
    assert_eq!((centre.take(stick.path()).stored, centre.lines().len()), (1, 27));
}

#[test]
fn every_batch_has_an_attempt_that_ended_on_the_stick() {
    let (centre, stick) = (Centre::new(), tempfile::tempdir().unwrap());
    let branch = Branch::new(Some(&centre.key));
    branch.pages(branch.visitor("anna"), 3);
    let mut begun = Vec::new();
    branch
        .out_with(stick.path(), None, &mut |key| {
            begun.push(key);
            Ok(())
        })
        .unwrap();
    assert_eq!(begun.first().map(|key| key.lane), Some(Lane::Consent));
    for key in begun {
        let tries = branch.world.store.read(|tx| attempts::of_batch(tx, 1, key.lane, key.batch_no)).unwrap();
        let ends: Vec<_> = tries.iter().map(|(target, _, _, outcome)| (target.as_str(), outcome.as_deref())).collect();
        assert_eq!(ends, [("centre", Some("put"))], "{key}");
    }
}

#[test]
fn a_stick_that_is_carried_twice_and_two_edges_on_one_stick_count_once() {
    let (centre, stick) = (Centre::new(), tempfile::tempdir().unwrap());
    let (one, two) = (Branch::new(Some(&centre.key)), Branch::new(Some(&centre.key)));
    one.pages(one.visitor("anna"), 5);
    two.pages(two.visitor("bert"), 7);
    one.out(stick.path());
    two.out(stick.path());
    let first = centre.take(stick.path());
    assert_eq!((first.stored, first.same, first.refused.len()), (4, 0, 0));
    let lines = centre.lines();
    assert_eq!(lines.len(), 14);
    let again = centre.take(stick.path());
    assert_eq!((again.stored, again.same, again.acks), (0, 4, 4), "acknowledged again: the first may have been lost");
    assert_eq!(centre.lines(), lines);
    assert_eq!((one.out(stick.path()).acks.acknowledged, two.out(stick.path()).acks.acknowledged), (2, 2));
}

#[test]
fn what_lies_on_the_stick_is_not_written_again_unless_its_lines_changed() {
    let (centre, stick) = (Centre::new(), tempfile::tempdir().unwrap());
    let branch = Branch::new(Some(&centre.key));
    let (anna, bert) = (branch.visitor("anna"), branch.visitor("bert"));
    branch.pages(anna, 3);
    branch.out(stick.path());
    branch.pages(bert, 3);
    branch.out(stick.path());
    let before = prints(stick.path());
    assert_eq!(before.len(), 4, "two of consent, two of pages: {before:?}");
    let same = branch.out(stick.path());
    assert_eq!((same.kept, same.written), (4, 0));
    assert_eq!(prints(stick.path()), before);

    branch.world.decide("anna", Action::Withdraw, Purposes::NONE);
    let renewed = branch.out(stick.path());
    assert_eq!((renewed.kept, renewed.written), (3, 2), "anna's pages, and the withdrawal: {renewed:?}");
    let after = prints(stick.path());
    let changed: Vec<_> = before.iter().filter(|(path, print)| after.get(*path) != Some(print)).collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
    centre.take(stick.path());
    let kinds: Vec<_> = centre.lines().values().map(|line| line["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "event").count(), 3, "bert's pages only: {kinds:?}");
    assert!(kinds.contains(&"withdrawal".to_owned()));
    centre.verify();
}

#[test]
fn a_receiver_takes_new_holes_and_never_gives_lines_back() {
    let (centre, stick, old) = (Centre::new(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let branch = Branch::new(Some(&centre.key));
    branch.pages(branch.visitor("anna"), 3);
    branch.out(stick.path());
    branch.out(old.path());
    centre.take(stick.path());
    // the acknowledgements are lost, the withdrawal comes
    for ack in files(stick.path()).into_iter().filter(|path| path.to_string_lossy().contains("acks-")) {
        std::fs::remove_file(ack).unwrap();
    }
    branch.world.decide("anna", Action::Withdraw, Purposes::NONE);
    branch.out(stick.path());
    let taken = centre.take(stick.path());
    assert_eq!((taken.renewed, taken.stored, taken.same), (1, 1, 1), "{taken:?}");
    let events = |centre: &Centre| centre.lines().values().filter(|line| line["kind"] == "event").count();
    assert_eq!(events(&centre), 0);
    // an older stick turns up: its lines stay away
    let late = centre.take(old.path());
    assert_eq!((late.same, late.renewed, late.refused.len()), (2, 0, 0), "{late:?}");
    assert_eq!(events(&centre), 0);
    centre.verify();
}

#[test]
fn a_withdrawal_in_the_middle_goes_on_the_stick_before_anything_else_is_rendered() {
    let (centre, stick) = (Centre::new(), tempfile::tempdir().unwrap());
    let branch = Branch::new(Some(&centre.key));
    let (anna, bert) = (branch.visitor("anna"), branch.visitor("bert"));
    branch.pages(anna, 15);
    branch.pages(bert, 15);
    let mut given = 0;
    branch
        .out_with(stick.path(), None, &mut |key| {
            given += 1;
            if given == 3 {
                assert_eq!(key.lane, Lane::Pages);
                branch.world.decide("bert", Action::Withdraw, Purposes::NONE);
            }
            Ok(())
        })
        .unwrap();
    let taken = centre.take(stick.path());
    assert_eq!(taken.refused, Vec::new());
    let mut events = 0;
    for line in centre.lines().values() {
        events += usize::from(line["kind"] == "event");
    }
    assert_eq!(events, 15, "not one page of bert's: all were rendered after the withdrawal, or rendered again");
    assert!(centre.lines().values().any(|line| line["kind"] == "withdrawal"));
    assert!(branch.index(stick.path()).complete);
}

#[test]
fn a_small_stick_takes_the_consent_lane_first_and_says_what_waits() {
    let (centre, stick) = (Centre::new(), tempfile::tempdir().unwrap());
    let branch = Branch::new(Some(&centre.key));
    let anna = branch.visitor("anna");
    branch.pages(anna, 100);
    let whole = tempfile::tempdir().unwrap();
    let all = branch.out(whole.path());
    assert_eq!(all.batches, 11);
    let none = branch.out_with(stick.path(), Some(10), &mut |_| Ok(())).unwrap();
    assert_eq!((none.written, none.waiting), (0, 11), "not even the consent lane fits: {none:?}");
    let some = branch.out_with(stick.path(), Some(all.bytes / 2), &mut |_| Ok(())).unwrap();
    assert!(some.bytes <= all.bytes / 2 && some.batches > 1 && some.waiting == 11 - some.batches, "{some:?}");
    let index = branch.index(stick.path());
    assert_eq!((index.files[0].lane.as_str(), index.waiting), ("consent", some.waiting));
    let taken = centre.take(stick.path());
    assert_eq!((taken.stored, taken.waiting), (some.batches, some.waiting), "the receiver hears that there is more");
    let mut rounds = 1;
    while branch.out_with(stick.path(), Some(all.bytes / 2), &mut |_| Ok(())).unwrap().batches > 0 {
        centre.take(stick.path());
        rounds += 1;
        assert!(rounds < 10, "it comes to an end");
    }
    assert_eq!((centre.lines().len(), centre.verify()), (101, 11), "in {rounds} rounds");
}

#[test]
fn plain_files_are_read_without_a_key_and_hold_what_they_say() {
    let (centre, stick) = (Centre::new(), tempfile::tempdir().unwrap());
    let branch = Branch::new(None);
    branch.pages(branch.visitor("anna"), 3);
    branch.out(stick.path());
    let index = branch.index(stick.path());
    assert!(index.files.iter().all(|file| file.name.ends_with(".wayside")));
    let mut reader = FileReader::open(branch.place(stick.path()).open(&index.files[1].name).unwrap(), &[]).unwrap();
    assert_eq!(reader.head().edge, branch.edge());
    let first = reader.read_next().unwrap().unwrap();
    assert_eq!((first.key.lane, first.key.batch_no), (Lane::Pages, 1));
    assert!(reader.read_next().unwrap().is_none() && reader.read_next().unwrap().is_none());
    // the target gets a key: everything is written anew, and nothing plain stays
    let branch = Branch::with(branch.world, Some(&centre.key));
    let out = branch.out(stick.path());
    assert_eq!((out.kept, out.written), (0, 2));
    assert!(prints(stick.path()).keys().all(|path| path.to_string_lossy().ends_with(".age")));
    // and loses it again
    let branch = Branch::with(branch.world, None);
    branch.out(stick.path());
    assert_eq!(Centre::new().take(stick.path()).stored, 2, "anybody reads it");
}
