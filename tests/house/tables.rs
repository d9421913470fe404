//! Tables: each table of `schema.sql` and `keys.sql` names its owner file, its retention and whether it holds personal data, and its
//! rows are written in that file only. Must never judge the SQL itself (SQLite and the store's tests do).
//! Invariant: only text in capitals is taken for SQL, so text that is SQL in small letters is an offence of its own.

use crate::source::{Source, Word};
use crate::{Offence, covers, paper, program, report, root};

const SCHEMA: &str = "schema.sql";
/// The schema of the keys, which lie in a file of their own.
const KEYS: &str = "keys.sql";
const STORE: &str = "src/store/";

/// A table or view, and the file that owns it.
pub struct Table {
    name: String,
    owner: String,
    line: usize,
}

/// What `schema.sql` says of its tables, and what it fails to say. A view needs an owner only.
pub fn read_schema(text: &str) -> (Vec<Table>, Vec<Offence>) {
    let (mut tables, mut found, mut block) = (Vec::new(), Vec::new(), Vec::new());
    for (at, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if let Some(comment) = trimmed.strip_prefix("--") {
            block.push(comment.trim());
            continue;
        }
        if let Some((kind, name)) = created(trimmed) {
            let keys: &[&str] = if kind == "VIEW" { &["owner"] } else { &["owner", "retention", "personal"] };
            for key in keys.iter().filter(|key| value(&block, key).is_none()) {
                let what = format!("{name} does not say `{key}:` - say it in the comment right above CREATE {kind}");
                found.push(Offence::new(SCHEMA, at + 1, what));
            }
            if let Some(owner) = value(&block, "owner") {
                if !(owner.starts_with(STORE) && owner.ends_with(".rs")) {
                    let what = format!("{name} is owned by {owner} - name one file, {STORE}<file>.rs");
                    found.push(Offence::new(SCHEMA, at + 1, what));
                }
                tables.push(Table { name, owner, line: at + 1 });
            }
        }
        block.clear();
    }
    (tables, found)
}

/// `CREATE TABLE IF NOT EXISTS visits (` -> (`TABLE`, `visits`).
fn created(line: &str) -> Option<(&'static str, String)> {
    let words = words_of(line);
    let mut words = words.iter().map(String::as_str).filter(|word| !matches!(*word, "IF" | "NOT" | "EXISTS"));
    if !words.next()?.eq_ignore_ascii_case("CREATE") {
        return None;
    }
    let mut words = words.skip_while(|word| matches!(*word, "VIRTUAL" | "TEMP" | "TEMPORARY"));
    let kind = match words.next()?.to_uppercase().as_str() {
        "TABLE" => "TABLE",
        "VIEW" => "VIEW",
        _ => return None,
    };
    Some((kind, words.next()?.to_string()))
}

/// The word after `key:` in a comment block.
fn value(block: &[&str], key: &str) -> Option<String> {
    let after = block.iter().find_map(|line| {
        let at = line.find(&format!("{key}:"))?;
        let whole = !line[..at].chars().next_back().is_some_and(char::is_alphanumeric);
        whole.then(|| &line[at + key.len() + 1..])
    })?;
    let word = after.split_whitespace().next()?.trim_end_matches([',', ';', '|']);
    (!word.is_empty() && !word.ends_with(':')).then(|| word.to_string())
}

/// The words of a piece of SQL, without its marks and quotes; `main.visits` is `visits`, `{table}` stays as it is.
fn words_of(sql: &str) -> Vec<String> {
    let bare = |word: &str| {
        let word = word.trim_matches(['"', '`', '[', ']', '\'']);
        word.rsplit('.').next().unwrap_or(word).trim_matches(['"', '`', '[', ']']).to_string()
    };
    sql.split(|c: char| c.is_whitespace() || "(),;=".contains(c)).map(bare).filter(|word| !word.is_empty()).collect()
}

/// What a piece of SQL does to which table.
#[derive(Debug, PartialEq)]
enum Touch {
    Writes(String),
    Reads(String),
}

/// The tables a text touches; `{}` stands for a name that is put in while running.
fn touches(sql: &str) -> Vec<Touch> {
    let words = words_of(sql);
    let after = |at: usize| words.get(at).cloned().unwrap_or_else(|| "{}".to_string());
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let before = at.checked_sub(1).map(|it| words[it].as_str()).unwrap_or("");
        match word.as_str() {
            "INTO" => found.push(Touch::Writes(after(at + 1))),
            "FROM" if before == "DELETE" => found.push(Touch::Writes(after(at + 1))),
            "UPDATE" if matches!(words.get(at + 1).map(String::as_str), Some("OR")) => {
                found.push(Touch::Writes(after(at + 3)));
            }
            // DO UPDATE SET in an upsert, UPDATE OF and AFTER UPDATE ON in a trigger name no table here.
            "UPDATE" if !matches!(after(at + 1).as_str(), "SET" | "OF" | "ON") => {
                found.push(Touch::Writes(after(at + 1)));
            }
            "FROM" | "JOIN" => found.push(Touch::Reads(after(at + 1))),
            _ => {}
        }
    }
    found
}

/// Whether a text is a statement written in small letters, which `touches` would not see.
fn small_letters(text: &str) -> bool {
    let lower = text.trim_start().to_lowercase();
    let (begins, goes_on) = match lower.split_whitespace().next() {
        Some("insert" | "replace") => (" into ", [" values", " select "]),
        Some("delete") => (" from ", [" where ", ";"]),
        Some("update") => (" set ", [" = ", "=?"]),
        _ => return false,
    };
    let flat = lower.split_whitespace().collect::<Vec<_>>().join(" ");
    let shouted = text.split_whitespace().next().is_some_and(|word| word.chars().all(|c| c.is_ascii_uppercase()));
    !shouted && flat.contains(begins) && goes_on.iter().any(|it| flat.contains(it))
}

/// SQL that stands outside the file which owns its table.
pub fn check(source: &Source, tables: &[Table]) -> Vec<Offence> {
    let texts = source.texts.iter().filter(|it| !it.test);
    texts.flat_map(|text| check_literal(source, text, tables)).collect()
}

fn check_literal(source: &Source, text: &Word, tables: &[Table]) -> Vec<Offence> {
    let in_store = source.path.starts_with(STORE);
    let mut found = Vec::new();
    let mut add = |what: String| found.push(Offence::new(&source.path, text.line, what));
    if small_letters(&text.text) {
        add("SQL in small letters - write its keywords in capitals, so that the owner rule sees it".to_string());
    }
    for touch in touches(&text.text) {
        let (verb, name) = match &touch {
            Touch::Writes(name) => ("writes", name),
            Touch::Reads(name) => ("reads", name),
        };
        let table = tables.iter().find(|it| it.name.eq_ignore_ascii_case(name));
        match (&touch, table) {
            (Touch::Writes(_), Some(table)) if !covers(&table.owner, &source.path) => {
                add(format!("{verb} {name} - only {} does; give it a function there", table.owner));
            }
            (Touch::Reads(_), Some(table)) if !in_store => {
                add(format!("{verb} {name} - queries stand in {STORE}; give {} a function", table.owner));
            }
            (Touch::Writes(_), None) if name.contains('{') => {
                add("writes to a table named while running - write the name out in the file that owns it".to_string());
            }
            _ => {}
        }
    }
    found
}

/// Both schemas, one behind the other.
fn schemas() -> Result<String, Vec<Offence>> {
    Ok(format!("{}\n{}", paper(SCHEMA)?, paper(KEYS)?))
}

#[test]
fn each_table_names_its_owner_retention_and_personal_data() {
    let (tables, mut found) = match schemas() {
        Ok(text) => read_schema(&text),
        Err(missing) => (Vec::new(), missing),
    };
    if found.is_empty() && tables.is_empty() {
        found.push(Offence::new(SCHEMA, 0, "creates no table - it must hold the newest schema, whole"));
    }
    for table in tables.iter().filter(|it| !root().join(&it.owner).is_file()) {
        let what = format!(
            "{} is owned by {}, which is missing - add the file or name the right one",
            table.name, table.owner
        );
        found.push(Offence::new(SCHEMA, table.line, what));
    }
    report(found);
}

#[test]
fn each_table_is_written_by_its_owner_only() {
    match schemas() {
        Ok(text) => {
            let (tables, _) = read_schema(&text);
            report(program().flat_map(|source| check(source, &tables)).collect());
        }
        Err(missing) => report(missing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines_found;

    const GOOD: &str = "-- One row per visit.\n-- owner: src/store/visits.rs  retention: 90 days  personal: yes\n\
                        CREATE TABLE visits (\n  id INTEGER -- retention: no\n) STRICT;\n\
                        -- owner: src/store/pages.rs\n-- retention: none\n-- personal: no\nCREATE TABLE pages(id INTEGER);\n\
                        -- owner: src/store/visits.rs\nCREATE VIEW open_visits AS SELECT 1;\n";

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let (tables, found) = read_schema(GOOD);
        assert!(found.is_empty(), "{found:?}");
        lines_found(path, text, |source| check(source, &tables))
    }

    #[test]
    fn a_table_that_hides_what_it_holds_is_found() {
        let count = |text: &str| read_schema(text).1.len();
        assert_eq!(read_schema(GOOD).0.len(), 3);
        assert_eq!(count("CREATE TABLE a (id);"), 3);
        assert_eq!(count("-- owner: src/store/a.rs retention: personal: no\nCREATE TABLE a (id);"), 1);
        assert_eq!(count("-- owner: src/store/a.rs retention: 1 personal: no\n\nCREATE TABLE a (id);"), 3);
        assert_eq!(count("-- owner: src/http/a.rs retention: 1 personal: no\nCREATE TABLE IF NOT EXISTS a (id);"), 1);
        assert_eq!(count("CREATE VIEW a AS SELECT 1;"), 1);
        assert_eq!(count("CREATE INDEX a ON b (c);"), 0);
    }

    #[test]
    fn writing_beside_the_owner_is_found_in_every_form() {
        let text = "const A: &str = \"INSERT INTO visits VALUES (1)\";\nconst B: &str = r#\"REPLACE INTO \"visits\"(a)\"#;\n\
                    const C: &str = \"INSERT OR IGNORE INTO main.visits (a)\";\nconst D: &str = \"UPDATE visits SET a=1\";\n\
                    const E: &str = \"UPDATE OR FAIL visits SET a=1\";\nconst F: &str = \"DELETE\n FROM visits\";\n\
                    fn f() { db(format!(\"DELETE FROM visits WHERE {x}\")); }\nconst G: &str = \"SELECT a FROM visits\";\n";
        assert_eq!(lines("src/store/pages.rs", text), [1, 2, 3, 4, 5, 6, 8]);
        assert_eq!(lines("src/store/visits.rs", text), []);
    }

    #[test]
    fn reading_outside_the_store_is_found() {
        let text = "const A: &str = \"SELECT a FROM visits\";\nconst B: &str = \"SELECT 1 FROM x JOIN pages USING (a)\";\n\
                    const C: &str = \"FROM here on\";\n";
        assert_eq!(lines("src/history/mod.rs", text), [1, 2]);
        assert_eq!(lines("src/store/mod.rs", text), []);
    }

    #[test]
    fn tables_named_while_running_are_found() {
        let text = "fn f() { format!(\"DELETE FROM {table}\");\nconcat!(\"INSERT INTO \", \"visits\"); }\n";
        assert_eq!(lines("src/store/visits.rs", text), [1, 2]);
        let upsert = "const A: &str = \"INSERT INTO visits VALUES (1) ON CONFLICT DO UPDATE SET a = 1\";";
        assert_eq!(lines("src/store/visits.rs", upsert), []);
    }

    #[test]
    fn small_letters_do_not_hide_sql() {
        let text = "const A: &str = \"insert into visits values (1)\";\nconst B: &str = \"Delete from visits where a = 1\";\n\
                    const C: &str = \"update visits set a = 1\";\nconst D: &str = \"insert into the store\";\n";
        assert_eq!(lines("src/store/visits.rs", text), [1, 2, 3]);
    }

    #[test]
    fn tests_may_tamper_with_a_table() {
        assert_eq!(lines("src/store/pages.rs", "#[test]\nfn f() { db(\"DELETE FROM visits\"); }"), []);
    }
}
