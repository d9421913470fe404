//! # The map
//!
//! wayside records visits and events on your own premises, consent first, and leaves sealed batches for upstream. This page
//! says where everything is. Each file opens with what it owns, what it must never do, and its invariant; `tests/house`
//! keeps floors, owners, sizes and names as this page draws them.
//!
//! ## Floors
//!
//! Imports point downward only. Work folders never import each other: what they share is a pure type in [`domain`] or a
//! table in [`store`].
//!
//! | floor | folders | may name | must never |
//! |---|---|---|---|
//! | 5 | `main.rs`, [`daemon`], [`config`] | toml, env_logger, signals | contain a rule of the domain |
//! | 4 | [`http`], [`cli`] | hyper and tokio in [`http::server`] only; clap and indicatif in `cli` | import `store`, open a transaction |
//! | 3 | [`ingest`], [`consent`], [`subject`], [`erasure`], [`history`], [`records`], [`forward`], [`upkeep`], [`tokens`] | maxminddb in [`ingest::geo`] | import a sibling, name rusqlite |
//! | 2 | [`store`] | rusqlite | decide anything, call out |
//! | 1 | [`domain`] | serde; url, woothee, ipnet, one file each | do I/O, read the clock, hold globals |
//! | 0 | [`base`] | rand and uuid in [`base::id`], flate2 in [`base::gzip`], foldhash in [`base::table`], digests in [`base::digest`], ciphers in [`base::cell`] and [`base::age`], jiff in [`base::time`] | know the domain |
//!
//! ## Data paths
//!
//! | path | enters | goes | leaves |
//! |---|---|---|---|
//! | ingest | `POST /v1/events`, the pixel, Journey endpoints | [`http::events`] -> [`ingest::accept`] -> [`ingest::decode`] -> [`ingest::shape`] -> [`ingest::record`]: duplicate?, [`domain::consent::Gate`], [`domain::placement`], one transaction | one outcome per event, after COMMIT |
//! | spool | a file renamed into `spool/` | [`ingest::spool`] -> the same transaction, lines and how many were taken together | rows; bad lines in `spool/rejected/` |
//! | import | `wayside import` | [`ingest::import`] reads and counts -> [`daemon::import`] -> [`ingest::sink`]: events and offset together | rows and a tally |
//! | notice | `wayside notice publish`, `POST /v1/notices` | [`domain::notice`] lint -> [`consent::notice`] -> [`store::notices`], for good | `GET /v1/notice`, `GET /v1/consent/state` |
//! | decision | `POST /v1/consent`, `wayside consent`, decisions with events | [`consent`] -> [`domain::consent::decide`] -> [`store::decisions`]: row, entry of the [`store::ledger`], standing, floors, `rights.log`, in O(1) | an answer with the visitor's token |
//! | receipt | `GET /v1/consent/receipt` | token or code -> [`consent::receipt`] from ledger row, notice and evidence -> signed | JSON-LD, Kantara, a page |
//! | end of a choice | its time, a notice that tells a purpose otherwise; found by [`upkeep`], the next decision | [`domain::choice`] by the newest time known -> an `expire` row | nothing; rows taken before stay |
//! | subject request | `wayside subject`, `POST /api/v2/gdpr/requests`, `/v1/me` | [`http::subject`], [`http::gdpr`], [`http::me`] -> [`subject`]: who is meant, [`subject::scope`], then a copy or a correction; `daemon` hands in erasure, restriction, objection | the register, `results/`, a `rectification` line |
//! | withdrawn rows | [`upkeep`] | floors -> steps of at most 1,000 rows -> [`store::holes`] where a row lies in a sealed batch | nothing |
//! | the ledger | every decision, a notice, a step of the clock, a removal | [`store::ledger`]: an entry holds the hash of the one before -> [`upkeep`] signs ([`store::checkpoints`]), and folds what is old behind an anchor ([`store::ledger::fold`]) | the consent lane; [`consent::verify`] |
//! | erasure | `wayside erasures begin`, `POST /v1/erasures`, a request | [`erasure`]: cut off, suppressed, logged in one transaction -> rows in steps -> files of their owners ([`store::traces`]) -> keys, and their copy -> logs emptied -> every file searched -> an `erase` entry of the ledger, the request answered | `erasure` lines; done here, open at targets until acknowledged |
//! | restore | `wayside restore` | [`store::restore`]: copied, brought up, new epoch, every right replayed -> renamed into place -> [`erasure`] | a database that serves |
//! | end of a visit | [`upkeep`] | what is due -> ended -> a frozen snapshot line ([`store::frozen`]) | the `visits` lane |
//! | forward | a timer or a kick | [`forward`]: what is due -> seal (boundaries, digest, signature) -> an attempt row -> render from a snapshot taken after it -> put -> cursor | files of a `dir` target; a `PUT` to an `http` target, whose answer [`forward::http::answer`] reads; where nothing is due, until when all is told ([`forward::idle`]) |
//! | pull | `GET /v1/batches`, `POST /v1/leases`, `POST /v1/acks` | [`http::batches_out`] -> [`forward::pull`]: consent first, fenced -> render from one snapshot, noted after | gzip and manifest; who finds nothing may wait |
//! | receiving | `PUT /v1/batches/...` of an edge that joined | [`http::batches_in`] -> [`forward::relay`]: signature, lines, chain -> files and folder on the disk -> one transaction: [`store::received`], [`store::streams`], [`store::bound`] | a signed acknowledgement |
//! | passing on | what was received, where `[relay] onward` names a target | [`forward::relay::vouch`]: who the edges below are, signed; then, consent first, an attempt, holes, the put | batches as they were signed, at a relay behind this one or any other target |
//! | a directive | a stick, `POST /v1/directives`, the question of an `http` target | [`cli::directive`], [`forward::directives::ask`] -> [`forward::directives`]: the centre's signature, once for each id -> a request of the register, handed in by `daemon` | a signed report; a copy encrypted to the centre |
//! | a directive for edges below | `directive give --here`, a request at the centre, an upstream | [`http::directives`], [`http::below`] -> [`forward::directives::downstream`]: kept, sealed -> handed down to who asks | each edge's report in the register, passed up where it came from there |
//! | a stick | `wayside carry out`, `carry in` | [`cli::carry`] reads and writes it; [`forward::carry`]: what is due -> attempt -> render -> a file, encrypted -> index; back: signed acknowledgements -> cursor | files of the stick |
//! | taking | `wayside pull` | [`cli`] -> [`forward::take`]: listed, fetched (resumed), verified, on the disk, handed to a command -> acknowledged | files of batches, `bad/` |
//! | reading | `wayside events`, `visits`, `status`, `export` ... | [`cli`] -> [`history`] -> a read-only snapshot -> [`store`] | rows without what a floor covers; never meets the writer |
//! | the operator's records | `wayside records`, `dpia`, `breach`, `cookies`, `exempt-report` | [`daemon::setup`] -> [`records`] -> [`store::census`] | a page: settings and numbers, nobody's values |
//! | commands that write | `wayside record`, `consent`, `import`, `batches ack` ... | the daemon's control socket ([`http::local`]), else the store opened here | as over HTTP |
//!
//! | personal field | traits, `externalIds`, `form`, identity, whole address of an event | [`domain::personal`] -> a cell ([`base::cell`]) under the visitor's key: [`store::keys`] commits first, then [`store::personal`], [`store::identities`] | [`history`] opens it for who holds the root key; never a line |
//!
//! Down once, up once: door, work, store, and back. The store knows no runtime: a job carries the closure that answers it,
//! and the pen calls it after COMMIT.
//!
//! ## Where does a new thing go?
//!
//! | new | file |
//! |---|---|
//! | route | one line in [`http::router`], a handler beside it, `packaging/openapi.json` |
//! | command | a file in `src/cli`, the man page, the README's list |
//! | configuration key | the option struct of its user (`options.rs`), `config.example.toml`; checks in [`config`] |
//! | field of an event | `packaging/schema/event.schema.json`, [`ingest::wire`], [`ingest::shape`], [`domain::event`], then the row |
//! | table or column | `schema.sql`, its one owner in `src/store`, a step in [`store::migrate`], a test |
//! | kind or field of a line | [`domain::line`], its renderer, `packaging/doc/batches.md`; other bytes mean another schema version |
//! | rule of consent | [`domain::consent`] |
//! | rule of visits | [`domain::visit`], [`domain::placement`] |
//! | kind of target | an implementation of the trait in `src/forward/target.rs` |
//! | periodic care | a line in the table of [`upkeep`] |
//! | file that can hold a person | a row of [`store::traces::PLACES`] and of this page, an implementation of [`store::traces::Traces`] |
//! | kind of error | none: the eight of [`base::error`]; a stable code where a program must tell it apart |
//!
//! ## Invariants
//!
//! 1. An answer that acknowledges leaves after its rows are committed and on the disk.
//! 2. One thread writes the database; two processes never hold one data directory.
//! 3. An identifier is stored only if measure is in force, and rests on a decision, on another basis, or on the operator's
//!    exemption. This is judged inside the pen's transaction, never at the door.
//! 4. A floor only rises. What lies at or below it is not read, not sealed, not sent; no later grant lifts it.
//! 5. An attempt is committed before its batch is rendered, and the batch is rendered from a snapshot taken after that, or
//!    such a snapshot shows that the lines it was sealed from still hold: no transmission that begins after a withdrawal
//!    carries a byte of what it covers.
//! 6. `seq` is one counter over everything. Edge, birth epoch and seq are a row's identity for ever; gaps mean nothing.
//! 7. A sealed batch is never sealed again: whoever removes a row of it leaves number and hash as a hole.
//! 8. Refusals due to consent all read `counted`, unless the caller may know more.
//! 9. Order, retention and forwarding run on seq and received time; visits run on corrected time.
//! 10. Nothing is removed by age just after start, after a step of the clock, or before the newest known time.
//! 11. The ledger is a chain of entries; what an entry says stands apart from it. A content may go, for a person's sake or by
//!     age, and leaves number and digest, so that the chain still holds; an entry says which went and why. An entry without
//!     content goes by age, behind a signed anchor, and only of a ledger that verifies.
//! 12. A personal value is sealed or not stored. Its key is committed before it, and destroyed after the last one is gone.
//! 13. Everything has a limit, in the configuration or in a type.
//!
//! ## Threads
//!
//! | thread | does |
//! |---|---|
//! | `main` | composes, then waits for a signal |
//! | `door` | every connection, on one runtime; decodes small bodies; never blocks |
//! | `read-1` ... | blocking handlers, bodies that are long or compressed |
//! | `writer` | the pen: one transaction per commit group, completion after COMMIT |
//! | `spool` | looks into the spool folder |
//! | forwarding | one seals, and one for each target (`forward-<target>`) puts |
//! | `pull` | answers jobs that wait for batches, where a cursor is configured |
//! | upkeep | ends visits, removes what is withdrawn or too old, watches disk and clock |
//!
//! Shared state is the writer's bounded queue and the caches of one folder each. Waits have deadlines or a bell, so that
//! stopping is prompt. Order of stopping: door, then spool, forwarding and upkeep, then the writer, which drains and checkpoints.
//!
//! ## Files in the data directory
//!
//! | file | owner | holds a person? | how that is erased |
//! |---|---|---|---|
//! | `wayside.db*` | [`store`] | pseudonymous rows, sealed personal cells | rows deleted in steps, freed pages overwritten, the log emptied |
//! | `keys.db*` | [`store::keys`] | a key per person, nobody's name | the key is deleted, the others are wrapped anew |
//! | `root.key*` | [`store::root`] | no | - |
//! | `edge.json*` | [`store::edge`] | no | - |
//! | `edge.key*` | [`store::edge`] | no | - |
//! | `rights.log` | [`store::rights_log`] | `visitor_ref` and a keyed hash of the id | never: it keeps the erasure |
//! | `erasing/` | [`store::erasures`] | keys of what is being looked for | overwritten when the erasure is done |
//! | `spool/` | [`ingest::spool`] | what the writing program put there | lines that name the id are removed |
//! | `spool/rejected/` | [`ingest::spool`] | the shape of bad lines, values masked | removed whole |
//! | `outbox/` | [`forward`] | pseudonymous lines | holes in what is not taken yet; what is taken is the taker's |
//! | `relay/` | [`forward::relay`] | pseudonymous lines of other edges | holes, as their edges say; a file that names the person is written anew |
//! | `upstream.*` | [`config::upstream`] | no | - |
//! | `join.json` | [`daemon::join`] | no | - |
//! | `results/` | [`store::traces`] | answers to requests for access | removed whole |
//! | `snapshots/` | [`store::traces`] | as the database | a copy that holds the person is removed |
//! | `damaged/` | [`store::traces`] | as the database | a copy that may hold the person keeps the erasure open |
//! | `ballast` | [`upkeep::ballast`] | no | - |
//! | `lock` | [`store::open`] | no | - |
//! | `running*` | [`store::damage`] | no | - |
//! | `first-start*` | [`store::damage`] | no | - |
//! | `control.sock` | [`http::local`] | no | - |
//!
//! The same table stands in [`store::traces::PLACES`]; tests compare both, and what a full run leaves. A target's `path` may name another
//! folder than `outbox/`. Names ending in `*` stand for what SQLite or a write in progress keeps beside a file.
//!
//! Not built yet, with their seams left clean: targets that are engines, the history over HTTP, engagement and
//! scoring.

pub mod base;
pub mod cli;
pub mod config;
pub mod consent;
pub mod daemon;
pub mod domain;
pub mod erasure;
pub mod forward;
pub mod history;
pub mod http;
pub mod ingest;
pub mod records;
pub mod store;
pub mod subject;
pub mod tokens;
pub mod upkeep;
