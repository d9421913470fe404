//! Lines as tables: every kind's columns with their types, for those who load batches into a database.
//! Must never say other than `packaging/schema/batch-line.schema.json` (a test compares). Invariant: columns are named one by one,
//! never inferred: attributes drift between edges, and an inferred type of today refuses the rows of tomorrow.

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Text.
    Text,
    /// A whole number below 2^53.
    Integer,
    /// True or false.
    Boolean,
    /// An instant, RFC 3339 UTC.
    Time,
    /// An object or array, kept as JSON.
    Json,
}

use Type::{Boolean, Integer, Json, Text, Time};

/// A column: its name in the line, and what it holds.
pub type Column = (&'static str, Type);

/// Columns of every kind but `hole`; `kind` is the first of every kind.
pub const HEAD: &[Column] = &[
    ("edge", Text),
    ("edge_label", Text),
    ("site", Text),
    ("epoch", Text),
    ("seq", Integer),
    ("received_at", Time),
    ("corrected_at", Time),
    ("flags", Integer),
    ("consent_seq", Integer),
    ("salt", Text),
    ("was", Json),
];

/// The kinds, each with its own columns.
pub const KINDS: &[(&str, &[Column])] = &[
    (
        "event",
        &[
            ("event_id", Text),
            ("name", Text),
            ("event_type", Text),
            ("stream", Text),
            ("visitor_ref", Text),
            ("visit_id", Text),
            ("session_id", Text),
            ("page_seq", Integer),
            ("url", Text),
            ("screen", Text),
            ("title", Text),
            ("language", Text),
            ("category", Text),
            ("search_query", Text),
            ("client_at", Time),
            ("sent_at", Time),
            ("clock_state", Text),
            ("replaces", Integer),
            ("replaces_epoch", Text),
            ("replaces_edge", Text),
            ("basis_id", Integer),
            ("referrer", Json),
            ("attributes", Json),
            ("attribute_types", Json),
            ("conversation", Json),
        ],
    ),
    (
        "visit",
        &[
            ("visit_id", Text),
            ("visitor_ref", Text),
            ("first_seq", Integer),
            ("stream", Text),
            ("started_at", Time),
            ("last_active_at", Time),
            ("ended_at", Time),
            ("end_reason", Text),
            ("last_received_at", Time),
            ("page_count", Integer),
            ("screen_count", Integer),
            ("event_count", Integer),
            ("session_count", Integer),
            ("authenticated", Boolean),
            ("device_id", Text),
            ("entry_url", Text),
            ("entry_screen", Text),
            ("entry_title", Text),
            ("last_url", Text),
            ("last_screen", Text),
            ("last_title", Text),
            ("user_agent", Text),
            ("device_category", Text),
            ("device_type", Text),
            ("manufacturer", Text),
            ("browser_family", Text),
            ("browser_version", Text),
            ("os_family", Text),
            ("os_version", Text),
            ("robot", Text),
            ("replaces", Integer),
            ("replaces_epoch", Text),
            ("replaces_edge", Text),
            ("basis_id", Integer),
            ("referrer", Json),
            ("campaign", Json),
            ("context", Json),
            ("place", Json),
            ("searches", Json),
        ],
    ),
    ("count", &[("hour_at", Time), ("cells", Json)]),
    (
        "decision",
        &[
            ("decision_id", Text),
            ("decision_seq", Integer),
            ("visitor_ref", Text),
            ("action", Text),
            ("purposes", Integer),
            ("before", Integer),
            ("after", Integer),
            ("current", Boolean),
            ("method", Text),
            ("actor", Text),
            ("notice", Text),
            ("language", Text),
            ("gpc", Boolean),
            ("dnt", Boolean),
            ("client_at", Time),
            ("basis_id", Integer),
        ],
    ),
    ("withdrawal", &[("visitor_ref", Text), ("decision_seq", Integer), ("purposes", Integer), ("floor_seq", Integer)]),
    ("rectification", &[("visitor_ref", Text), ("superseded", Json)]),
    ("erasure", &[("erasure_id", Text), ("visitor_ref", Text), ("rows", Json)]),
    (
        "loss",
        &[
            ("reason", Text),
            ("target", Text),
            ("batch_edge", Text),
            ("batch_epoch", Text),
            ("lane", Text),
            ("first_no", Integer),
            ("last_no", Integer),
            ("count", Integer),
            ("rows", Integer),
            ("from", Text),
            ("to", Time),
            ("lanes", Json),
            ("lost_epoch", Text),
            ("last_seq", Integer),
        ],
    ),
    ("clock", &[("from", Time), ("to", Time), ("step_ms", Integer)]),
    ("checkpoint", &[("ledger_no", Integer), ("signed", Text), ("signature", Text), ("public_key", Text)]),
    ("hole", &[("edge", Text), ("epoch", Text), ("seq", Integer), ("reason", Text), ("line_sha256", Text)]),
];

/// All columns of a kind, in order, `kind` itself first.
pub fn of(kind: &str) -> Vec<Column> {
    let own = KINDS.iter().find(|(name, _)| *name == kind).map_or(&[][..], |(_, columns)| columns);
    let head = if kind == "hole" { &[][..] } else { HEAD };
    [("kind", Text)].into_iter().chain(head.iter().copied()).chain(own.iter().copied()).collect()
}
