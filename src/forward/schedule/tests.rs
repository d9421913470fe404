//! The rules of the schedule: turns, buckets, hours, phases, routes.
//! Nothing here waits, and nothing is random.

use super::*;
use crate::base::time::MINUTE_MS;

fn served(turns: &mut Turns, n: usize, work: impl Fn(Lane) -> bool + Copy) -> Vec<Lane> {
    (0..n).map_while(|_| turns.next(work)).collect()
}

fn counted(lanes: &[Lane]) -> [usize; 3] {
    TURNS.map(|(lane, _)| lanes.iter().filter(|l| **l == lane).count())
}

#[test]
fn lanes_with_work_are_served_four_two_one_and_none_waits_for_long() {
    let mut turns = Turns::default();
    let all = served(&mut turns, 70, |_| true);
    assert_eq!(counted(&all), [40, 20, 10]);
    for week in all.chunks(7) {
        assert_eq!(counted(week), [4, 2, 1], "in every seven batches");
    }
    assert_eq!(counted(&served(&mut turns, 6, |lane| lane != Lane::Visits)), [0, 4, 2]);
    assert_eq!(served(&mut turns, 2, |lane| lane == Lane::Fine), [Lane::Fine; 2], "an empty lane holds up nobody");
    assert_eq!(counted(&served(&mut turns, 7, |_| true)), [4, 2, 1], "and has saved up nothing");
    assert_eq!(turns.next(|_| false), None);
    assert_eq!(turns.next(|lane| lane == Lane::Consent), None, "the consent lane takes no turn");
}

#[test]
fn a_bucket_keeps_its_rate_whatever_the_size_of_batches() {
    let mut bucket = Bucket::new(1_000, 0);
    let (mut now, mut sent) = (0, 0);
    for size in [900, 5_000, 10, 40_000, 1, 3_000, 7_000] {
        now += bucket.wait_ms(now);
        assert_eq!(bucket.wait_ms(now), 0, "the wait it names is enough");
        bucket.spend(size, now);
        sent += i64::try_from(size).unwrap();
        assert!(sent <= now + 1_000 + 40_000, "{sent} bytes after {now} ms");
    }
    now += bucket.wait_ms(now);
    assert!((sent - 1_000..=sent + 10).contains(&now), "{sent} bytes took {now} ms");
    let mut free = Bucket::new(0, 0);
    free.spend(u64::MAX, 0);
    assert_eq!(free.wait_ms(0), 0, "0 is no limit");
    let mut late = Bucket::new(1_000, 0);
    late.spend(1_000, 3_600_000);
    assert!(late.wait_ms(3_600_000) > 0, "an hour of rest is worth one second");
}

#[test]
fn windows_may_cross_midnight_and_nonsense_is_refused() {
    let night = Window::parse("22:00-06:00").unwrap();
    for (minute, holds) in [(1_319, false), (1_320, true), (1_439, true), (0, true), (359, true), (360, false)] {
        assert_eq!(night.holds(minute), holds, "{minute}");
    }
    let noon = Window::parse("12:00 - 13:30").unwrap();
    assert!(noon.holds(720) && noon.holds(809) && !noon.holds(810));
    assert!(Window::parse("20:00-24:00").unwrap().holds(1_439));
    assert!(open(&[], 5) && open(&[noon, night], 5) && !open(&[noon], 5));
    for text in
        ["", "22:00", "22-06", "25:00-06:00", "22:60-06:00", "8:00-9:00", "08:00-08:00", "24:00-06:00", "+8:00-09:00"]
    {
        assert_eq!(Window::parse(text).unwrap_err().code, "bad_window", "{text:?}");
    }
}

#[test]
fn three_hundred_edges_have_their_turns_apart_and_every_row_has_one_in_time() {
    let every = 5 * MINUTE_MS;
    let mut phases: Vec<i64> = (0..300u16)
        .map(|n| {
            let mut id = [0; 16];
            id[..2].copy_from_slice(&n.to_be_bytes());
            phase_ms(EdgeId(id), every)
        })
        .collect();
    phases.sort_unstable();
    let busiest = (0..30).map(|s| phases.iter().filter(|p| **p / 10_000 == s).count()).max().unwrap();
    assert!(busiest <= 25, "{busiest} of 300 in one of 30 stretches of 10 s");
    for phase in [0, 1, every / 2, every - 1] {
        let first = Millis(1_780_000_000_000);
        assert!(!turn_came(first, first, every, phase));
        assert!(turn_came(first, first.plus(every), every, phase), "no row waits longer than the interval");
    }
    let (first, phase) = (Millis(10 * every), 60_000);
    assert!(!turn_came(first, first.plus(59_999), every, phase) && turn_came(first, first.plus(60_000), every, phase));
}

#[test]
fn what_reaches_nobody_is_told_from_what_the_target_says() {
    let code = |kind, code| Trouble::of(&Error::new(kind, code, ""));
    assert_eq!(code(Kind::Upstream, "refused"), Trouble::Link);
    assert_eq!(code(Kind::Upstream, "dns"), Trouble::Link);
    assert_eq!(code(Kind::Upstream, "timeout"), Trouble::Upstream);
    assert_eq!(code(Kind::Busy, "busy"), Trouble::Upstream);
    assert_eq!(code(Kind::Denied, "refused"), Trouble::Other);
    assert_eq!(code(Kind::Storage, "io"), Trouble::Other);
}

#[test]
fn routes_lead_out_by_any_interface_but_the_loop() {
    let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n";
    let default = format!("{head}eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\n");
    let down = format!("{head}eth0\t00000000\t0101A8C0\t0002\t0\t0\t100\t00000000\n");
    let loop_only = format!("{head}lo\t0000007F\t00000000\t0001\t0\t0\t0\t000000FF\n");
    let zero = "0".repeat(32);
    let v6 = |name: &str| {
        format!("{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     {name}\n")
    };
    let v6_down = format!("{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n");
    assert!(leads_out(Some(&default), Some("")));
    assert!(!leads_out(Some(head), Some(&v6_down)) && !leads_out(Some(&down), None));
    assert!(!leads_out(Some(&loop_only), Some(&v6("lo"))));
    assert!(leads_out(Some(head), Some(&v6("eth0"))));
    assert!(leads_out(None, None), "a system that does not say");
}
