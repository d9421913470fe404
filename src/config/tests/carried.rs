//! Tests of the checks of sticks and directives: a stick without protection never goes unsaid, and no key is half a key.
//! Must never look for wording. Invariant: every case is a text as an operator would write it.

use super::*;

const KEY: &str = "age195355jz4keww2cy6kcesyt78j8xegfxkj2xw4vhzfwgkrqpd2casxzvgun";

/// Problems of a target that is reached by sticks, with these lines.
fn seen(lines: &str) -> Vec<(Severity, String)> {
    let text = format!("[[target]]\nkind = \"carry\"\n{lines}\n");
    load(&text).problems.into_iter().map(|p| (p.severity, p.key)).collect()
}

#[test]
fn a_stick_is_encrypted_or_said_to_be_plain() {
    let receiver = format!("receiver_key = \"{}\"\n", "ab".repeat(32));
    let named = |lines: &str| seen(&format!("{receiver}{lines}"));
    assert_eq!(named(&format!("encrypt_to = \"{KEY}\"")), []);
    assert_eq!(named("encrypt = \"none\""), [(Severity::Warning, "target[0].encrypt".to_owned())]);
    for wrong in ["", "encrypt_to = \"age1nobody\"", "encrypt_to = \"\""] {
        assert_eq!(named(wrong), [(Severity::Error, "target[0].encrypt_to".to_owned())], "{wrong}");
    }
    let both = named(&format!("encrypt_to = \"{KEY}\"\nencrypt = \"none\""));
    assert!(both.len() == 1 && both[0].0 == Severity::Error, "{both:?}");
}

#[test]
fn acknowledgements_of_anybody_are_told_and_half_a_key_is_none() {
    let sealed = format!("encrypt_to = \"{KEY}\"\n");
    assert_eq!(seen(&sealed), [(Severity::Warning, "target[0].receiver_key".to_owned())]);
    let half = seen(&format!("{sealed}receiver_key = \"abcd\""));
    assert_eq!(half, [(Severity::Error, "target[0].receiver_key".to_owned())]);
    let centre = |key: &str| load(&format!("[directives]\ncentre_key = \"{key}\"\n")).problems.len();
    assert_eq!((centre(&"ab".repeat(32)), centre("ab")), (0, 1));
}

#[test]
fn a_centre_whose_keys_do_not_fit_or_that_nobody_joins_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("centre.key");
    std::fs::write(&file, "01".repeat(32)).unwrap();
    let own = crate::base::text::hex(&crate::base::digest::SigningKey::from_seed([1; 32]).public());
    let check = |text: &str| {
        let loaded = load(&format!(
            "[relay]\nenabled = true\n[directives]\nkey_file = {:?}\n{text}",
            file.display().to_string()
        ));
        loaded.problems.iter().map(|p| (p.severity, p.key.clone())).collect::<Vec<_>>()
    };
    assert_eq!(check(""), []);
    assert_eq!(check(&format!("centre_key = \"{own}\"")), []);
    let error = |key: &str| vec![(Severity::Error, format!("directives.{key}"))];
    assert_eq!(check(&format!("centre_key = \"{}\"", "ab".repeat(32))), error("centre_key"));
    assert_eq!(check("reply_key_file = \"nowhere\""), error("reply_key_file"));
    std::fs::write(&file, "no key").unwrap();
    assert_eq!(check(""), error("key_file"));
    std::fs::write(&file, "01".repeat(32)).unwrap();
    let alone = load(&format!("[directives]\nkey_file = {:?}\n", file.display().to_string()));
    assert_eq!(alone.problems.len(), 1, "{:?}", alone.problems);
    assert_eq!(alone.problems[0].severity, Severity::Warning);
}
