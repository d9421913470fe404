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
