//! Tests of the planner: tenants that share a destination, many that are dead beside one that is
//! alive, and storms of 4xx.

use super::tests::*;
use super::*;
use std::time::Duration;

fn lanes(planner: &mut Planner, due: &[DueWork]) -> Vec<(String, usize)> {
    let plan = planner.plan(START, due);
    let shown = plan.iter().map(|(domain, lane, letters)| {
        planner.claimed(START, (domain, lane), Place::Elsewhere, *letters);
        let account = lane.account.map_or(0, |id| id.0);
        (
            format!("{} {account} {}", lane.tenant, lane.priority),
            *letters,
        )
    });
    shown.collect()
}

fn planner() -> Planner {
    Planner::new(QueueSettings {
        connections_initial: 8,
        ..settings()
    })
}

#[test]
fn a_sender_with_very_many_letters_does_not_stand_before_the_others() {
    let mut planner = planner();
    let mut flood = from("far.test", "bulk.test", 1, 100_000);
    flood.oldest = Timestamp(0);
    let due = [flood, from("far.test", "red.test", 2, 3)];
    // 32 is what eight connections may have in hand.
    let expected = [
        ("bulk.test 1 0".to_owned(), 29),
        ("red.test 2 0".to_owned(), 3),
    ];
    assert_eq!(lanes(&mut planner, &due), expected);
    // With the hands full of the flood, who comes later gets the next place, and the next.
    let late = [due[0].clone(), from("far.test", "late.test", 3, 50)];
    let there = &domain("far.test");
    for _ in 0..2 {
        planner.released((there, &due[0].lane));
        planner.released((there, &due[0].lane));
        let expected = [("late.test 3 0".to_owned(), 2)];
        assert_eq!(lanes(&mut planner, &late), expected);
    }
}

#[test]
fn users_of_a_tenant_share_what_the_tenant_gets() {
    let mut planner = planner();
    let due = [
        from("far.test", "big.test", 1, 1_000),
        from("far.test", "big.test", 2, 1_000),
        from("far.test", "big.test", 3, 1_000),
        from("far.test", "small.test", 4, 1_000),
    ];
    let letters: Vec<usize> = lanes(&mut planner, &due)
        .iter()
        .map(|lane| lane.1)
        .collect();
    assert_eq!(letters, [6, 5, 5, 16], "half for each tenant");
}

#[test]
fn urgent_letters_go_before_others_of_their_tenant_only() {
    let mut planner = planner();
    let mut urgent = from("far.test", "red.test", 2, 1_000);
    urgent.lane.priority = 4;
    let mut idle = from("far.test", "red.test", 3, 1_000);
    idle.lane.priority = -2;
    let due = [
        from("far.test", "red.test", 1, 1_000),
        idle,
        urgent,
        from("far.test", "blue.test", 9, 1_000),
    ];
    let expected = [
        ("red.test 2 4".to_owned(), 16),
        ("blue.test 9 0".to_owned(), 16),
    ];
    assert_eq!(lanes(&mut planner, &due), expected);
}

#[test]
fn a_tenant_with_letters_for_many_destinations_does_not_stand_before_another() {
    let mut planner = planner();
    let bulk: Vec<_> = (0..100)
        .map(|n| from(&format!("d{n}.test"), "bulk.test", 1, 9))
        .collect();
    assert_eq!(lanes(&mut planner, &bulk).len(), 35);
    planner.released((&domain("d0.test"), &bulk[0].lane));
    let mut both = bulk;
    let mut young = from("other.test", "red.test", 2, 9);
    young.oldest = START + Duration::from_secs(60);
    both.push(young);
    assert_eq!(lanes(&mut planner, &both), [("red.test 2 0".to_owned(), 1)]);
}

#[test]
fn a_tenant_has_no_more_in_hand_than_its_limit() {
    let mut planner = Planner::new(QueueSettings {
        letters_per_tenant_max: 10,
        ..settings()
    });
    let works: Vec<_> = (0..20)
        .map(|n| from(&format!("d{n}.test"), "bulk.test", 1, 9))
        .collect();
    let granted: usize = lanes(&mut planner, &works).iter().map(|lane| lane.1).sum();
    assert_eq!(granted, 10);
    assert!(planner.is_crowded());
    let other = [from("d0.test", "red.test", 2, 3)];
    assert_eq!(
        lanes(&mut planner, &other),
        [("red.test 2 0".to_owned(), 3)]
    );
    planner.released((&domain("d1.test"), &works[0].lane));
    let granted: usize = lanes(&mut planner, &works).iter().map(|lane| lane.1).sum();
    assert_eq!(granted, 1);
}

#[test]
fn ten_thousand_dead_destinations_leave_room_for_one_that_is_alive() {
    let mut planner = Planner::new(QueueSettings::default());
    let dead: Vec<_> = (0..10_000)
        .map(|n| DueWork {
            tried: true,
            ..away(&format!("dead{n}.test"), 10)
        })
        .collect();
    let taken = claim(&mut planner, START, &dead);
    assert_eq!(taken.len(), 500, "half of the room");
    for (name, _) in &taken {
        planner.was_tried(&domain(name));
    }
    let started: usize = taken
        .iter()
        .map(|(name, _)| starts(&mut planner, START, name))
        .sum();
    assert_eq!(started, 100, "half of the connections");
    // Nobody has answered yet, and a young letter for one that will is there.
    let mut all = dead;
    all.push(away("alive.test", 1_000));
    all[10_000].oldest = START + Duration::from_secs(3_600);
    let plan = claim(&mut planner, START, &all);
    plan_is(&plan, &[("alive.test", 20)]);
    assert_eq!(starts(&mut planner, START, "alive.test"), 5);
    for _ in 0..15 {
        finish(&mut planner, START, &domain("alive.test"), Verdict::Took);
    }
    let plan = claim(&mut planner, START, &all);
    plan_is(&plan, &[("alive.test", 75)]);
    assert_eq!(
        starts(&mut planner, START, "alive.test"),
        20,
        "its whole window"
    );
}

#[test]
fn a_storm_shrinks_and_pauses_a_destination_and_success_opens_it_again() {
    let mut planner = Planner::new(settings());
    let name = domain("busy.test");
    let mut curve = Vec::new();
    let mut now = START;
    let step = |planner: &mut Planner, now, verdict: &Verdict| {
        claim(planner, now, &[away("busy.test", 1_000)]);
        starts(planner, now, "busy.test");
        if planner.destinations[&name].active > 0 {
            finish(planner, now, &name, verdict.clone());
        }
        planner.destinations[&name].connections_max(now)
    };
    for _ in 0..6 {
        curve.push(step(&mut planner, now, &Verdict::Took));
    }
    for _ in 0..16 {
        curve.push(step(&mut planner, now, &struggled(Trouble::DEFERRAL)));
    }
    let expected = [
        3, 4, 5, 6, 7, 8, 8, 8, 8, 4, 4, 4, 4, 2, 2, 2, 2, 1, 1, 1, 1, 0,
    ];
    assert_eq!(curve, expected);
    // What was under way ends; nothing new is started.
    while planner.destinations[&name].active > 0 {
        finish(&mut planner, now, &name, struggled(Trouble::REFUSAL));
    }
    let ends = planner.pause_ends(now).unwrap();
    // What is in hand and what is due is deferred with the reason, so that it may be reported late
    // and expire.
    claim(&mut planner, now, &[away("busy.test", 1_000)]);
    assert!(planner.destinations[&name].in_hand > 10);
    while planner.destinations[&name].in_hand > 0 {
        let admission = planner.admit(now, &name);
        assert!(
            matches!(&admission, Admission::Defer { until, failure }
                if *until == ends && failure.text == "slow down"),
            "{admission:?}"
        );
        finish(&mut planner, now, &name, Verdict::NotTried);
    }
    assert_eq!(ends.since(now), Duration::from_secs(15));
    now = ends;
    assert_eq!(planner.pause_ends(now), None);
    assert_eq!(
        step(&mut planner, now, &Verdict::Took),
        2,
        "one that was taken opens it"
    );
    assert_eq!(step(&mut planner, now, &Verdict::Took), 2);
    assert_eq!(step(&mut planner, now, &Verdict::Took), 3);
}
