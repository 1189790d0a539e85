//! The planner on a virtual clock.

use base::ports::Entropy;

use std::time::Duration;

use base::AccountId;

use super::super::failure::Status;
use super::destination::{FAILURES_REMEMBERED, WINDOW_REMEMBERED};
use super::*;
use crate::testing::Counting;

pub(super) const START: Timestamp = Timestamp(1_000_000);

pub(super) fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

pub(super) fn due(name: &str, place: Place, letters: usize) -> DueWork {
    DueWork {
        domain: domain(name),
        lane: Lane::default(),
        place,
        letters,
        oldest: START,
        tried: false,
        elsewhere: OtherNodes::default(),
    }
}

pub(super) fn away(name: &str, letters: usize) -> DueWork {
    due(name, Place::Elsewhere, letters)
}

/// Of a user of a tenant.
pub(super) fn from(name: &str, tenant: &str, account: i64, letters: usize) -> DueWork {
    DueWork {
        lane: Lane {
            tenant: tenant.to_owned(),
            account: Some(AccountId(account)),
            priority: 0,
        },
        ..away(name, letters)
    }
}

pub(super) fn settings() -> QueueSettings {
    QueueSettings {
        letters_in_hand_max: 40,
        letters_per_tenant_max: 40,
        local_letters_in_hand_max: 30,
        connections_max: 10,
        connections_per_destination_max: 8,
        connections_initial: 2,
        ..QueueSettings::default()
    }
}

/// "Not now".
pub(super) fn struggled(trouble: Trouble) -> Verdict {
    let failure = Failure::temporary(Status(4, 7, 0), "slow down");
    Verdict::Struggled(trouble, Box::new(failure))
}

pub(super) fn down() -> Verdict {
    Verdict::Down(Failure::temporary(Status(4, 4, 1), "connection refused"))
}

/// Plans, and takes everything that was planned.
pub(super) fn claim(
    planner: &mut Planner,
    now: Timestamp,
    due: &[DueWork],
) -> Vec<(String, usize)> {
    let plan = planner.plan(now, due);
    for (domain, lane, letters) in &plan {
        let place = due
            .iter()
            .find(|work| work.domain == *domain)
            .unwrap()
            .place;
        planner.claimed(now, (domain, lane), place, *letters);
    }
    plan.into_iter()
        .map(|(domain, _, letters)| (domain.to_string(), letters))
        .collect()
}

pub(super) fn finish(planner: &mut Planner, now: Timestamp, domain: &Domain, verdict: Verdict) {
    planner.finished(now, (domain, &Lane::default()), verdict);
}

pub(super) fn starts(planner: &mut Planner, now: Timestamp, name: &str) -> usize {
    let name = domain(name);
    let mut count = 0;
    while planner.admit(now, &name) == Admission::Start {
        count += 1;
    }
    count
}

pub(super) fn plan_is(plan: &[(String, usize)], expected: &[(&str, usize)]) {
    let plan: Vec<_> = plan.iter().map(|(d, n)| (d.as_str(), *n)).collect();
    assert_eq!(plan, expected);
}

#[test]
fn a_flood_to_one_destination_leaves_room_for_others() {
    let mut planner = Planner::new(QueueSettings {
        connections_initial: 8,
        ..settings()
    });
    let plan = claim(
        &mut planner,
        START,
        &[
            away("flood.test", 100_000),
            away("a.test", 3),
            away("b.test", 9),
        ],
    );
    // 32 is what eight connections may have in hand; 35 letters are the whole room of who has not
    // answered yet.
    plan_is(&plan, &[("flood.test", 23), ("a.test", 3), ("b.test", 9)]);
}

#[test]
fn who_has_letters_in_hand_waits_for_who_has_none() {
    let mut planner = Planner::new(QueueSettings {
        connections_initial: 8,
        ..settings()
    });
    let plan = claim(&mut planner, START, &[away("flood.test", 1_000)]);
    plan_is(&plan, &[("flood.test", 32)]);
    // Three places are left, and they go to the newcomer though the flood has waited longer.
    let plan = claim(
        &mut planner,
        START,
        &[away("flood.test", 968), away("late.test", 20)],
    );
    plan_is(&plan, &[("late.test", 3)]);
    let plan = claim(
        &mut planner,
        START,
        &[away("flood.test", 968), away("last.test", 1)],
    );
    plan_is(&plan, &[]);
    assert_eq!(planner.in_hand(), (0, 35));
}

#[test]
fn of_equals_the_longest_waiting_comes_first() {
    let mut planner = Planner::new(QueueSettings {
        letters_in_hand_max: 1,
        ..settings()
    });
    let mut young = away("a.test", 5);
    young.oldest = START + Duration::from_secs(1);
    let plan = claim(&mut planner, START, &[young, away("z.test", 5)]);
    plan_is(&plan, &[("z.test", 1)]);
}

#[test]
fn local_letters_have_a_room_of_their_own() {
    let mut planner = Planner::new(QueueSettings {
        connections_initial: 8,
        connections_per_destination_max: 100,
        ..settings()
    });
    let plan = claim(
        &mut planner,
        START,
        &[
            away("x.test", 32),
            away("y.test", 32),
            due("here.test", Place::Here, 50),
        ],
    );
    plan_is(&plan, &[("x.test", 18), ("y.test", 17), ("here.test", 30)]);
    // All thirty start at once, though other servers hold every connection.
    assert_eq!(starts(&mut planner, START, "x.test"), 8);
    assert_eq!(starts(&mut planner, START, "y.test"), 1, "nine in all");
    assert_eq!(starts(&mut planner, START, "here.test"), 30);
}

#[test]
fn the_window_grows_with_success_up_to_the_limit_and_halves_with_trouble() {
    let mut planner = Planner::new(settings());
    let name = domain("a.test");
    claim(&mut planner, START, &[away("a.test", 100)]);
    assert_eq!(starts(&mut planner, START, "a.test"), 2);
    finish(&mut planner, START, &name, Verdict::Took);
    assert_eq!(
        starts(&mut planner, START, "a.test"),
        2,
        "one ended, one more"
    );
    for _ in 0..20 {
        claim(&mut planner, START, &[away("a.test", 100)]);
        finish(&mut planner, START, &name, Verdict::Took);
        starts(&mut planner, START, "a.test");
    }
    let window = |planner: &Planner| planner.destinations[&name].flow.window();
    assert_eq!(window(&planner), 8, "at the limit");
    assert_eq!(planner.destinations[&name].active, 8);
    finish(&mut planner, START, &name, struggled(Trouble::REFUSAL));
    assert_eq!(window(&planner), 4);
    for _ in 0..5 {
        finish(&mut planner, START, &name, struggled(Trouble::REFUSAL));
    }
    assert_eq!(window(&planner), 1, "never none");
    finish(&mut planner, START, &name, Verdict::Answered);
    assert_eq!(window(&planner), 1, "an answer alone does not widen it");
}

#[test]
fn the_connections_of_other_nodes_count() {
    let settings = QueueSettings {
        connections_initial: 8,
        ..settings()
    };
    let mut planner = Planner::new(settings);
    let mut work = away("busy.test", 100);
    let mut plan = |planner: &mut Planner, nodes, letters| {
        work.elsewhere = OtherNodes { nodes, letters };
        claim(planner, START, &[work.clone()]);
        let started = starts(planner, START, "busy.test");
        for _ in 0..started {
            finish(planner, START, &work.domain, Verdict::Answered);
        }
        started
    };
    // Four letters in hand are counted as one connection.
    assert_eq!(plan(&mut planner, 1, 8), 6);
    // Two nodes that have more than fits both go back to their half, three to their third.
    assert_eq!(plan(&mut planner, 1, 40), 4);
    assert_eq!(plan(&mut planner, 2, 80), 3);
    assert_eq!(plan(&mut planner, 99, 8_000), 1);
    assert_eq!(plan(&mut planner, 0, 0), 8);
}

#[test]
fn a_destination_that_is_down_is_blocked_and_its_letters_are_deferred() {
    let mut planner = Planner::new(settings());
    let name = domain("dead.test");
    claim(&mut planner, START, &[away("dead.test", 500)]);
    assert_eq!(starts(&mut planner, START, "dead.test"), 2);
    finish(&mut planner, START, &name, down());
    let until = START + planner.settings.retry_first * 4 / 5;
    let admission = planner.admit(START, &name);
    assert!(
        matches!(&admission, Admission::Defer { until: at, failure } if *at == until && failure.text == "connection refused"),
        "{admission:?}"
    );
    finish(&mut planner, START, &name, Verdict::NotTried);
    // The second of the two that were under way tells nothing new.
    finish(&mut planner, START, &name, down());
    assert_eq!(planner.destinations[&name].failures, 1);
    // What is due meanwhile is claimed in larger lots and deferred.
    let in_hand = planner.destinations[&name].in_hand;
    assert_eq!(in_hand, 5);
    let plan = planner.plan(START, &[away("dead.test", 495)]);
    let expected = [(name.clone(), Lane::default(), 15)];
    assert_eq!(plan, expected, "up to half of the room of the node");
    assert!(planner.is_crowded());
    assert_eq!(planner.blocked(START), 1);
}

#[test]
fn one_letter_finds_out_whether_a_destination_is_back() {
    let mut planner = Planner::new(settings());
    let name = domain("dead.test");
    claim(&mut planner, START, &[away("dead.test", 1)]);
    assert_eq!(starts(&mut planner, START, "dead.test"), 1);
    finish(&mut planner, START, &name, down());
    let first = planner.destinations[&name].blocked_until();

    let plan = claim(&mut planner, first, &[away("dead.test", 50)]);
    plan_is(&plan, &[("dead.test", 1)]);
    assert_eq!(starts(&mut planner, first, "dead.test"), 1);
    finish(&mut planner, first, &name, down());
    let second = planner.destinations[&name].blocked_until();
    assert_eq!(
        second.since(first),
        first.since(START) * 2,
        "longer each time"
    );

    let before = second - Duration::from_millis(1);
    assert_eq!(planner.blocked(before), 1);
    assert_eq!(planner.blocked(second), 0);
    let plan = claim(&mut planner, second, &[away("dead.test", 50)]);
    plan_is(&plan, &[("dead.test", 1)]);
    assert_eq!(starts(&mut planner, second, "dead.test"), 1);
    finish(&mut planner, second, &name, Verdict::Took);
    let plan = claim(&mut planner, second, &[away("dead.test", 49)]);
    plan_is(&plan, &[("dead.test", 12)]);
    assert_eq!(starts(&mut planner, second, "dead.test"), 3);
}

#[test]
fn wants_more_only_with_room() {
    let mut planner = Planner::new(settings());
    let name = domain("a.test");
    assert!(!planner.wants_more(START, &name), "it is not known");
    claim(&mut planner, START, &[away("a.test", 100)]);
    assert_eq!(planner.in_hand(), (0, 8));
    assert!(!planner.wants_more(START, &name), "the hands are full");
    starts(&mut planner, START, "a.test");
    for _ in 0..4 {
        finish(&mut planner, START, &name, Verdict::Answered);
        starts(&mut planner, START, "a.test");
    }
    assert!(planner.wants_more(START, &name), "half is done");
    let slow = (domain("slow.test"), Lane::default());
    planner.claimed(START, (&slow.0, &slow.1), Place::Elsewhere, 35);
    assert!(
        planner.wants_more(START, &name),
        "the others hold much, and not all"
    );
    planner.claimed(START, (&slow.0, &slow.1), Place::Elsewhere, 1);
    assert!(
        !planner.wants_more(START, &name),
        "the node has its hands full"
    );
    planner.released((&slow.0, &slow.1));
    assert!(planner.wants_more(START, &name));
}

#[test]
fn limits_hold_at_the_limit_and_beyond() {
    let mut planner = Planner::new(QueueSettings {
        connections_initial: 5,
        ..settings()
    });
    let works: Vec<_> = (0..50).map(|n| away(&format!("d{n}.test"), 2)).collect();
    let plan = claim(&mut planner, START, &works);
    // None of them has answered yet: they leave an eighth of everything to those that have.
    assert_eq!(plan.iter().map(|(_, n)| n).sum::<usize>(), 35);
    assert_eq!(plan.len(), 35, "one for each before two for any");
    let started: usize = plan
        .iter()
        .map(|(name, _)| starts(&mut planner, START, name))
        .sum();
    assert_eq!(started, 9, "as many as there are connections");
    finish(&mut planner, START, &domain(&plan[0].0), Verdict::Took);
    assert_eq!(starts(&mut planner, START, &plan[20].0), 1);
    assert_eq!(starts(&mut planner, START, &plan[21].0), 0);
    claim(&mut planner, START, &[away(&plan[0].0, 9)]);
    assert_eq!(
        starts(&mut planner, START, &plan[0].0),
        1,
        "it has answered"
    );
    assert_eq!(starts(&mut planner, START, &plan[0].0), 0);
}

#[test]
fn idle_destinations_are_forgotten_and_dead_ones_remembered_for_a_while() {
    let mut planner = Planner::new(settings());
    claim(
        &mut planner,
        START,
        &[away("a.test", 1), away("dead.test", 1)],
    );
    for (name, verdict) in [("a.test", Verdict::Took), ("dead.test", down())] {
        assert_eq!(starts(&mut planner, START, name), 1);
        finish(&mut planner, START, &domain(name), verdict);
    }
    assert!(planner.plan(START, &[]).is_empty());
    assert_eq!(planner.destinations.len(), 2);
    let later = START + WINDOW_REMEMBERED;
    assert!(planner.plan(later, &[]).is_empty());
    assert_eq!(planner.destinations.len(), 1);
    let late = planner.destinations[&domain("dead.test")].blocked_until() + FAILURES_REMEMBERED;
    assert!(
        planner
            .plan(late - Duration::from_millis(1), &[])
            .is_empty()
    );
    assert_eq!(planner.destinations.len(), 1);
    assert!(planner.plan(late, &[]).is_empty());
    assert!(planner.destinations.is_empty());
}

/// Any order of events keeps the books: what is in hand is what was claimed and not ended, and no
/// limit is passed.
#[test]
fn the_books_are_kept_in_any_order_of_events() {
    let entropy = Counting::default();
    let mut planner = Planner::new(settings());
    let names = ["a.test", "b.test", "c.test", "d.test"].map(domain);
    let place = |index: usize| match index {
        0 => Place::Here,
        _ => Place::Elsewhere,
    };
    // For each destination: letters in hand, and of those started.
    let mut books = [(0_usize, 0_usize); 4];
    let mut now = START;
    for _ in 0..20_000 {
        let random = usize::try_from(entropy.next_u64() % 1_000).unwrap();
        let index = random % 4;
        let (in_hand, active) = &mut books[index];
        match random / 4 % 5 {
            0 => {
                let work = due(names[index].as_str(), place(index), random);
                for (domain, lane, letters) in planner.plan(now, &[work]) {
                    planner.claimed(now, (&domain, &lane), place(index), letters);
                    *in_hand += letters;
                }
            }
            1 if *in_hand > *active => {
                if planner.admit(now, &names[index]) != Admission::Wait {
                    *active += 1;
                }
            }
            2 if *in_hand > *active => {
                planner.released((&names[index], &Lane::default()));
                *in_hand -= 1;
            }
            3 if *active > 0 => {
                let verdicts = [
                    Verdict::Took,
                    Verdict::Answered,
                    struggled(Trouble::REFUSAL),
                    Verdict::NotTried,
                    down(),
                ];
                finish(
                    &mut planner,
                    now,
                    &names[index],
                    verdicts[random % 5].clone(),
                );
                *active -= 1;
                *in_hand -= 1;
            }
            _ => now = now + Duration::from_millis(random as u64),
        }
        let here = books[0].0;
        let elsewhere: usize = books[1..].iter().map(|(in_hand, _)| in_hand).sum();
        assert_eq!(planner.in_hand(), (here, elsewhere));
        assert!(here <= 30 && elsewhere <= 40, "{here} {elsewhere}");
    }
    assert!(books.iter().any(|(in_hand, _)| *in_hand > 0));
}

/// A domain that becomes ours while letters for it are in hand.
#[test]
fn a_domain_that_moves_leaves_nothing_counted_for_its_tenants() {
    let mut planner = Planner::new(settings());
    let work = from("a.test", "red.test", 1, 2);
    let key = (&work.domain, &work.lane);
    planner.claimed(START, key, Place::Elsewhere, 1);
    planner.claimed(START, key, Place::Here, 1);
    assert_eq!(planner.tenants["red.test"], 2);
    planner.released(key);
    planner.released(key);
    assert!(planner.tenants.is_empty(), "{:?}", planner.tenants);
    // And the other way round.
    planner.claimed(START, key, Place::Here, 1);
    planner.claimed(START, key, Place::Elsewhere, 1);
    planner.released(key);
    planner.released(key);
    assert!(planner.tenants.is_empty(), "{:?}", planner.tenants);
}
