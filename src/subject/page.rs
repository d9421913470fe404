//! The answer as a page for reading: the same facts as the JSON, as headings and tables, in one file without scripts.
//! Must never decide what is told. Invariant: every text is escaped, and nothing is loaded from anywhere.

use serde_json::Value;

use crate::base::text::escape_html;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}\
    h1{font-size:1.6rem}h2{font-size:1.25rem;margin-top:2rem;border-bottom:1px solid #ccc}h3{font-size:1.05rem}\
    table{border-collapse:collapse;margin:.5rem 0}td,th{border:1px solid #ddd;padding:.25rem .5rem;text-align:left;\
    vertical-align:top;overflow-wrap:anywhere}dt{font-weight:600}dd{margin:0 0 .4rem 1rem}details{margin:.5rem 0}";

/// Headings of the parts, in their order.
const PARTS: [(&str, &str); 4] = [
    ("request", "This request"),
    ("about", "What is done with your data, and your rights"),
    ("people", "Your data"),
    ("left_out", "What was left out"),
];

/// The page of an answer.
pub fn page(answer: &Value) -> String {
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"robots\" content=\"noindex\">\
         <title>Your data</title><style>{STYLE}</style></head><body><h1>Your data</h1>"
    );
    for (key, heading) in PARTS {
        if !answer[key].is_null() {
            out.push_str(&format!("<h2>{heading}</h2>"));
            show(&mut out, &answer[key], 3);
        }
    }
    out.push_str("</body></html>\n");
    out
}

fn label(key: &str) -> String {
    escape_html(&key.replace('_', " "))
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::Bool(yes) => Some(if *yes { "yes" } else { "no" }.to_owned()),
        Value::Number(n) => Some(n.to_string()),
        Value::String(text) => Some(escape_html(text)),
        Value::Array(list) if list.iter().all(|one| one.is_string() || one.is_number()) => {
            Some(list.iter().filter_map(scalar).collect::<Vec<_>>().join(", "))
        }
        _ => None,
    }
}

fn show(out: &mut String, value: &Value, level: u8) {
    match value {
        Value::Object(map) => {
            out.push_str("<dl>");
            for (key, inner) in map {
                if let Some(text) = scalar(inner) {
                    out.push_str(&format!("<dt>{}</dt><dd>{text}</dd>", label(key)));
                }
            }
            out.push_str("</dl>");
            for (key, inner) in map.iter().filter(|(_, inner)| scalar(inner).is_none()) {
                let depth = level.min(6);
                out.push_str(&format!("<h{depth}>{}</h{depth}>", label(key)));
                show(out, inner, level + 1);
            }
        }
        Value::Array(list) => {
            let flat =
                list.iter().all(|one| one.as_object().is_some_and(|map| map.values().all(|v| scalar(v).is_some())));
            if flat { table(out, list) } else { blocks(out, list, level) }
        }
        other => out.push_str(&scalar(other).unwrap_or_default()),
    }
}

fn blocks(out: &mut String, list: &[Value], level: u8) {
    for (n, one) in list.iter().enumerate() {
        let named = ["started_at", "happened_at", "site", "name"].iter().find_map(|key| one[*key].as_str());
        out.push_str(&format!("<details open><summary>{}. {}</summary>", n + 1, escape_html(named.unwrap_or(""))));
        show(out, one, level);
        out.push_str("</details>");
    }
}

fn table(out: &mut String, list: &[Value]) {
    let mut heads: Vec<&String> = Vec::new();
    for map in list.iter().filter_map(Value::as_object) {
        heads.extend(map.keys().filter(|key| !heads.contains(key)).collect::<Vec<_>>());
    }
    out.push_str("<table><thead><tr>");
    heads.iter().for_each(|head| out.push_str(&format!("<th>{}</th>", label(head))));
    out.push_str("</tr></thead><tbody>");
    for one in list {
        out.push_str("<tr>");
        for head in &heads {
            out.push_str(&format!("<td>{}</td>", scalar(&one[head.as_str()]).unwrap_or_default()));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_page_shows_every_value_escaped_and_loads_nothing() {
        let answer = json!({
            "request": {"id": "r-1"},
            "people": [{"visitor": "<script>alert(1)</script>", "visits": [
                {"started_at": "2027", "events": [{"name": "a&b", "attributes": {"k": "\"v'"}}]},
            ]}],
        });
        let page = page(&answer);
        for text in ["r-1", "&lt;script&gt;alert(1)&lt;/script&gt;", "a&amp;b", "&quot;v&#39;"] {
            assert!(page.contains(text), "{text} is missing: {page}");
        }
        for text in ["<script", "src=", "href=", "url("] {
            assert!(!page.contains(text), "{text}");
        }
    }
}
