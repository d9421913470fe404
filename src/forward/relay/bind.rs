//! What the lines of other edges' consent lanes bind this relay to, and lines with holes where that bars them.
//! Must never change a line that may leave. Invariant: number, hash and digest of a batch stay what they were.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;

use crate::base::error::{Error, Result};
use crate::base::id::{EdgeId, Epoch, Seq, VisitorRef};
use crate::base::time::Millis;
use crate::domain::consent::Purposes;
use crate::domain::line::{HoleReason, line_hash, render_hole};
use crate::domain::relay::{Bound, BoundKind, BoundRows};
use crate::store::{ReadTx, bound};

/// Above every number and time there is.
pub const ALWAYS: i64 = 9_007_199_254_740_991;

/// What of a line matters here.
#[derive(Deserialize)]
struct Stub<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    edge: Cow<'a, str>,
    #[serde(borrow)]
    epoch: Cow<'a, str>,
    seq: i64,
    #[serde(default)]
    first_seq: Option<i64>,
    #[serde(default, borrow)]
    received_at: Option<Cow<'a, str>>,
    #[serde(default)]
    flags: Option<u32>,
    #[serde(default, borrow)]
    visitor_ref: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Withdrawn {
    purposes: u32,
    floor_seq: i64,
}

#[derive(Deserialize)]
struct Decided {
    action: String,
}

#[derive(Deserialize)]
struct Rectified {
    superseded: Vec<i64>,
}

#[derive(Deserialize)]
struct Erased {
    #[serde(default)]
    rows: Vec<Rows>,
}

#[derive(Deserialize)]
struct Rows {
    edge: String,
    epoch: String,
    first_seq: i64,
    last_seq: i64,
}

/// One thing a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Rows of a visitor may not leave.
    Bound(Bound),
    /// A restriction is over: rows of before stay barred, since they come again under other numbers.
    Released {
        /// Whose.
        visitor: VisitorRef,
        /// Up to which number.
        upto: Seq,
        /// Until which time.
        until: Millis,
        /// Where the line was born.
        origin: (EdgeId, Epoch),
    },
    /// Rows are gone.
    Rows(BoundRows),
}

fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T> {
    serde_json::from_slice(line)
        .map_err(|e| Error::invalid(format!("a line that tells of rights does not parse: {e}")).code("bad_line"))
}

fn lines(ndjson: &[u8]) -> impl Iterator<Item = &[u8]> {
    ndjson.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// What the lines of a consent lane bind whoever has read them to. Errors: `Invalid` with code `bad_line`.
pub fn told(ndjson: &[u8]) -> Result<Vec<Told>> {
    let mut out = Vec::new();
    for line in lines(ndjson) {
        let stub: Stub<'_> = parse(line)?;
        let origin = || -> Result<(EdgeId, Epoch)> { Ok((EdgeId::parse(&stub.edge)?, Epoch::parse(&stub.epoch)?)) };
        let visitor = stub.visitor_ref.as_deref().map(VisitorRef::parse).transpose()?;
        let at = stub.received_at.as_deref().and_then(Millis::parse).unwrap_or(Millis(ALWAYS));
        match (&*stub.kind, visitor) {
            ("withdrawal", Some(visitor)) => {
                let (said, (edge, epoch)) = (parse::<Withdrawn>(line)?, origin()?);
                let purposes = Purposes(said.purposes);
                let kind = match () {
                    () if purposes.has(Purposes::MEASURE) => BoundKind::Measure,
                    () if purposes.has(Purposes::SHARE) => BoundKind::Share,
                    () => continue, // the row may leave; whoever reads it masks the bits
                };
                let upto = Seq(said.floor_seq);
                out.push(Told::Bound(Bound { visitor, edge, epoch, kind, upto, until: at }));
            }
            ("decision", Some(visitor)) => {
                let (said, (edge, epoch)) = (parse::<Decided>(line)?, origin()?);
                let (upto, until, kind) = (Seq(ALWAYS), Millis(ALWAYS), BoundKind::Restricted);
                match said.action.as_str() {
                    "restrict" => out.push(Told::Bound(Bound { visitor, edge, epoch, kind, upto, until })),
                    "release" => {
                        out.push(Told::Released { visitor, upto: Seq(stub.seq), until: at, origin: (edge, epoch) });
                    }
                    _ => {}
                }
            }
            ("rectification", _) => {
                let (said, (edge, epoch)) = (parse::<Rectified>(line)?, origin()?);
                let row = |seq: i64| BoundRows { edge, epoch, first: Seq(seq), last: Seq(seq), rectified: true };
                out.extend(said.superseded.into_iter().map(|seq| Told::Rows(row(seq))));
            }
            ("erasure", visitor) => {
                let (said, (edge, epoch)) = (parse::<Erased>(line)?, origin()?);
                if let Some(visitor) = visitor {
                    let (upto, until, kind) = (Seq(ALWAYS), Millis(ALWAYS), BoundKind::Erased);
                    out.push(Told::Bound(Bound { visitor, edge, epoch, kind, upto, until }));
                }
                for rows in said.rows {
                    out.push(Told::Rows(BoundRows {
                        edge: EdgeId::parse(&rows.edge)?,
                        epoch: Epoch::parse(&rows.epoch)?,
                        first: Seq(rows.first_seq),
                        last: Seq(rows.last_seq),
                        rectified: false,
                    }));
                }
            }
            _ => {}
        }
    }
    Ok(out)
}

/// What lines are being looked at for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For<'a> {
    /// To lie here: what is restricted stays, nothing else is done with it.
    Keeping,
    /// To leave, to a third party or not.
    Leaving {
        /// Needs the purpose `share`.
        third_party: bool,
        /// Numbers of lines that whoever gets them will never take, rising.
        refused: &'a [Seq],
    },
}

/// Lines, and how many of them are holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holed {
    /// The lines, each with its line end.
    pub ndjson: Vec<u8>,
    /// Holes among them.
    pub holes: i64,
    /// Lines that became holes here.
    pub fresh: i64,
}

/// Lines with holes where what is bound by this snapshot bars them. Errors: `Invalid` with code `bad_line`; `Storage`.
pub fn holed(tx: &ReadTx<'_>, ndjson: &[u8], purpose: For<'_>) -> Result<Holed> {
    let mut all = Vec::new();
    let mut ends: HashMap<(EdgeId, Epoch), (i64, i64)> = HashMap::new();
    for line in lines(ndjson) {
        let stub: Stub<'_> = parse(line)?;
        let origin = (EdgeId::parse(&stub.edge)?, Epoch::parse(&stub.epoch)?);
        let end = ends.entry(origin).or_insert((stub.seq, stub.seq));
        *end = (end.0.min(stub.seq), end.1.max(stub.seq));
        all.push((line, stub, origin));
    }
    let mut gone = HashMap::new();
    for (origin, (first, last)) in ends {
        gone.insert(origin, bound::rows_between(tx, origin, Seq(first), Seq(last))?);
    }
    let mut of_visitor: HashMap<VisitorRef, Vec<Bound>> = HashMap::new();
    let mut out = Holed { ndjson: Vec::with_capacity(ndjson.len()), holes: 0, fresh: 0 };
    for (line, stub, origin) in &all {
        let mut reason = None;
        if stub.kind == "hole" {
            out.holes += 1;
        } else {
            let visitor = stub.visitor_ref.as_deref().map(VisitorRef::parse).transpose()?;
            if let Some(visitor) = visitor
                && !of_visitor.contains_key(&visitor)
            {
                of_visitor.insert(visitor, bound::of_visitor(tx, visitor)?);
            }
            let bounds = visitor.and_then(|visitor| of_visitor.get(&visitor)).map_or(&[][..], Vec::as_slice);
            let rows = gone.get(origin).map_or(&[][..], Vec::as_slice);
            reason = barred(stub, *origin, bounds, rows, purpose);
        }
        match reason {
            None => out.ndjson.extend_from_slice(line),
            Some(reason) => {
                out.ndjson.extend(render_hole(*origin, Seq(stub.seq), reason, &line_hash(line)));
                out.holes += 1;
                out.fresh += 1;
            }
        }
        out.ndjson.push(b'\n');
    }
    Ok(out)
}

/// Kinds that tell of rights, losses or counters: no floor covers them.
fn tells_of_rights(kind: &str) -> bool {
    matches!(kind, "count" | "decision" | "withdrawal" | "erasure" | "rectification" | "loss" | "clock" | "checkpoint")
}

/// Why a line is a hole from now on (as `domain::line::Line::barred` says it where the rows are).
fn barred(
    stub: &Stub<'_>,
    origin: (EdgeId, Epoch),
    bounds: &[Bound],
    rows: &[BoundRows],
    purpose: For<'_>,
) -> Option<HoleReason> {
    if stub.kind == "erasure" {
        return None; // it is what remains
    }
    let row = !tells_of_rights(&stub.kind);
    let within = |one: &&BoundRows| (one.first.0..=one.last.0).contains(&stub.seq);
    if rows.iter().filter(within).any(|one| !one.rectified) || bounds.iter().any(|one| one.kind == BoundKind::Erased) {
        return Some(HoleReason::Erased);
    }
    if row && rows.iter().filter(within).any(|one| one.rectified) {
        return Some(HoleReason::Rectified);
    }
    let covers = |one: &Bound, seq: i64| {
        if (one.edge, one.epoch) == origin {
            return seq <= one.upto.0;
        }
        stub.received_at.as_deref().and_then(Millis::parse).is_none_or(|at| at <= one.until)
    };
    let lowest = stub.first_seq.unwrap_or(stub.seq);
    let any = |kind: BoundKind, seq: i64| row && bounds.iter().any(|one| one.kind == kind && covers(one, seq));
    let leaves = matches!(purpose, For::Leaving { .. });
    if leaves && any(BoundKind::Restricted, stub.seq) {
        return Some(HoleReason::Restricted);
    }
    if any(BoundKind::Measure, lowest) {
        return Some(HoleReason::Withdrawn);
    }
    if matches!(purpose, For::Leaving { third_party: true, .. }) && stub.visitor_ref.is_some() {
        if !Purposes(stub.flags.unwrap_or(0)).has(Purposes::SHARE) {
            return Some(HoleReason::NoRight);
        }
        if any(BoundKind::Share, lowest) {
            return Some(HoleReason::Withdrawn);
        }
    }
    match purpose {
        For::Leaving { refused, .. } if refused.binary_search(&Seq(stub.seq)).is_ok() => Some(HoleReason::Refused),
        _ => None,
    }
}
