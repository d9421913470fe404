//! Every number of the configuration with the least and the most that makes sense.
//! Must never compare two keys (`basics` does). Invariant: each number key has its row here; a test looks for it.

use crate::config::Config;
use crate::config::findings::Findings;
use crate::domain::address::URL_BYTES_MAX;

/// `key`, what is configured, the least and the most.
pub(super) type Row = (String, u64, u64, u64);

const KIB: u64 = 1_024;
const MIB: u64 = 1_024 * KIB;
const GIB: u64 = 1_024 * MIB;
const TIB: u64 = 1_024 * GIB;
/// A hundred years, so that no sum of times overflows.
const DAYS_MAX: u64 = 36_500;
const MONTHS_MAX: u64 = 1_200;
/// Thirteen months: longer no authority lets a choice stand.
const CHOICE_MONTHS_MAX: u64 = 13;
const DAY_SECONDS: u64 = 86_400;
const YEAR_MINUTES: u64 = 527_040;

/// A count as a row holds it.
fn count(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

pub(super) fn check(config: &Config, findings: &mut Findings) {
    for (key, have, least, most) in rows(config) {
        let name = key.rsplit('.').next().unwrap_or(&key);
        if have < least {
            findings.error(&key, format!("{have} is too small"), format!("write `{name} = {least}` or more"));
        } else if have > most {
            findings.error(&key, format!("{have} is too large"), format!("write `{name} = {most}` or less"));
        }
    }
    if config.quota.disk_budget_bytes.is_some_and(|bytes| (1..100_000_000).contains(&bytes)) {
        findings.warn(
            "quota.disk_budget_bytes",
            "less than 100 MB: events are refused soon",
            "write 100000000 or more, or leave it out to use half the free space",
        );
    }
}

/// All numbers.
pub(super) fn rows(config: &Config) -> Vec<Row> {
    let named = |(key, have, least, most): (&str, u64, u64, u64)| (key.to_owned(), have, least, most);
    let mut rows: Vec<Row> = door(config).into_iter().map(named).collect();
    rows.extend(ingest(config).into_iter().map(named));
    rows.extend(time(config).into_iter().map(named));
    rows.extend(work(config).into_iter().map(named));
    for (n, site) in config.sites.iter().enumerate() {
        rows.push((format!("site[{n}].choice_months"), site.choice_months.into(), 1, CHOICE_MONTHS_MAX));
    }
    for (n, target) in config.targets.iter().enumerate() {
        rows.push((format!("target[{n}].keep_days"), target.keep_days.into(), 1, DAYS_MAX));
        rows.push((format!("target[{n}].connect_seconds"), target.connect_seconds.into(), 1, 600));
        // a receiver answers after its disk has the batch: less would send again what is just being written
        rows.push((format!("target[{n}].answer_seconds"), target.answer_seconds.into(), 31, 3_600));
        rows.push((format!("target[{n}].keep_bytes"), target.keep_bytes, MIB, 1_024 * TIB));
        rows.push((format!("target[{n}].bytes_per_second"), target.bytes_per_second, 0, TIB));
    }
    rows.extend(
        config.quota.disk_budget_bytes.map(|have| ("quota.disk_budget_bytes".to_owned(), have, 1, 1_024 * TIB)),
    );
    rows
}

fn door(config: &Config) -> Vec<(&'static str, u64, u64, u64)> {
    let door = &config.door;
    vec![
        ("door.head_timeout_ms", door.head_timeout_ms, 1, 600_000),
        ("door.request_timeout_ms", door.request_timeout_ms, 1, 3_600_000),
        ("door.idle_timeout_ms", door.idle_timeout_ms, 1, 3_600_000),
        ("door.connections_max", count(door.connections_max), 1, 1_000_000),
        ("door.connections_per_address_max", count(door.connections_per_address_max), 0, u64::MAX),
        ("door.head_bytes_max", count(door.head_bytes_max), KIB, MIB),
        ("door.headers_max", count(door.headers_max), 8, 1_024),
        ("door.read_threads", count(door.read_threads), 1, 256),
        ("door.read_queue_max", count(door.read_queue_max), 1, 1_000_000),
        ("door.body_bytes_inline_max", count(door.body_bytes_inline_max), 0, GIB),
        ("door.body_bytes_total_max", count(door.body_bytes_total_max), KIB, TIB),
    ]
}

fn ingest(config: &Config) -> Vec<(&'static str, u64, u64, u64)> {
    let (ingest, limits) = (&config.ingest, &config.ingest.limits);
    vec![
        ("ingest.event_age_minutes_max", ingest.event_age_minutes_max.into(), 0, YEAR_MINUTES),
        ("ingest.journey_event_age_minutes_max", ingest.journey_event_age_minutes_max.into(), 0, YEAR_MINUTES),
        ("ingest.limits.body_bytes_max", count(limits.body_bytes_max), 1, GIB),
        ("ingest.limits.decoded_bytes_max", count(limits.decoded_bytes_max), 1, GIB),
        ("ingest.limits.events_max", count(limits.events_max), 1, 100_000),
        ("ingest.limits.attributes_max", count(limits.attributes_max), 1, 10_000),
        ("ingest.limits.attribute_bytes_max", count(limits.attribute_bytes_max), 1, MIB),
        ("ingest.limits.text_bytes_max", count(limits.text_bytes_max), 1, MIB),
        ("ingest.limits.url_bytes_max", count(limits.url_bytes_max), 1, count(URL_BYTES_MAX)),
        ("ingest.limits.id_bytes_max", count(limits.id_bytes_max), 36, 4 * KIB),
        ("directives.ask_seconds", config.directives.ask_seconds.into(), 10, 86_400),
        ("ingest.spool.poll_seconds", ingest.spool.poll_seconds.into(), 1, 3_600),
        ("ingest.spool.file_bytes_max", ingest.spool.file_bytes_max, 1, TIB),
    ]
}

fn time(config: &Config) -> Vec<(&'static str, u64, u64, u64)> {
    let (visits, retention, upkeep) = (&config.visits, &config.retention, &config.upkeep);
    vec![
        ("visits.ends_after_minutes", visits.ends_after_minutes.into(), 1, 1_440),
        ("visits.idle_after_minutes", visits.idle_after_minutes.into(), 1, 1_440),
        ("visits.away_after_minutes", visits.away_after_minutes.into(), 1, 1_440),
        ("visits.named_ends_after_hours", visits.named_ends_after_hours.into(), 1, 8_760),
        ("retention.visits_months", retention.visits_months.into(), 1, MONTHS_MAX),
        ("personal.minors_below", config.personal.minors_below.into(), 1, 25),
        ("retention.personal_days", retention.personal_days.into(), 1, DAYS_MAX),
        ("retention.counts_months", retention.counts_months.into(), 1, MONTHS_MAX),
        ("retention.suppression_months", retention.suppression_months.into(), 1, MONTHS_MAX),
        ("retention.ledger_months", retention.ledger_months.into(), 1, MONTHS_MAX),
        ("retention.rejected_days", retention.rejected_days.into(), 1, DAYS_MAX),
        ("retention.results_days", retention.results_days.into(), 1, DAYS_MAX),
        ("retention.snapshots_days", retention.snapshots_days.into(), 1, DAYS_MAX),
        ("erase.proof_months", config.erase.proof_months.into(), 1, MONTHS_MAX),
        ("quota.grace_days", config.quota.grace_days.into(), 0, 365),
        ("quota.ballast_bytes", config.quota.ballast_bytes, 0, GIB),
        ("upkeep.visits_every_seconds", upkeep.visits_every_seconds.into(), 1, 3_600),
        ("upkeep.retention_every_seconds", upkeep.retention_every_seconds.into(), 1, DAY_SECONDS),
        ("upkeep.rows_per_step", upkeep.rows_per_step.into(), 1, 1_000),
        ("upkeep.start_quiet_minutes", upkeep.start_quiet_minutes.into(), 0, 1_440),
    ]
}

fn work(config: &Config) -> Vec<(&'static str, u64, u64, u64)> {
    let (store, forward, relay) = (&config.store, &config.forward, &config.relay);
    vec![
        ("store.queue_max", count(store.queue_max), 1, 1_000_000),
        ("store.group_max", count(store.group_max), 1, 1_000_000),
        ("store.read_connections", count(store.read_connections), 1, 256),
        ("store.read_ms_max", store.read_ms_max, 1, 60_000),
        ("store.wal_bytes_max", store.wal_bytes_max, MIB, TIB),
        ("forward.seal_after_seconds", forward.seal_after_seconds.into(), 0, DAY_SECONDS),
        ("forward.seal_rows_max", forward.seal_rows_max.into(), 1, 1_000_000),
        ("forward.seal_bytes_max", forward.seal_bytes_max, KIB, GIB),
        ("relay.batch_bytes_max", relay.batch_bytes_max, KIB, 64 * MIB),
        ("relay.edges_max", relay.edges_max.into(), 1, 100_000),
        ("relay.keep_days", relay.keep_days.into(), 0, DAYS_MAX),
        ("relay.remember_days", relay.remember_days.into(), 1, DAYS_MAX),
        ("forward.gzip_level", forward.gzip_level.into(), 0, 9),
    ]
}
