//! Words that tell of special categories of personal data (GDPR Art. 9 and 10): health, belief, union, politics, orientation,
//! origin, biometrics, crime. What holds one is left out of an event before anything is stored. Owns the list and how texts are
//! taken apart; must never say which word it was. Invariant: the same text fares the same whoever sends it.
//!
//! A list of words is no understanding: it keeps out what is named plainly in English, German or French, in addresses, titles,
//! searches, names and values. Sites about such matters switch it off, on a lawful basis of their own.

use std::borrow::Cow;

use crate::base::error::{Error, Result};
use crate::base::piece::Piece;
use crate::domain::address::Address;
use crate::domain::campaign::Campaign;
use crate::domain::event::{Attribute, Event};

mod sieve;

use sieve::{LETTERS, Sieve, letter};

/// Words and, with a star, beginnings of words; without accents, spaces or hyphens. Words with more than one meaning on ordinary
/// sites (race, union, health, gender) stand here only together with what makes them plain.
const WORDS: &str = "
    hiv aids diabet* cancer* krebs krebserkrank* krebstherap* depress* schizo* psychiat* psychoth* autis* epilep* dement*
    alzheimer* pregnan* schwanger* enceinte grossesse abortion* abtreib* avortement* disabilit* behinder* schwerbehinder*
    krankheit* erkrank* maladie* disease* diagnosis diagnoses diagnose diagnosen medikament* medicament* prescription*
    rezeptpflichtig* suizid* suicid* drogensucht* alkoholsucht* suchtberat* addict* hepatit* infertil* unfruchtbar* kinderwunsch*
    chemotherap* healthstatus* healthcondition* healthdata gesundheitszustand* gesundheitsdaten etatdesante
    religio* konfession* muslim* islam* katholi* catholi* protestant* evangelisch* jewish judaism judentum juif juive hindu*
    buddhis* atheis* moschee* synagog* kirchensteuer* glaubens*
    tradeunion* labourunion* laborunion* unionmember* gewerkschaft* syndicat syndicats syndique syndicaliste*
    politicalopinion* politicalview* politicalparty politischemeinung* parteimitglied* parteizugehor* parteizugehoer*
    opinionpolitique opinionspolitiques partipolitique wahlverhalten votingintention*
    sexualorientation* sexuelleorientierung* orientationsexuelle homosex* heterosex* bisex* lesbian* lesbisch* lesbienne* schwul*
    gay queer transgender* transsex* lgbt* sexlife sexleben* viesexuelle
    ethni* racialorigin* rassenzugehor* rassenzugehoer* originraciale origineraciale skincolor skincolour hautfarbe*
    migrationshintergrund*
    biometri* fingerabdruck* empreintedigitale empreintesdigitales irisscan* retinascan* voiceprint* gesichtserkennung*
    facialrecognition genetic* genetisch* genetique* gentest* dnatest* dnaprofile*
    criminalrecord* convicted vorstraf* strafregister* fuhrungszeugnis fuehrungszeugnis casierjudiciaire condamnation*
    strafverfahren* straftat* haftstrafe* felony felonies misdemeano*
";

/// Most words of one list.
pub const WORDS_MAX: usize = 1_000;
/// Words that are read together at the most: `sexual_orientation`, `État de santé`.
const TOGETHER_MAX: usize = 3;
/// What stands where a part of a path was left out.
const LEFT_OUT: &str = "*";
/// The name of an event whose own was left out.
pub const UNNAMED: &str = "withheld";

/// The words that are looked for.
#[derive(Clone, Debug, Default)]
pub struct DenyList {
    /// Sorted.
    whole: Vec<String>,
    /// Sorted, and none begins with another.
    begins: Vec<String>,
    /// All of them, sorted, and whether each is a beginning.
    all: Vec<(String, bool)>,
    /// Which of `all` begin with two letters (`place`).
    pairs: Vec<std::ops::Range<usize>>,
    /// Where they may begin.
    sieve: Sieve,
    /// A word begins otherwise.
    odd: bool,
}

/// The place of two letters in `pairs`, whether capital or small.
fn place(first: u8, second: u8) -> Option<usize> {
    Some(letter(first).checked_sub(1)? * LETTERS + letter(second).checked_sub(1)?)
}

impl DenyList {
    /// The built-in words, and the operator's: each one word or the beginning of one (`casino`, `gamb*`).
    /// Errors: `Invalid` for an entry without letters, or too many.
    pub fn new(more: &[String]) -> Result<DenyList> {
        DenyList::of(WORDS, more)
    }

    /// The operator's words alone. Errors: as [`DenyList::new`].
    pub fn only(words: &[String]) -> Result<DenyList> {
        DenyList::of("", words)
    }

    fn of(built_in: &str, more: &[String]) -> Result<DenyList> {
        if more.len() > WORDS_MAX {
            return Err(Error::invalid(format!("more than {WORDS_MAX} words")).remedy("keep the list short"));
        }
        let (mut whole, mut begins) = (Vec::new(), Vec::new());
        for entry in built_in.split_whitespace().chain(more.iter().map(String::as_str)) {
            let (text, beginning) = match entry.strip_suffix('*') {
                Some(text) => (text, true),
                None => (entry, false),
            };
            let word = words_of(text).concat();
            if word.chars().count() < 2 {
                return Err(Error::invalid(format!("{entry:?} has fewer than two letters"))
                    .remedy("write a word, or its beginning and a star"));
            }
            if beginning { begins.push(word) } else { whole.push(word) }
        }
        begins.sort();
        begins.dedup_by(|later, earlier| later.starts_with(earlier.as_str()));
        whole.sort();
        whole.dedup();
        let mut all: Vec<(String, bool)> = whole.iter().map(|word| (word.clone(), false)).collect();
        all.extend(begins.iter().map(|word| (word.clone(), true)));
        all.sort();
        let place_of = |word: &str| word.as_bytes().get(..2).and_then(|two| place(two[0], two[1]));
        let odd = all.iter().any(|(word, _)| place_of(word).is_none());
        let mut pairs = vec![0..0; LETTERS * LETTERS];
        for (at, (word, _)) in all.iter().enumerate() {
            if let Some(place) = place_of(word) {
                let begin = if pairs[place].is_empty() { at } else { pairs[place].start };
                pairs[place] = begin..at + 1;
            }
        }
        let sieve = Sieve::of(all.iter().map(|(word, _)| word.as_str()));
        Ok(DenyList { whole, begins, all, pairs, sieve, odd })
    }

    /// A list without words: nothing is left out.
    pub fn none() -> DenyList {
        DenyList::default()
    }

    /// Does a text hold a word of the list?
    pub fn holds(&self, text: &str) -> bool {
        if self.all.is_empty() || text.is_empty() {
            return false;
        }
        if self.odd {
            return self.among(&words_of(text));
        }
        self.ascii_holds(text).unwrap_or_else(|| match without_accents(text) {
            Some(text) => self.ascii_holds(&text).unwrap_or_default(),
            None => self.among(&words_of(text)),
        })
    }

    /// The same for a part of an address, where percent signs stand for bytes, and `+` for a space, as good as itself.
    fn holds_encoded(&self, text: &str) -> bool {
        match memchr::memchr(b'%', text.as_bytes()) {
            None => self.holds(text),
            Some(_) => self.holds(&decoded(text)),
        }
    }

    /// The same for ASCII, without taking the text apart; `None` for any other text.
    fn ascii_holds(&self, text: &str) -> Option<bool> {
        self.sieve.search(text.as_bytes(), |here| self.begins_with(here))
    }

    /// Does a text that begins with a letter begin with a known word?
    fn begins_with(&self, text: &[u8]) -> bool {
        if !self.sieve.far(text) {
            return false; // nearly every word ends here
        }
        let second = text[1..].iter().find(|byte| letter(**byte) != 0);
        let Some(place) = second.and_then(|second| place(text[0], *second)) else { return false };
        let known = self.all.get(self.pairs[place].clone()).unwrap_or_default();
        known.iter().any(|(word, beginning)| fits(word.as_bytes(), *beginning, text))
    }

    fn among(&self, words: &[String]) -> bool {
        (0..words.len()).any(|at| {
            let mut joined = String::new();
            words[at..].iter().take(TOGETHER_MAX).any(|word| {
                joined.push_str(word);
                self.has(&joined)
            })
        })
    }

    fn has(&self, word: &str) -> bool {
        if self.whole.binary_search_by(|known| known.as_str().cmp(word)).is_ok() {
            return true;
        }
        // none begins with another, so only the last one not behind the word can be its beginning
        let behind = self.begins.partition_point(|known| known.as_str() <= word);
        behind > 0 && word.starts_with(self.begins[behind - 1].as_str())
    }

    /// Leaves out of an event what holds a word of the list, and says in `denied` which fields: never the word.
    pub fn screen(&self, event: &mut Event) {
        if self.all.is_empty() {
            return;
        }
        let mut denied = Vec::new();
        if self.holds(&event.name) {
            event.name = UNNAMED.to_owned();
            denied.push("name");
        }
        self.screen_page(event, &mut denied);
        let mut list = |list: &mut Vec<Attribute>, field: &'static str| {
            let before = list.len();
            list.retain(|one| !self.holds(&one.name) && !self.holds(&one.value));
            if list.len() < before {
                denied.push(field);
            }
        };
        list(&mut event.attributes, "attributes");
        list(&mut event.personal.traits, "traits");
        list(&mut event.personal.external_ids, "external_id");
        list(&mut event.personal.form, "form");
        event.denied = denied;
    }

    fn screen_page(&self, event: &mut Event, denied: &mut Vec<&'static str>) {
        let page = &mut event.page;
        if page.address.as_mut().is_some_and(|address| self.screen_address(address)) {
            denied.push("url");
        }
        if let Some(screen) = page.screen.as_mut().filter(|text| self.holds(text)) {
            LEFT_OUT.clone_into(screen);
            denied.push("screen");
        }
        let texts = [
            (&mut page.title, "title"),
            (&mut page.keywords, "keywords"),
            (&mut page.category, "category"),
            (&mut event.search_query, "search"),
        ];
        for (text, field) in texts {
            if text.as_deref().is_some_and(|text| self.holds(text)) {
                *text = None;
                denied.push(field);
            }
        }
        let encoded = |text: &str| self.holds_encoded(text);
        if event.referrer.as_ref().is_some_and(|r| encoded(&r.url) || r.keywords.as_deref().is_some_and(encoded)) {
            event.referrer = None;
            denied.push("referrer");
        }
        let told = |c: &Campaign| {
            [&c.content, &c.medium, &c.name, &c.source, &c.term].into_iter().flatten().any(|text| self.holds(text))
        };
        if event.campaign.as_deref().is_some_and(told) {
            event.campaign = None;
            denied.push("campaign");
        }
    }

    /// Leaves out of an address what holds a word; true if there was any.
    fn screen_address(&self, address: &mut Address) -> bool {
        let path = self.path(&address.pathname);
        let query = self.query(&address.query_string);
        let fragment = self.holds_encoded(&address.fragment);
        if path.is_none() && query.is_none() && !fragment {
            return false;
        }
        let tail = |a: &Address| {
            let part = |mark: &str, text: &str| if text.is_empty() { String::new() } else { format!("{mark}{text}") };
            format!("{}{}{}", a.pathname, part("?", &a.query_string), part("#", &a.fragment))
        };
        // an address in a form of its own keeps nothing but what is rebuilt
        let front = address.url.strip_suffix(&tail(address)).unwrap_or_default().to_owned();
        address.pathname = path.map_or_else(|| std::mem::take(&mut address.pathname), Piece::from);
        address.query_string = query.map_or_else(|| std::mem::take(&mut address.query_string), Piece::from);
        if fragment {
            address.fragment = Piece::default();
        }
        address.url = (front + &tail(address)).into();
        true
    }

    /// A path with a star for each part that holds a word; `None` where there is none.
    fn path(&self, path: &str) -> Option<String> {
        if !self.holds_encoded(path) {
            return None; // then no part of it does
        }
        let parts: Vec<&str> = path.split('/').collect();
        let held: Vec<bool> = parts.iter().map(|part| self.holds_encoded(part)).collect();
        held.contains(&true).then(|| {
            let kept = parts.iter().zip(held).map(|(part, held)| if held { LEFT_OUT } else { part });
            kept.collect::<Vec<_>>().join("/")
        })
    }

    /// A query without the parameters that hold a word, in name or value; `None` where there is none.
    fn query(&self, query: &str) -> Option<String> {
        if !self.holds_encoded(query) {
            return None; // then no parameter does
        }
        let pairs: Vec<&str> = query.split('&').collect();
        let kept: Vec<&str> = pairs.iter().copied().filter(|pair| !self.holds_encoded(pair)).collect();
        (kept.len() < pairs.len()).then(|| kept.join("&"))
    }
}

/// A part of an address without percent signs; `+` is a space.
fn decoded(text: &str) -> Cow<'_, str> {
    if memchr::memchr2(b'%', b'+', text.as_bytes()).is_none() {
        return text.into();
    }
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, more @ ..] = rest {
        rest = more;
        let digits = more.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match (first, digits.and_then(|two| u8::from_str_radix(two, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &more[2..];
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(*first),
        }
    }
    String::from_utf8_lossy(&out).into_owned().into()
}

/// Does a text, at the beginning of one of its words, hold a known word, or begin with it? Words stand together as in `among`.
fn fits(known: &[u8], beginning: bool, text: &[u8]) -> bool {
    let (mut found, mut words, mut inside, mut small) = (0, 1, true, false);
    for (at, byte) in text.iter().enumerate() {
        if !byte.is_ascii_alphabetic() {
            inside = false;
            continue;
        }
        if at > 0 && (!inside || (small && byte.is_ascii_uppercase())) {
            words += 1;
            if found == known.len() || words > TOGETHER_MAX {
                return found == known.len();
            }
        }
        if known.get(found) != Some(&byte.to_ascii_lowercase()) {
            return false;
        }
        found += 1;
        if beginning && found == known.len() {
            return true;
        }
        (inside, small) = (true, byte.is_ascii_lowercase());
    }
    found == known.len()
}

/// A text with its accents taken off, spelled as it was otherwise, so that its words (`words_of`) are the same; `None` where that leaves
/// letters of other alphabets.
fn without_accents(text: &str) -> Option<String> {
    let (mut out, mut plain) = (String::with_capacity(text.len()), String::new());
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else if !c.is_alphabetic() {
            out.push(' ');
        } else {
            plain.clear();
            c.to_lowercase().for_each(|c| fold(c, &mut plain));
            if plain.is_empty() || !plain.is_ascii() {
                return None;
            }
            if c.is_uppercase() {
                plain.make_ascii_uppercase();
            }
            out.push_str(&plain);
        }
    }
    Some(out)
}

/// The words of a text: runs of letters, small, without accents; a capital behind a small letter begins another.
fn words_of(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut inside, mut small) = (false, false);
    for c in text.chars() {
        if !c.is_alphabetic() {
            inside = false;
            continue;
        }
        if !inside || (small && c.is_uppercase()) {
            words.push(String::new());
        }
        (inside, small) = (true, c.is_lowercase());
        if let Some(word) = words.last_mut() {
            c.to_lowercase().for_each(|c| fold(c, word));
        }
    }
    words
}

/// A small letter without its accent.
fn fold(c: char, into: &mut String) {
    match c {
        'à' | 'á' | 'â' | 'ä' | 'ã' => into.push('a'),
        'ç' => into.push('c'),
        'è' | 'é' | 'ê' | 'ë' => into.push('e'),
        'ì' | 'í' | 'î' | 'ï' => into.push('i'),
        'ñ' => into.push('n'),
        'ò' | 'ó' | 'ô' | 'ö' => into.push('o'),
        'ù' | 'ú' | 'û' | 'ü' => into.push('u'),
        'ß' => into.push_str("ss"),
        'œ' => into.push_str("oe"),
        'æ' => into.push_str("ae"),
        '\u{300}'..='\u{36f}' => {} // an accent of its own
        c => into.push(c),
    }
}

#[cfg(test)]
mod tests;
