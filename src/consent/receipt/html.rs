//! The receipt as one page in the person's language, to read and print; at a kiosk it ends with the code. Must never fetch
//! anything. Invariant: the code names nobody.

use qrcodegen::{QrCode, QrCodeEcc};

use crate::base::digest::sha256;
use crate::base::text::{escape_html, hex};
use crate::base::time::Millis;
use crate::consent::page::{basis_text, say, whole};
use crate::consent::receipt::{Form, Receipt, Signed, Told, same_language};
use crate::domain::consent::LawfulBasis;
use crate::store::notices::ELSEWHERE;

/// White modules around a QR code.
const QUIET: i32 = 4;

/// The page; `signed` = the signed DPV form, whose proof is printed at the end.
pub fn page(receipt: &Receipt, signed: Option<&Signed>) -> String {
    let l = receipt.language.as_str();
    let mut body = receipt.wished.as_deref().map(fallback).unwrap_or_default();
    body.push_str(&facts(receipt, l));
    body.push_str(&purposes(receipt, l));
    body.push_str(&control(receipt, l));
    if let Some(code) = &receipt.code {
        body.push_str(&code_part(receipt, l, &code.text()));
    }
    let bytes = signed.map_or_else(|| receipt.render(Form::Dpv), |signed| signed.bytes.clone());
    let mut proof = format!("{}<br>\nSHA-256 {}", escape_html(&receipt.id()), hex(&sha256(&bytes)));
    if let Some(signed) = signed {
        let word = say(l, "Signature", "Signatur");
        proof.push_str(&format!("<br>\n{word} Ed25519, {} {}", escape_html(&signed.key_id), hex(&signed.signature)));
    }
    proof.push_str(&format!("<br>\nLedger {} {}", receipt.row.ledger_no, hex(&receipt.row.hash)));
    body.push_str(&format!("<p class=\"fine\">{proof}</p>\n"));
    whole(l, say(l, "Receipt for your privacy choice", "Beleg für Ihre Entscheidung zum Datenschutz"), &body)
}

/// Said first where there is no page in the person's language.
fn fallback(wished: &str) -> String {
    format!(
        "<p class=\"fine\">This page exists in English and German (de), and not in {}. What the notice said stands in the language \
         it was shown in.</p>\n",
        escape_html(wished)
    )
}

/// A time for people, in UTC.
fn time(at: Millis) -> String {
    let text = at.rfc3339();
    format!("{} {} UTC", text.get(..10).unwrap_or(&text), text.get(11..16).unwrap_or_default())
}

fn pair(name: &str, value: &str) -> String {
    if value.trim().is_empty() { String::new() } else { format!("<dt>{name}</dt>\n<dd>{}</dd>\n", escape_html(value)) }
}

fn facts(receipt: &Receipt, l: &str) -> String {
    let row = &receipt.row;
    let decided = match row.action.as_str() {
        "give" => say(l, "You agreed.", "Sie haben zugestimmt."),
        "refuse" => say(l, "You refused.", "Sie haben abgelehnt."),
        _ => say(l, "You took your choice back.", "Sie haben Ihre Entscheidung zurückgenommen."),
    };
    let method = match row.method.as_str() {
        "banner_accept" | "banner_refuse" | "banner_custom" => say(l, "on the banner", "im Banner"),
        "settings" => say(l, "in the privacy settings", "in den Datenschutz-Einstellungen"),
        "kiosk_touch" => say(l, "at a kiosk", "an einem Terminal"),
        "staff_standalone" | "staff_entry" => say(l, "through our staff", "durch unser Personal"),
        "staff_contract" => say(
            l,
            "through our staff, within a written contract",
            "durch unser Personal, in einem schriftlichen Vertrag",
        ),
        _ => say(l, "through a program", "durch ein Programm"),
    };
    let c = &receipt.controller;
    let who = [&c.name, &c.address, &c.email, &c.phone].into_iter().map(|text| text.trim());
    let mut who: Vec<&str> = who.filter(|text| !text.is_empty()).collect();
    if who.is_empty() {
        who.push(match receipt.told {
            Told::Own => say(l, "not told in the notice", "im Hinweis nicht genannt"),
            Told::Elsewhere => say(l, "named in the notice", "im Hinweis genannt"),
            Told::Nowhere => {
                say(l, "not recorded: there was no notice yet", "nicht festgehalten: es gab noch keinen Hinweis")
            }
        });
    }
    let until = row.expires.map(time).unwrap_or_default();
    let mut out = format!("<p><strong>{decided}</strong></p>\n<dl>\n");
    out.push_str(&pair(say(l, "When", "Wann"), &time(row.corrected)));
    out.push_str(&pair(say(l, "How", "Wie"), method));
    out.push_str(&pair(say(l, "Where", "Wo"), &receipt.site));
    out.push_str(&pair(say(l, "Holds until", "Gilt bis"), &until));
    out.push_str(&pair(say(l, "Given to", "Gegenüber"), &who.join(", ")));
    out.push_str(&pair(say(l, "Notice", "Hinweis"), &row.notice));
    out.push_str("</dl>\n");
    out
}

fn purposes(receipt: &Receipt, l: &str) -> String {
    let mut out = format!(
        "<h2>{}</h2>\n<table>\n<tr><th>{}</th><th>{}</th></tr>\n",
        say(l, "What for", "Wofür"),
        say(l, "Purpose", "Zweck"),
        say(l, "Your choice", "Ihre Entscheidung")
    );
    // the notice's own words, marked where they are in another language than the page
    let shown = receipt.notice.as_ref().map(|notice| notice.language.as_str()).filter(|tag| *tag != ELSEWHERE);
    let other = shown
        .filter(|tag| !same_language(tag, l))
        .map(|tag| format!(" lang=\"{}\"", escape_html(tag)))
        .unwrap_or_default();
    for p in &receipt.purposes {
        let choice = match (p.basis == LawfulBasis::Consent, p.granted) {
            (true, true) => say(l, "yes", "ja").to_owned(),
            (true, false) => say(l, "no", "nein").to_owned(),
            (false, _) => format!("{} {}", say(l, "on the basis of", "auf der Grundlage von"), basis_text(l, p.basis)),
        };
        out.push_str(&format!("<tr><td{other}>{}</td><td>{}</td></tr>\n", escape_html(&p.title), escape_html(&choice)));
    }
    out.push_str("</table>\n");
    if !receipt.recipients.is_empty() {
        let names: Vec<&str> = receipt.recipients.iter().map(|r| r.name.as_str()).collect();
        out.push_str(&format!("<dl>\n{}</dl>\n", pair(say(l, "Recipients", "Empfänger"), &names.join(", "))));
    }
    out
}

fn control(receipt: &Receipt, l: &str) -> String {
    let url = receipt.controller.privacy_url.trim();
    let text = say(
        l,
        "You can take your choice back at any time, see what is recorded about you, have it corrected or erased, and complain to \
         a supervisory authority.",
        "Sie können Ihre Entscheidung jederzeit zurücknehmen, sehen, was über Sie aufgezeichnet ist, es berichtigen oder löschen \
         lassen und sich bei einer Aufsichtsbehörde beschweren.",
    );
    let place = if url.is_empty() { String::new() } else { format!(" {}", escape_html(url)) };
    let authority = pair(say(l, "Authority", "Behörde"), &receipt.controller.authority);
    format!("<h2>{}</h2>\n<p>{text}{place}</p>\n<dl>\n{authority}</dl>\n", say(l, "Your rights", "Ihre Rechte"))
}

fn code_part(receipt: &Receipt, l: &str, code: &str) -> String {
    let text = say(
        l,
        "With this code alone you can take this visit's choice back, see what was recorded, or have it erased: at any kiosk of \
         ours, on the privacy page, or through our staff. It holds no data about you. Whoever has it can do the same.",
        "Allein mit diesem Code können Sie die Entscheidung dieses Besuchs zurücknehmen, sehen, was aufgezeichnet wurde, oder es \
         löschen lassen: an jedem unserer Terminals, auf der Datenschutz-Seite oder durch unser Personal. Er enthält keine Angaben \
         über Sie. Wer ihn hat, kann dasselbe tun.",
    );
    let svg = qr(&target(&receipt.controller.privacy_url, code)).unwrap_or_default();
    format!("<h2>{}</h2>\n<p>{text}</p>\n{svg}<p class=\"code\">{code}</p>\n", say(l, "Your code", "Ihr Code"))
}

/// What the QR code holds: the privacy page with the code behind `#`, which no browser sends to a server; else the code.
fn target(privacy_url: &str, code: &str) -> String {
    match privacy_url.trim() {
        "" => code.to_owned(),
        url => format!("{url}#code={code}"),
    }
}

/// A QR code as SVG; `None` where the text is too long for one.
fn qr(text: &str) -> Option<String> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
    let size = code.size();
    let dark = (0..size).flat_map(|y| (0..size).map(move |x| (x, y))).filter(|(x, y)| code.get_module(*x, *y));
    let path: String = dark.map(|(x, y)| format!("M{} {}h1v1h-1z", x + QUIET, y + QUIET)).collect();
    let whole = size + 2 * QUIET;
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {whole} {whole}\" role=\"img\" aria-label=\"QR\"><rect \
         width=\"{whole}\" height=\"{whole}\" fill=\"#fff\"/><path d=\"{path}\"/></svg>\n"
    ))
}
