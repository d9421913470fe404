//! What may be kept of a person only with the right to `personal`: traits, names, third parties' ids, form values, whole address.
//! Owns the typed fields, how a value is normalised to be found again, and who counts as a minor. Must never store or send one.
//! Invariant: every field has one stable name, by which it is stored, withheld, shown and erased.

use serde::{Deserialize, Serialize};

use crate::base::text::{lengths_by_letter, may_be};
use crate::base::time::Date;
use crate::domain::event::{Attribute, DataType};

/// Longest typed text, characters.
const TEXT_CHARS_MAX: usize = 256;
/// Longest e-mail address, bytes (RFC 5321).
const EMAIL_BYTES_MAX: usize = 254;
/// Digits of a telephone number: short service numbers up to E.164's fifteen.
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 3..=15;
/// The field of a third party's id without a namespace.
const EXTERNAL_ID: &str = "external_id";

/// What a trait of that name holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A name, a title, a job: text on one line.
    Text,
    /// An address for e-mail.
    Email,
    /// A telephone number.
    Phone,
    /// A calendar date without a time: `YYYY-MM-DD`.
    Date,
    /// Whole years.
    Years,
    /// true or false.
    Truth,
}

/// The traits with a meaning of their own; every other one is a custom text (`spec`: Journey's trait names, and what an external
/// contact holds).
const TRAITS: &[(&str, Kind)] = &[
    ("givenName", Kind::Text),
    ("middleName", Kind::Text),
    ("familyName", Kind::Text),
    ("displayName", Kind::Text),
    ("salutation", Kind::Text),
    ("gender", Kind::Text),
    ("dateOfBirth", Kind::Date),
    ("age", Kind::Years),
    ("minor", Kind::Truth),
    ("email", Kind::Email),
    ("workEmail", Kind::Email),
    ("personalEmail", Kind::Email),
    ("otherEmail", Kind::Email),
    ("cellPhone", Kind::Phone),
    ("homePhone", Kind::Phone),
    ("workPhone", Kind::Phone),
    ("otherPhone", Kind::Phone),
    ("jobTitle", Kind::Text),
    ("jobRole", Kind::Text),
    ("department", Kind::Text),
    ("company", Kind::Text),
    ("industry", Kind::Text),
];

/// Their names, told from nearly all others by first letter and length.
const LENGTHS: [u32; 26] = {
    let mut names = [""; TRAITS.len()];
    let mut n = 0;
    while n < names.len() {
        names[n] = TRAITS[n].0;
        n += 1;
    }
    lengths_by_letter(names)
};

/// What a trait of that name holds; `None` for a custom one.
pub fn kind(name: &str) -> Option<Kind> {
    if !may_be(name, &LENGTHS) {
        return None;
    }
    TRAITS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

/// Typed traits that as attributes are most often about a thing: a shop's department, a listed company and its industry.
const OF_THINGS: [&str; 3] = ["department", "company", "industry"];

/// Is an attribute of that name about a person, whatever event it comes with?
fn is_personal_name(name: &str) -> bool {
    kind(name).is_some() && !OF_THINGS.contains(&name)
}

/// Fields that need the right to `personal`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Personal {
    /// Person-level key and value pairs.
    pub traits: Vec<Attribute>,
    /// The site's own name for the customer (userId).
    pub identity: Option<String>,
    /// A third party's name for the customer.
    pub external_id: Option<String>,
    /// Third parties' names for the customer, by namespace.
    #[serde(default)]
    pub external_ids: Vec<Attribute>,
    /// What was filled into a form.
    #[serde(default)]
    pub form: Vec<Attribute>,
    /// The whole address of the client, where the site keeps it.
    pub full_ip: Option<String>,
}

impl Personal {
    /// Names of the fields present, as `withheld` lists them.
    pub fn fields(&self) -> Vec<&'static str> {
        let present = [
            ("traits", !self.traits.is_empty()),
            ("identity", self.identity.is_some()),
            (EXTERNAL_ID, self.external_id.is_some() || !self.external_ids.is_empty()),
            ("form", !self.form.is_empty()),
            ("ip", self.full_ip.is_some()),
        ];
        present.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
    }

    /// The fields as rows of their own: `trait.NAME`, `external_id`, `external_id.NAMESPACE`, `form.NAME`, `ip`. The identity
    /// has a table of its own.
    pub fn as_fields(&self) -> Vec<Attribute> {
        let under = |start: &str, list: &[Attribute]| -> Vec<Attribute> {
            list.iter().map(|one| Attribute { name: format!("{start}.{}", one.name), ..one.clone() }).collect()
        };
        let text = |name: &str, value: &Option<String>| {
            value.as_ref().map(|v| Attribute { name: name.to_owned(), value: v.clone(), data_type: DataType::String })
        };
        let mut out = under("trait", &self.traits);
        out.extend(text(EXTERNAL_ID, &self.external_id));
        out.extend(under(EXTERNAL_ID, &self.external_ids));
        out.extend(under("form", &self.form));
        out.extend(text("ip", &self.full_ip));
        out
    }

    /// Checks what has a type, and brings it to its one spelling: white space around a value goes, an e-mail address loses
    /// nothing else, a telephone number its separators. Errors: the field, and what it must be; the value is never quoted.
    pub fn check(&mut self) -> Result<(), (String, String)> {
        for one in &mut self.traits {
            let Some(kind) = kind(&one.name) else { continue };
            match checked(kind, one.value.trim()) {
                Ok(value) => one.value = value,
                Err(what) => return Err((format!("traits.{}", one.name), what.to_owned())),
            }
        }
        for one in &mut self.external_ids {
            let well_formed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
            if !one.name.bytes().all(well_formed) {
                let what = "must have a namespace of letters, digits, '_', '-' and '.'";
                return Err(("externalIds".to_owned(), what.to_owned()));
            }
            one.value = one.value.trim().to_owned();
            if one.value.is_empty() {
                return Err((format!("externalIds.{}", one.name), "is empty".to_owned()));
            }
        }
        Ok(())
    }

    /// Takes out of an event's attributes what is a trait by its name, `email` or `cellPhone`: whoever sends it there sends a trait all
    /// the same. It is kept, sealed or withheld as one; a value that is none of its kind is no reason to lose the event.
    pub fn claim(&mut self, attributes: &mut Vec<Attribute>) {
        for at in (0..attributes.len()).rev() {
            if is_personal_name(&attributes[at].name) {
                let mut one = attributes.remove(at);
                if let Some(Ok(value)) = kind(&one.name).map(|kind| checked(kind, one.value.trim())) {
                    one.value = value;
                }
                self.traits.push(one);
            }
        }
    }

    /// Does a trait, a form value or an attribute say that this person is younger than `years` on `today`? A date of birth counts
    /// before an age, an age before a plain statement.
    pub fn declares_minor(&self, attributes: &[Attribute], today: Date, years: u8) -> bool {
        let told = || [self.traits.as_slice(), &self.form, attributes].into_iter().flatten();
        let value = |name: &str| told().find(|one| one.name == name).map(|one| one.value.trim());
        if let Some(born) = value("dateOfBirth").and_then(Date::parse) {
            return born.years_until(today) < i32::from(years);
        }
        if let Some(age) = value("age").and_then(|text| text.parse::<u16>().ok()) {
            return age < u16::from(years);
        }
        value("minor") == Some("true")
    }
}

/// A value of that kind in its one spelling, or what it must be.
fn checked(kind: Kind, value: &str) -> Result<String, &'static str> {
    let text = || value.to_owned();
    match kind {
        Kind::Text if value.chars().count() > TEXT_CHARS_MAX => Err("must have at most 256 characters"),
        Kind::Text if value.chars().any(char::is_control) => Err("must be one line without control characters"),
        Kind::Text => Ok(text()),
        Kind::Email => match value.rsplit_once('@') {
            Some((who, host))
                if !who.is_empty()
                    && !host.is_empty()
                    && !host.starts_with('.')
                    && !host.ends_with('.')
                    && value.len() <= EMAIL_BYTES_MAX
                    && !value.chars().any(|c| c.is_whitespace() || c.is_control()) =>
            {
                Ok(text())
            }
            _ => Err("must be an e-mail address: name@host"),
        },
        Kind::Phone => phone(value).ok_or("must be a telephone number: digits, best as +4930123456 (E.164)"),
        Kind::Date => match Date::parse(value) {
            Some(_) => Ok(text()),
            None => Err("must be a date as YYYY-MM-DD"),
        },
        Kind::Years => match value.parse::<u16>() {
            Ok(years) if years <= 150 => Ok(years.to_string()),
            _ => Err("must be whole years from 0 to 150"),
        },
        Kind::Truth if matches!(value, "true" | "false") => Ok(text()),
        Kind::Truth => Err("must be true or false"),
    }
}

/// A telephone number without its separators; a plus sign in front stays.
fn phone(text: &str) -> Option<String> {
    let (plus, rest) = match text.strip_prefix('+') {
        Some(rest) => ("+", rest),
        None => ("", text),
    };
    let mut out = plus.to_owned();
    for c in rest.chars() {
        match c {
            '0'..='9' => out.push(c),
            ' ' | '-' | '.' | '/' | '(' | ')' | '\u{a0}' => {}
            _ => return None,
        }
    }
    PHONE_DIGITS.contains(&(out.len() - plus.len())).then_some(out)
}

/// May a person have several values of that field at once? Third parties' ids only; of others the newest counts.
pub fn is_repeated(field: &str) -> bool {
    field.strip_prefix(EXTERNAL_ID).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Under which kind and which spelling a field's value is looked up; `None` for fields that nobody is looked up by. E-mail
/// addresses of all kinds are one kind, and so are telephone numbers, whole names and postal addresses. Given and family name are
/// kinds of their own: only both together mean somebody.
pub fn lookup(field: &str, value: &str) -> Option<(String, String)> {
    let value = value.trim();
    if value.is_empty() {
        return None;
    }
    if is_repeated(field) {
        return Some((field.to_owned(), value.to_owned()));
    }
    let name = field.strip_prefix("trait.")?;
    let written = match name {
        "displayName" | "name" | "fullName" => Some("name"),
        "givenName" => Some("given_name"),
        "familyName" => Some("family_name"),
        "address" | "street" | "postalAddress" => Some("address"),
        _ => None,
    };
    if let Some(kind) = written {
        let words = words(value);
        return (!words.is_empty()).then(|| (kind.to_owned(), words));
    }
    match kind(name) {
        Some(Kind::Email) => Some(("email".to_owned(), value.to_lowercase())),
        Some(Kind::Phone) => phone(value).map(|number| ("phone".to_owned(), number)),
        _ => None,
    }
}

/// A name or an address as it is compared: letters and digits, small, one space between words.
fn words(text: &str) -> String {
    let small = text.to_lowercase();
    small.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The ways to read a whole name as given name and family name, either first.
pub fn split_names(name: &str) -> Vec<(String, String)> {
    let words: Vec<&str> = name.split([' ', ',', '\u{a0}']).filter(|word| !word.is_empty()).collect();
    let cuts = (1..words.len()).map(|at| (words[..at].join(" "), words[at..].join(" ")));
    cuts.flat_map(|(one, other)| [(one.clone(), other.clone()), (other, one)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trait_of(name: &str, value: &str) -> Personal {
        Personal { traits: vec![pair(name, value)], ..Personal::default() }
    }

    fn pair(name: &str, value: &str) -> Attribute {
        Attribute { name: name.to_owned(), value: value.to_owned(), data_type: DataType::String }
    }

    #[test]
    fn typed_traits_are_checked_and_spelled_one_way() {
        let good = [
            ("email", " Ann.Lee@Example.org ", "Ann.Lee@Example.org"),
            ("cellPhone", "+49 (30) 123-456", "+4930123456"),
            ("homePhone", "030/123 456", "030123456"),
            ("dateOfBirth", "2000-02-29", "2000-02-29"),
            ("age", "017", "17"),
            ("givenName", " Zoë ", "Zoë"),
            ("minor", "true", "true"),
            ("favouriteColour", " blue ", " blue "),
        ];
        for (name, sent, kept) in good {
            let mut personal = trait_of(name, sent);
            assert_eq!(personal.check(), Ok(()), "{name}");
            assert_eq!(personal.traits[0].value, kept, "{name}");
        }
    }

    #[test]
    fn a_wrong_trait_is_named_and_its_value_is_not_quoted() {
        let bad = [
            ("email", "ann at example"),
            ("workEmail", "@corp"),
            ("otherEmail", "a@.org"),
            ("cellPhone", "call me"),
            ("workPhone", "99"),
            ("otherPhone", "1234567890123456"),
            ("dateOfBirth", "2001-02-29"),
            ("dateOfBirth", "01.02.2001"),
            ("age", "151"),
            ("minor", "perhaps"),
            ("jobTitle", "a\nb"),
        ];
        for (name, value) in bad {
            let (field, what) = trait_of(name, value).check().unwrap_err();
            assert_eq!(field, format!("traits.{name}"));
            assert!(!what.contains(value), "{what}");
        }
        let long = "x".repeat(TEXT_CHARS_MAX + 1);
        assert!(trait_of("company", &long).check().is_err());
        assert!(trait_of("company", &long[1..]).check().is_ok());
    }

    #[test]
    fn third_party_ids_have_a_namespace_and_a_value() {
        let with = |name: &str, value: &str| Personal { external_ids: vec![pair(name, value)], ..Personal::default() };
        assert_eq!(with("crm", " 42 ").check(), Ok(()));
        assert_eq!(with("my crm", "42").check().unwrap_err().0, "externalIds");
        assert_eq!(with("crm", " ").check().unwrap_err().0, "externalIds.crm");
        let names: Vec<String> = with("crm", "42").as_fields().into_iter().map(|f| f.name).collect();
        assert_eq!(names, ["external_id.crm"]);
        assert_eq!(with("crm", "42").fields(), ["external_id"]);
    }

    #[test]
    fn attributes_named_like_traits_are_traits() {
        let mut personal = trait_of("givenName", "Ann");
        let sent = [("cellPhone", "+49 30 1234"), ("colour", "blue"), ("company", "ACME"), ("email", "nobody")];
        let mut attributes: Vec<Attribute> = sent.iter().map(|(name, value)| pair(name, value)).collect();
        personal.claim(&mut attributes);
        assert_eq!(attributes, [pair("colour", "blue"), pair("company", "ACME")]);
        let traits: Vec<(&str, &str)> = personal.traits.iter().map(|t| (t.name.as_str(), t.value.as_str())).collect();
        assert_eq!(traits, [("givenName", "Ann"), ("email", "nobody"), ("cellPhone", "+49301234")]);
    }

    #[test]
    fn values_are_looked_up_in_one_spelling() {
        let found = |field: &str, value: &str| lookup(field, value).map(|(kind, value)| format!("{kind}={value}"));
        assert_eq!(found("trait.email", "Ann@Example.org"), found("trait.workEmail", " ann@example.ORG"));
        assert_eq!(found("trait.cellPhone", "+49 30 1"), Some("phone=+49301".to_owned()));
        assert_eq!(found("external_id.crm", "A1"), Some("external_id.crm=A1".to_owned()));
        assert_ne!(found("external_id.crm", "A1"), found("external_id", "A1"));
        assert_eq!(found("trait.displayName", " ANN  O'Neil"), Some("name=ann o neil".to_owned()));
        assert_eq!(found("trait.street", "1, Main St."), found("trait.address", "1 main st"));
        assert_ne!(found("trait.givenName", "Ann"), found("trait.familyName", "Ann"));
        assert_eq!(found("trait.givenName", " - "), None);
        assert_eq!(found("trait.middleName", "Ann"), None);
        assert_eq!(found("external_identity", "A1"), None);
        assert_eq!(found("ip", "192.0.2.1"), None);
    }

    #[test]
    fn a_whole_name_is_read_in_every_way() {
        let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        assert_eq!(split_names("Lee, Ann"), [pair("Lee", "Ann"), pair("Ann", "Lee")]);
        assert_eq!(split_names("Ann van Lee").len(), 4);
        assert!(split_names("Ann").is_empty());
    }

    #[test]
    fn a_minor_is_known_by_birth_age_or_statement() {
        let today = Date::parse("2026-11-22").unwrap();
        let minor = |name: &str, value: &str| trait_of(name, value).declares_minor(&[], today, 16);
        assert!(minor("dateOfBirth", "2010-11-23"), "sixteen tomorrow");
        assert!(!minor("dateOfBirth", "2010-11-22"), "sixteen today");
        assert!(minor("age", "15") && !minor("age", "16"));
        assert!(minor("minor", "true") && !minor("minor", "false"));
        let mut both = trait_of("dateOfBirth", "1990-01-01");
        both.traits.push(pair("minor", "true"));
        assert!(!both.declares_minor(&[], today, 16), "the date of birth counts");
        assert!(Personal::default().declares_minor(&[pair("age", "12")], today, 16), "an attribute of the event");
        assert!(!Personal::default().declares_minor(&[], today, 16));
    }
}
