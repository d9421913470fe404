//! Whom and what a breach concerns (GDPR Art. 33(3), 34(3)): people, fields, sealed or not. Numbers only.
//! Must never name a person. Invariant: every row in the file counts, also one that a floor covers; sealed is told apart from
//! readable, and whether the keys lay beside it.

use serde::Serialize;

use crate::base::error::{Error, Result};
use crate::base::time::Millis;
use crate::records::fields::{Field, Kept, fields};
use crate::records::paper::{Paper, plain};
use crate::records::{Records, article30};
use crate::store::census::{self, Count, Window};

/// What was concerned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Breach {
    /// From when, RFC 3339.
    pub since_at: String,
    /// Until when.
    pub until_at: String,
    /// What came in during that time: whoever listened at the door has it.
    pub arrived: Extent,
    /// What lay in the file at its end and still does: whoever copied the file has it.
    pub held: Extent,
    /// The keys of sealed values lie in the same directory as they: whoever copied all of it can open them.
    pub keys_beside: bool,
}

/// People and fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// Different people.
    pub people: i64,
    /// Decisions, and of how many references.
    pub decisions: i64,
    /// Customers known by name.
    pub identities: i64,
    /// Each field that has values.
    pub fields: Vec<Field>,
}

impl Records {
    /// The extent of a breach between two times of receiving. Errors: `Invalid` where the end is not behind the beginning,
    /// `Busy`, `Storage`.
    pub fn breach(&self, since: Millis, until: Millis) -> Result<Breach> {
        if until <= since {
            return Err(Error::invalid("the breach ends before it begins")
                .code("breach_window")
                .remedy("give an --until that lies behind --since"));
        }
        Ok(Breach {
            since_at: since.rfc3339(),
            until_at: until.rfc3339(),
            arrived: self.extent(Window { since, until })?,
            held: self.extent(Window::before(until))?,
            keys_beside: !self.setup.guards.root_key_apart,
        })
    }

    fn extent(&self, window: Window) -> Result<Extent> {
        let (people, rows) = self.read(|tx| Ok((census::people(tx, window)?, census::rows(tx, None, window)?)))?;
        self.read(|tx| {
            let decisions = census::decisions(tx, None, window)?;
            let identities = census::identities(tx, None, window)?;
            let mut personal = census::personal(tx, None, window)?;
            personal.push(identities.clone());
            let told = Count { name: "decisions".to_owned(), ..decisions.clone() };
            let mut fields = fields(rows, personal);
            fields.extend(Some(told).filter(|c| c.values > 0).map(|c| Field {
                what: "decisions: purposes, time, notice, method".to_owned(),
                field: c.name,
                kept: Kept::Pseudonymous,
                people: c.people,
                values: c.values,
            }));
            Ok(Extent { people, decisions: decisions.values, identities: identities.people, fields })
        })
    }
}

impl Breach {
    /// The extent as a page.
    pub fn markdown(&self) -> String {
        let mut page = Paper::default();
        page.heading(1, "Extent of a breach (GDPR Art. 33 and 34)");
        page.say(&format!("From {} until {}. Numbers only; nobody is named.", self.since_at, self.until_at));
        page.say(
            "Art. 33: the authority is told within 72 hours of knowing. Art. 34(3)(a): people need not be told of what nobody can \
             read, sealed values without their keys among it.",
        );
        page.say(match self.keys_beside {
            true => {
                "**The root key lies in the data directory.** Whoever copied the whole directory can open what is sealed; whoever \
                 copied wayside.db or a backup alone cannot."
            }
            false => "The root key lies outside the data directory: what is sealed opens only for whoever has it besides.",
        });
        for (title, extent) in [
            ("What came in during that time (whoever listened at the door)", &self.arrived),
            ("What lay in the file at its end (whoever copied it)", &self.held),
        ] {
            page.heading(2, title);
            page.say(&format!(
                "People: {}. Decisions: {}. Customers known by a sealed name: {}.",
                extent.people, extent.decisions, extent.identities
            ));
            let rows = extent.fields.iter().map(article30::data_row).collect();
            page.table(["data", "kept", "people", "values"], rows);
        }
        page.say("How a value lies in the file says nothing of its way here: whoever listened at the door read it as it came.");
        page.say(&plain(
            "Counted is what is stored now: what was removed since is not in these numbers (wayside status, wayside audit). Files \
             beside the database are to be judged by themselves: backups, exports, snapshots, batches in the outbox.",
        ));
        page.done()
    }
}
