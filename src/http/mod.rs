//! Floor 4: the HTTP doors. Owns the way from a socket to a work folder and back.
//! Must never import `store` or open a transaction: a handler asks a work folder and shapes its answer.
//!
//! | file | does |
//! |---|---|
//! | `server` | accepts, reads, answers: names hyper and tokio |
//! | `desk` | plans, hands over and times a request; what all connections share |
//! | `service` | what the door asks of whoever serves it, and the door's options |
//! | `guard` | looks at every head before hyper does, and refuses what hyper would let pass |
//! | `seats` | who is connected, what each waits for, and when that has lasted too long |
//! | `replies` | carries answers from other threads back to the door, one wake-up per batch |
//! | `bell` | wakes a task of the door from anywhere |
//! | `pool` | the threads of blocking handlers |
//! | `bodies` | bounds the memory that bodies take |
//! | `request`, `reply` | a request and a reply in plain types; errors to status |
//! | `batches_in`, `edges` | batches of other edges, and who may send them |
//! | `wire`, `tls` | the socket, plain or with TLS; certificate and key |
//! | `local` | the control socket's client |

pub mod answer;
pub mod app;
pub mod auth;
pub mod batches_in;
pub mod batches_out;
pub mod bell;
pub mod below;
pub mod bodies;
pub mod body;
pub mod carry;
pub mod choice;
pub mod consent;
pub mod cors;
pub mod desk;
pub mod directives;
pub mod edges;
pub mod erasures;
pub mod events;
pub mod gdpr;
pub mod guard;
pub mod import;
pub mod journey;
pub mod local;
pub mod me;
pub mod notices;
pub mod oauth;
pub mod operator;
pub mod pixel;
pub mod pool;
pub mod replies;
pub mod reply;
pub mod request;
pub mod router;
pub mod seats;
pub mod server;
pub mod service;
pub mod subject;
pub mod tls;
pub mod tokens;
pub mod wire;
