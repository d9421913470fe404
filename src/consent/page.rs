//! Notices and receipts as pages that can be read on a screen and printed. Must never hold a script, nor fetch anything.
//! Invariant: what stands in a page is text; nothing of it can become markup.

use crate::base::text::{escape_html, hex};
use crate::domain::notice::{Notice, Role};
use crate::store::notices::{Body, NoticeRow};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:2rem auto;padding:0 1rem;color:#111;\
background:#fff}h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:1.6rem}dt{font-weight:600;margin-top:.6rem}dd{margin:0}\
table{border-collapse:collapse;width:100%}td,th{border:1px solid #767676;padding:.3rem .5rem;text-align:left;vertical-align:top}\
.fine{font-size:.8rem;overflow-wrap:anywhere}.code{font:600 1.4rem ui-monospace,monospace;letter-spacing:.1em}\
svg{width:12rem;height:12rem}@media print{body{margin:0;max-width:none}}";

/// A whole page.
pub fn whole(language: &str, title: &str, body: &str) -> String {
    let (language, title) = (escape_html(language), escape_html(title));
    format!(
        "<!doctype html>\n<html lang=\"{language}\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n<main>\n<h1>{title}</h1>\n{body}</main>\n\
         </html>\n"
    )
}

/// The headings of a page in the reader's language: German, else English.
pub(in crate::consent) fn say(language: &str, english: &'static str, german: &'static str) -> &'static str {
    if language.split('-').next().is_some_and(|primary| primary.eq_ignore_ascii_case("de")) { german } else { english }
}

fn paragraph(text: &str) -> String {
    let parts = text.split("\n\n").filter(|part| !part.trim().is_empty());
    parts.map(|part| format!("<p>{}</p>\n", escape_html(part.trim()))).collect()
}

fn section(title: &str, text: &str) -> String {
    if text.trim().is_empty() { String::new() } else { format!("<h2>{}</h2>\n{}", escape_html(title), paragraph(text)) }
}

/// A stored notice.
pub fn notice(row: &NoticeRow) -> String {
    match &row.body {
        Body::Own(notice) => own(notice),
        Body::External(external) => {
            let url = escape_html(&external.url);
            let link = if external.url.starts_with("https://") || external.url.starts_with("http://") {
                format!("<p><a href=\"{url}\">{url}</a></p>\n")
            } else {
                paragraph(&external.url)
            };
            let digest = format!("<p class=\"fine\">SHA-256 {}</p>\n", hex(&row.digest));
            whole("en", &format!("{} {}", external.name, external.version), &format!("{link}{digest}"))
        }
    }
}

/// A notice of ours.
pub fn own(notice: &Notice) -> String {
    let l = notice.language.as_str();
    let mut body = paragraph(&notice.text);
    body.push_str(&format!("<h2>{}</h2>\n<dl>\n", say(l, "What we ask for", "Worum wir bitten")));
    for p in &notice.purposes {
        let basis = if p.basis == crate::domain::consent::LawfulBasis::Consent {
            String::new()
        } else {
            let because = say(l, "Without consent, on the basis of", "Ohne Einwilligung, auf der Grundlage von");
            format!(" <em>({because} {})</em>", escape_html(&basis_text(l, p.basis)))
        };
        body.push_str(&format!("<dt>{}</dt>\n<dd>{}{basis}</dd>\n", escape_html(&p.title), escape_html(&p.text)));
    }
    body.push_str("</dl>\n");
    body.push_str(&section(say(l, "Taking it back", "Zurücknehmen"), &notice.withdrawal));
    body.push_str(&section(say(l, "How long it is kept", "Wie lange es bleibt"), &notice.retention));
    body.push_str(&section(say(l, "Your rights", "Ihre Rechte"), &notice.rights));
    body.push_str(&section(say(l, "Complaints", "Beschwerden"), &notice.complaint));
    if !notice.recipients.is_empty() {
        body.push_str(&format!("<h2>{}</h2>\n<ul>\n", say(l, "Recipients", "Empfänger")));
        for r in &notice.recipients {
            let role = match r.role {
                Role::Processor => say(l, "on our behalf", "in unserem Auftrag"),
                Role::ThirdParty => say(l, "for purposes of its own", "für eigene Zwecke"),
            };
            let country = if r.country.is_empty() { String::new() } else { format!(", {}", r.country) };
            body.push_str(&format!("<li>{} ({role}{})</li>\n", escape_html(&r.name), escape_html(&country)));
        }
        body.push_str("</ul>\n");
    }
    body.push_str(&format!("<h2>{}</h2>\n<p>", say(l, "Who answers for this", "Wer dafür verantwortlich ist")));
    let c = &notice.controller;
    let lines = [&c.name, &c.address, &c.email, &c.phone, &c.url, &c.dpo, &c.authority];
    let lines: Vec<String> =
        lines.iter().filter(|text| !text.trim().is_empty()).map(|text| escape_html(text)).collect();
    body.push_str(&format!("{}</p>\n", lines.join("<br>\n")));
    body.push_str(&format!(
        "<p class=\"fine\">{} {} &middot; SHA-256 {}</p>\n",
        say(l, "Version", "Fassung"),
        escape_html(&notice.version),
        hex(&notice.digest())
    ));
    whole(l, &notice.title, &body)
}

/// A lawful basis in words.
pub(in crate::consent) fn basis_text(language: &str, basis: crate::domain::consent::LawfulBasis) -> String {
    use crate::domain::consent::LawfulBasis::{Consent, Contract, LegalObligation, LegitimateInterest};
    match basis {
        Consent => say(language, "consent", "Einwilligung"),
        LegitimateInterest => say(language, "a legitimate interest", "berechtigtem Interesse"),
        Contract => say(language, "a contract", "eines Vertrags"),
        LegalObligation => say(language, "a legal obligation", "einer rechtlichen Verpflichtung"),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_page_can_become_markup() {
        let evil = "<script>alert('\"&')</script>";
        let escaped = escape_html(evil);
        assert!(!escaped.contains(['<', '>', '"', '\'']), "{escaped}");
        let mut external = crate::domain::notice::External {
            name: evil.to_owned(),
            version: evil.to_owned(),
            url: "javascript:alert(1)".to_owned(),
            purposes: Vec::new(),
            changed: Vec::new(),
        };
        let row = |external: &crate::domain::notice::External| NoticeRow {
            id: 1,
            site_id: 1,
            version: "1".to_owned(),
            language: "und".to_owned(),
            digest: [0; 32],
            valid_from: crate::base::time::Millis(0),
            published: crate::base::time::Millis(0),
            body: Body::External(external.clone()),
        };
        let page = notice(&row(&external));
        assert!(!page.contains("<script") && !page.contains("href"), "{page}");
        external.url = "https://tool.example/\"onclick".to_owned();
        assert!(notice(&row(&external)).contains("href=\"https://tool.example/&quot;onclick\""));
    }
}
