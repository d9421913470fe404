//! Directives against those who would misuse them: unsigned, foreign, changed, replayed, another edge's.
//! Must never carry one out for real. Invariant: what the acting side was asked is written down, and compared.

use std::sync::{Arc, Mutex};

use super::*;
use crate::base::age::Identity;
use crate::base::digest::SigningKey;
use crate::base::error::Error;
use crate::base::id::mint_uuid;
use crate::domain::directive::ALL;
use crate::domain::signed::FORMAT;
use crate::forward::tests::support::{START, World};

pub(in crate::forward::directives) type Script = Arc<Mutex<Vec<Result<Acted>>>>;

/// Answers as it was told to, and remembers what it was asked.
#[derive(Clone, Default)]
pub(in crate::forward::directives) struct Told {
    pub(in crate::forward::directives) asked: Arc<Mutex<Vec<Directive>>>,
    pub(in crate::forward::directives) answers: Script,
    pub(in crate::forward::directives) looked: Arc<Mutex<Option<(Progress, String)>>>,
}

impl Acts for Told {
    fn act(&self, directive: &Directive) -> Result<Acted> {
        self.asked.lock().unwrap().push(directive.clone());
        let scripted = self.answers.lock().unwrap().pop();
        scripted.unwrap_or_else(|| Ok(done()))
    }

    fn look(&self, _: &[u8; 16]) -> Result<Option<(Progress, String)>> {
        Ok(self.looked.lock().unwrap().clone())
    }
}

pub(in crate::forward::directives) fn done() -> Acted {
    Acted { state: Progress::Done, what: "1 visitors".to_owned(), request_id: None, copy: None }
}

struct House {
    world: World,
    told: Told,
    directives: Directives,
    centre: SigningKey,
}

impl House {
    fn new() -> House {
        let (world, told, centre) = (World::new(), Told::default(), SigningKey::from_seed([1; 32]));
        let directives = Directives::new(Arc::clone(&world.store), Some(centre.public()), Box::new(told.clone()));
        House { world, told, directives, centre }
    }

    fn edge(&self) -> String {
        self.world.store.identity().edge.id.to_string()
    }

    fn asked(&self) -> usize {
        self.told.asked.lock().unwrap().len()
    }

    fn take(&self, signed: &[Signed]) -> Answer {
        self.directives.take(signed).unwrap()
    }

    /// The state of the only report, signed by this edge.
    fn state(&self, answer: &Answer) -> Progress {
        let [report] = &answer.reports[..] else { panic!("one report: {answer:?}") };
        let key = self.world.store.identity().edge.signing.public();
        let report: Report = report.open(crate::domain::directive::REPORT, Some(&key)).unwrap();
        assert_eq!(report.edge, self.edge());
        report.state
    }
}

pub(in crate::forward::directives) fn directive(action: Action, edge: &str) -> Directive {
    Directive {
        format: FORMAT,
        kind: DIRECTIVE.to_owned(),
        id: uuid_text(&mint_uuid(START)),
        edge: edge.to_owned(),
        issued_at: START.rfc3339(),
        due_at: START.rfc3339(),
        action,
        visitor_ref: Some("00".repeat(16)),
        site: None,
        identity: None,
        corrections: Vec::new(),
        renew: None,
        reply_to: None,
    }
}

#[test]
fn unsigned_foreign_changed_and_other_edges_directives_do_nothing() {
    let house = House::new();
    let good = Signed::of(&directive(Action::Erase, ALL), &house.centre);
    let foreign = Signed::of(&directive(Action::Erase, ALL), &SigningKey::from_seed([2; 32]));
    let posing = Signed { public_key: good.public_key.clone(), ..foreign.clone() };
    let changed = Signed { text: good.text.replace("erase", "object"), ..good.clone() };
    let unsigned = Signed { signature: String::new(), ..good.clone() };
    let others = Signed::of(&directive(Action::Erase, &"ab".repeat(16)), &house.centre);
    let report =
        Signed::of(&Directive { kind: "directive_report".to_owned(), ..directive(Action::Erase, ALL) }, &house.centre);
    let nameless = Signed::of(&Directive { id: "no uuid".to_owned(), ..directive(Action::Erase, ALL) }, &house.centre);
    let bad = [foreign, posing, changed, unsigned, others, report, nameless];
    let answer = house.take(&bad);
    assert_eq!(
        (answer.refused.len(), answer.taken, answer.reports.len(), house.asked()),
        (bad.len(), 0, 0, 0),
        "{answer:?}"
    );
    let nobody = Directives::new(Arc::clone(&house.world.store), None, Box::new(house.told.clone()));
    let answer = nobody.take(std::slice::from_ref(&good)).unwrap();
    assert!(answer.refused[0].contains("no centre is enrolled") && house.asked() == 0);
    let own = Signed::of(&directive(Action::Withdraw, &house.edge()), &house.centre);
    assert_eq!((house.take(&[good, own]).taken, house.asked()), (2, 2), "and the good ones do");
    let many = vec![Signed::of(&directive(Action::Erase, ALL), &house.centre); DIRECTIVES_MAX + 1];
    assert_eq!(house.directives.take(&many).unwrap_err().code, "too_many");
}

#[test]
fn a_directive_that_comes_again_does_nothing_again() {
    let house = House::new();
    for action in Action::ALL.into_iter().filter(|action| *action != Action::Access) {
        let house = House::new();
        let signed = Signed::of(&directive(action, ALL), &house.centre);
        for round in 0..3 {
            let answer = house.take(&[signed.clone(), signed.clone()]);
            assert_eq!((answer.taken, house.asked()), (usize::from(round == 0), 1), "{action:?}");
        }
        assert_eq!(house.state(&house.take(&[])), Progress::Done, "and is reported whenever somebody asks");
    }
    // whatever was refused stays so
    house.told.answers.lock().unwrap().push(Err(Error::conflict("the customer has too many visitors")));
    let signed = Signed::of(&directive(Action::Restrict, ALL), &house.centre);
    assert_eq!(house.state(&house.take(std::slice::from_ref(&signed))), Progress::Refused);
    assert_eq!((house.state(&house.take(&[signed])), house.asked()), (Progress::Refused, 1));
}

#[test]
fn what_was_cut_off_is_done_when_it_comes_again_and_what_waits_is_looked_at() {
    let house = House::new();
    let signed = [Signed::of(&directive(Action::Erase, ALL), &house.centre)];
    house.told.answers.lock().unwrap().push(Err(Error::busy("stopping")));
    assert_eq!(house.directives.take(&signed).unwrap_err().code, "busy");
    let begun = Acted { state: Progress::Waiting, what: "running".to_owned(), request_id: Some([7; 16]), copy: None };
    house.told.answers.lock().unwrap().push(Ok(begun));
    assert_eq!((house.state(&house.take(&signed)), house.asked()), (Progress::Waiting, 2));
    assert_eq!(house.state(&house.take(&signed)), Progress::Waiting, "still");
    *house.told.looked.lock().unwrap() = Some((Progress::Done, "erased".to_owned()));
    assert_eq!(house.state(&house.take(&[])), Progress::Done);
    *house.told.looked.lock().unwrap() = None;
    assert_eq!((house.state(&house.take(&signed)), house.asked()), (Progress::Done, 2), "for good");
}

#[test]
fn a_copy_goes_to_the_centre_alone_and_is_made_anew_when_asked_again() {
    let (house, centre) = (House::new(), Identity::mint());
    let asked = Directive { reply_to: Some(centre.recipient().to_string()), ..directive(Action::Access, ALL) };
    let signed = [Signed::of(&asked, &house.centre)];
    for round in 1..3 {
        let copy = Some(b"{\"visits\":[]}".to_vec());
        house.told.answers.lock().unwrap().push(Ok(Acted { copy, ..done() }));
        let answer = house.take(&signed);
        assert_eq!((answer.taken, house.asked()), (usize::from(round == 1), round));
        let report: Report = answer.reports[0].open(crate::domain::directive::REPORT, None).unwrap();
        let sealed = base64::decode(&report.copy.unwrap(), Alphabet::Standard).unwrap();
        let mut text = String::new();
        let mut reader = age::Reader::open(&sealed[..], std::slice::from_ref(&centre)).unwrap();
        std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
        assert_eq!(text, "{\"visits\":[]}");
        assert_eq!(age::Reader::open(&sealed[..], &[Identity::mint()]).map(|_| ()).unwrap_err().code, "wrong_key");
    }
    assert!(house.take(&[]).reports[0].open::<Report>("directive_report", None).unwrap().copy.is_none());
}
