//! What every handler works with: the work folders, the tokens, the trusted proxies. Composed by the daemon.
//! Must never hold a rule of its own.

use std::sync::Arc;

use crate::base::error::Result;
use crate::base::time::Millis;
use crate::consent::Consent;
use crate::domain::network::Networks;
use crate::erasure::Erasure;
use crate::forward::carry::serve::Carry;
use crate::forward::directives::Directives;
use crate::forward::directives::centre::Centre;
use crate::forward::directives::downstream::Downstream;
use crate::forward::pull::Pull;
use crate::forward::relay::Relay;
use crate::ingest::Ingest;
use crate::subject::Subject;
use crate::tokens::Tokens;

/// What an operator may have done at once.
pub trait Operations: Send + Sync {
    /// The state of everything, as one JSON object.
    fn status(&self) -> Result<serde_json::Value>;
    /// Seals and puts what is due; with `force` everything.
    fn forward(&self, force: bool) -> Result<serde_json::Value>;
    /// Voids the batches that another database of this edge also numbered, at every target, and goes on in a new epoch. Errors:
    /// `Conflict` with code `no_fork` where no target is fenced and none is named.
    fn renew(&self, target: Option<&str>) -> Result<serde_json::Value>;
    /// Acknowledges batches of a lane up to a number.
    fn acknowledge(&self, target: &str, lane: &str, upto: i64) -> Result<serde_json::Value>;
    /// Ends visits that are over, whose events have just been imported, and freezes their snapshots.
    fn end_visits(&self) -> Result<serde_json::Value>;
    /// Writes down what is done administratively with people's data: who, a stable word, what it was done to, more words. No
    /// personal values. Errors: `Busy`, `Storage`.
    fn note(&self, who: &str, what: &str, about: Option<&str>, note: Option<&str>) -> Result<()>;
    /// Runs what upkeep has due; with `confirm` a large removal is allowed once.
    fn upkeep(&self, confirm: bool) -> Result<serde_json::Value>;
}

/// What handlers work with.
pub struct App {
    /// Events.
    pub ingest: Arc<Ingest>,
    /// Decisions.
    pub consent: Arc<Consent>,
    /// Who may ask from the network.
    pub tokens: Arc<Tokens>,
    /// Requests of data subjects.
    pub subject: Arc<Subject>,
    /// Jobs that pull batches.
    pub pull: Arc<Pull>,
    /// Erasure of people.
    pub erasure: Arc<Erasure>,
    /// Batches of other edges.
    pub relay: Arc<Relay>,
    /// Directives of an enrolled centre.
    pub directives: Arc<Directives>,
    /// Directives for edges below.
    pub downstream: Arc<Downstream>,
    /// The centre's own hand, where this is the centre.
    pub centre: Option<Centre>,
    /// Batches for sticks.
    pub carry: Carry,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted: Networks,
    /// Status, forwarding, upkeep.
    pub operations: Arc<dyn Operations>,
    /// When this process started.
    pub started: Millis,
}
