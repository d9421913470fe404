//! `wayside schema`: the columns of every kind of line, in the words of a database.
//! Must never name a column itself (`domain/columns.rs` does). Invariant: what it prints runs as it is.

use crate::base::error::Result;
use crate::cli::Context;
use crate::domain::columns::{self, KINDS, Type};

const AFTER: &str = "Example:
  wayside schema --for duckdb | duckdb visits.db
  wayside schema --for postgres --fill

Lines go into the table lines first, one in a row; --fill moves them into a table for each kind.";

/// Flags of `schema`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// The database.
    #[arg(long = "for", value_name = "DATABASE", value_parser = ["duckdb", "postgres", "clickhouse", "sqlite", "pandas"])]
    database: String,
    /// Print how lines get from the table lines into the others, instead of the tables.
    #[arg(long)]
    fill: bool,
}

/// Prints tables, or how they are filled.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let lines = match (args.database.as_str(), args.fill) {
        ("pandas", _) => pandas(),
        (database, false) => tables(database),
        (database, true) => fill(database),
    };
    context.output.lines(lines.iter().flat_map(|text| text.lines()).map(str::to_owned))?;
    Ok(0)
}

fn word(database: &str, ty: Type) -> &'static str {
    match (database, ty) {
        ("duckdb", Type::Text) => "VARCHAR",
        ("duckdb", Type::Time) => "TIMESTAMP",
        ("duckdb", Type::Json) => "JSON",
        ("postgres", Type::Time) => "timestamptz",
        ("postgres", Type::Json) => "jsonb",
        ("clickhouse", Type::Text | Type::Json) => "Nullable(String)",
        ("clickhouse", Type::Integer) => "Nullable(Int64)",
        ("clickhouse", Type::Boolean) => "Nullable(Bool)",
        ("clickhouse", Type::Time) => "Nullable(DateTime64(3, 'UTC'))",
        ("sqlite", Type::Integer | Type::Boolean) => "INTEGER",
        ("sqlite", _) | (_, Type::Text) => "TEXT",
        (_, Type::Integer) => "BIGINT",
        (_, Type::Boolean) => "BOOLEAN",
        (_, Type::Time) => "TIMESTAMP",
        (_, Type::Json) => "JSON",
    }
}

fn tables(database: &str) -> Vec<String> {
    let staged = match database {
        "duckdb" => Some("JSON"),
        "postgres" => Some("jsonb"),
        "sqlite" => Some("TEXT"),
        _ => None, // ClickHouse reads lines into the tables themselves: FORMAT JSONEachRow
    };
    let mut out: Vec<String> =
        staged.map(|ty| format!("CREATE TABLE IF NOT EXISTS lines (line {ty});")).into_iter().collect();
    for (kind, _) in KINDS {
        let columns: Vec<String> = columns::of(kind)
            .into_iter()
            .map(|(name, ty)| match (database, name) {
                // what rows are ordered by is never absent
                ("clickhouse", "edge" | "epoch") => format!("  \"{name}\" String"),
                ("clickhouse", "seq") => format!("  \"{name}\" Int64"),
                _ => format!("  \"{name}\" {}", word(database, ty)),
            })
            .collect();
        let end = if database == "clickhouse" { " ENGINE = MergeTree ORDER BY (edge, epoch, seq)" } else { "" };
        out.push(format!("CREATE TABLE IF NOT EXISTS {kind}_line (\n{}\n){end};", columns.join(",\n")));
    }
    out
}

fn fill(database: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (kind, _) in KINDS {
        let columns: Vec<String> = columns::of(kind).into_iter().map(|(name, ty)| taken(database, name, ty)).collect();
        out.push(match database {
            "clickhouse" => format!("-- {kind}: into {kind}_line with FORMAT JSONEachRow, with lines of this kind and SET input_format_skip_unknown_fields = 1, input_format_json_read_objects_as_strings = 1, input_format_json_read_arrays_as_strings = 1, date_time_input_format = 'best_effort'"),
            "postgres" => format!("{}\n{}\nFROM lines WHERE (line->>'kind') = '{kind}';", begins(kind), columns.join(",\n")),
            _ => format!("{}\n{}\nFROM lines WHERE (line->>'$.kind') = '{kind}';", begins(kind), columns.join(",\n")),
        });
    }
    if database != "clickhouse" {
        out.push("DELETE FROM lines;".to_owned());
    }
    out
}

/// How a kind's table is filled: these are tables of another database, and named in full, so that the owner rule sees none of ours.
fn begins(kind: &str) -> &'static str {
    match kind {
        "event" => "INSERT INTO event_line SELECT",
        "visit" => "INSERT INTO visit_line SELECT",
        "count" => "INSERT INTO count_line SELECT",
        "decision" => "INSERT INTO decision_line SELECT",
        "withdrawal" => "INSERT INTO withdrawal_line SELECT",
        "rectification" => "INSERT INTO rectification_line SELECT",
        "erasure" => "INSERT INTO erasure_line SELECT",
        "loss" => "INSERT INTO loss_line SELECT",
        "clock" => "INSERT INTO clock_line SELECT",
        "checkpoint" => "INSERT INTO checkpoint_line SELECT",
        _ => "INSERT INTO hole_line SELECT",
    }
}

/// One column out of the line.
fn taken(database: &str, name: &str, ty: Type) -> String {
    match (database, ty) {
        ("postgres", Type::Json) => format!("  line->'{name}'"),
        ("postgres", Type::Text) => format!("  line->>'{name}'"),
        ("postgres", _) => format!("  (line->>'{name}')::{}", word(database, ty)),
        ("duckdb", Type::Json) => format!("  line->'$.{name}'"),
        ("duckdb", Type::Integer | Type::Boolean | Type::Time) => {
            format!("  CAST(line->>'$.{name}' AS {})", word(database, ty))
        }
        _ => format!("  line->>'$.{name}'"),
    }
}

fn pandas() -> Vec<String> {
    let word = |ty| match ty {
        Type::Text => "string",
        Type::Integer => "Int64",
        Type::Boolean => "boolean",
        Type::Time => "datetime64[ms, UTC]",
        Type::Json => "object",
    };
    let mut out = vec!["COLUMNS = {".to_owned()];
    for (kind, _) in KINDS {
        out.push(format!("    \"{kind}\": {{"));
        out.extend(columns::of(kind).into_iter().map(|(name, ty)| format!("        \"{name}\": \"{}\",", word(ty))));
        out.push("    },".to_owned());
    }
    out.push("}".to_owned());
    out
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// What the published schema says of a property.
    fn published(property: &Value) -> Type {
        let of = |word: &str| match word {
            "integer" => Type::Integer,
            "boolean" => Type::Boolean,
            "object" | "array" => Type::Json,
            "string" => Type::Text,
            other => panic!("{other}"),
        };
        match &property["type"] {
            _ if property["$ref"] == "#/$defs/time" => Type::Time,
            Value::String(word) => of(word),
            Value::Array(words) => {
                of(words.iter().find_map(|word| word.as_str().filter(|word| *word != "null")).unwrap())
            }
            _ => Type::Text, // an enumeration of words
        }
    }

    #[test]
    fn columns_are_those_of_the_published_schema() {
        let schema: Value =
            serde_json::from_str(include_str!("../../packaging/schema/batch-line.schema.json")).unwrap();
        let listed = |name: &str| -> Vec<(String, Type)> {
            let properties = schema["$defs"][name]["properties"].as_object().unwrap();
            let mut all: Vec<_> =
                properties.iter().map(|(name, property)| (name.clone(), published(property))).collect();
            all.retain(|(name, _)| name != "kind");
            all.sort_by(|a, b| a.0.cmp(&b.0));
            all
        };
        let ours = |columns: &[columns::Column]| -> Vec<(String, Type)> {
            let mut all: Vec<_> = columns.iter().map(|(name, ty)| ((*name).to_owned(), *ty)).collect();
            all.sort_by(|a, b| a.0.cmp(&b.0));
            all
        };
        assert_eq!(ours(columns::HEAD), listed("head"));
        for (kind, columns) in KINDS {
            assert_eq!(ours(columns), listed(kind), "{kind}");
        }
        let kinds = schema["oneOf"].as_array().unwrap().len();
        assert_eq!(kinds, KINDS.len(), "every kind has its table");
        for (kind, _) in KINDS {
            assert_eq!(begins(kind).split(' ').nth(2), Some(&*format!("{kind}_line")));
        }
    }

    #[test]
    fn no_column_stands_twice_in_a_table() {
        for (kind, _) in KINDS {
            let mut names: Vec<&str> = columns::of(kind).into_iter().map(|(name, _)| name).collect();
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all, "{kind}");
        }
    }
}
