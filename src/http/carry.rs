//! Carrying by stick, for the command that writes one: what is due, batches rendered for it, acknowledgements, the index.
//! Must never read or write a stick. Invariant: only the operator reaches these, over the control socket.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::error::{Error, Result};
use crate::base::text::hex;
use crate::domain::delivery::SignedAck;
use crate::domain::event::Lane;
use crate::forward::carry::key_of;
use crate::forward::carry::out::Landed;
use crate::forward::carry::stick::Index;
use crate::http::operator::{answer, parsed};
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::Call;
use crate::http::server::Responder;

/// Header of a rendered batch: SHA-256 of its lines.
pub const LINES_HEADER: &str = "wayside-lines";
/// Header of a rendered batch: the row of its attempt.
pub const ATTEMPT_HEADER: &str = "wayside-attempt";

/// The edge, and its targets that are reached by sticks.
pub fn about(call: Call<'_>, _request: Request, done: Responder) {
    let carry = &call.app.carry;
    let each = carry.targets().iter().map(|target| {
        json!({
            "target": target.name,
            "encrypt_to": target.to.map(|to| to.to_string()),
            "receiver_key": target.receiver_key.map(|key| hex(&key)),
        })
    });
    let key = hex(&carry.public_key());
    let told = json!({"edge": carry.edge().to_string(), "public_key": key, "targets": each.collect::<Vec<Value>>()});
    done(Reply::json(200, &told));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Due {
    target: String,
    lane: String,
    after: Option<String>,
}

/// Batches the target has not acknowledged.
pub fn due(call: Call<'_>, request: Request, done: Responder) {
    let made = parsed::<Due>(&request).and_then(|asked| {
        let lane = Lane::parse(&asked.lane).ok_or_else(|| Error::invalid(format!("no lane {:?}", asked.lane)))?;
        let after = asked.after.as_deref().map(key_of).transpose()?;
        let due = call.app.carry.due(&asked.target, lane, after)?;
        let each = due.iter().map(|due| json!({"batch": due.key.to_string(), "digest": due.digest}));
        Ok(json!({"batches": each.collect::<Vec<Value>>()}))
    });
    answer(done, made);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    target: String,
    batch: String,
}

/// One batch, rendered now: gzip bytes, and what belongs to them as headers.
pub fn batch(call: Call<'_>, request: Request, done: Responder) {
    let made = parsed::<One>(&request).and_then(|one| call.app.carry.give(&one.target, key_of(&one.batch)?));
    done(match made {
        Ok(given) => Reply::bytes(200, "application/gzip", given.carried.gz)
            .with_header(crate::domain::delivery::MANIFEST_HEADER, given.carried.manifest)
            .with_header(LINES_HEADER, given.lines_sha256)
            .with_header(ATTEMPT_HEADER, given.attempt_id.to_string()),
        Err(error) => Reply::from_error(&error),
    });
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OnStick {
    target: String,
    batches: Vec<LandedBatch>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LandedBatch {
    batch: String,
    attempt: i64,
    same: bool,
}

/// Notes what is on a stick.
pub fn landed(call: Call<'_>, request: Request, done: Responder) {
    let made = parsed::<OnStick>(&request).and_then(|asked| {
        let of = |one: &LandedBatch| Ok(Landed { key: key_of(&one.batch)?, attempt_id: one.attempt, same: one.same });
        let landed = asked.batches.iter().map(of).collect::<Result<Vec<Landed>>>()?;
        call.app.carry.landed(&asked.target, &landed)?;
        Ok(json!({"landed": landed.len()}))
    });
    answer(done, made);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acks {
    target: String,
    acks: Vec<SignedAck>,
}

/// Takes acknowledgements in that a stick brought.
pub fn acks(call: Call<'_>, request: Request, done: Responder) {
    let made = parsed::<Acks>(&request).and_then(|asked| {
        let taken = call.app.carry.acks(&asked.target, &asked.acks)?;
        let about = format!("{}: {}", asked.target, taken.acknowledged);
        if taken.acknowledged > 0 {
            call.app.operations.note(&call.caller.who(), "batches_acknowledged", Some(&about), None)?;
        }
        Ok(json!({"acknowledged": taken.acknowledged, "refused": taken.refused}))
    });
    answer(done, made);
}

/// Dates and signs the index of a stick.
pub fn sign(call: Call<'_>, request: Request, done: Responder) {
    let made = parsed::<Index>(&request).and_then(|index| call.app.carry.sign(index));
    answer(done, made.and_then(|signed| serde_json::to_value(signed).map_err(|e| Error::storage(e.to_string()))));
}
