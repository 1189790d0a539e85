//! The demo does what it says: each command that it prints is pasted into a shell.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use interop::node::built;
use interop::place::Place;
use interop::process::{Daemon, must_run, run, said, wait_for};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn every_command_that_the_demo_prints_works_when_pasted() {
    let place = Place::new();
    let mut command = Command::new(built());
    command
        .args(["demo", "--dir", "state"])
        .current_dir(place.dir());
    let mut demo = Daemon::start(&mut command, &place.path("log"));
    demo.wait_for_log("Stop with Ctrl-C", 0, LIMIT);
    let printed = demo.log();
    let commands = |program: &str| -> Vec<String> {
        let lines = printed.lines().map(str::trim);
        lines
            .filter(|line| {
                // Our own program is printed with its folder where it is not on the path.
                let first = line.split(' ').next().unwrap_or_default();
                Path::new(first).file_name() == Some(program.as_ref())
            })
            .map(str::to_owned)
            .collect()
    };
    let (swaks, curl, own) = (commands("swaks"), commands("curl"), commands("pennyblack"));
    assert!(
        !swaks.is_empty() && curl.len() >= 2 && !own.is_empty(),
        "{printed}"
    );
    for line in &swaks {
        paste(&place, line);
    }
    let letter = wait_for("the letter", LIMIT, || {
        // curl fails until the letter is there.
        let answer = said(&run(&mut shell(&place, &curl[0]), LIMIT));
        answer.contains("Subject: Hello Bob").then_some(answer)
    });
    assert!(letter.contains("Received: from"), "{letter}");
    for line in curl.iter().chain(&own) {
        paste(&place, line);
    }
    assert!(demo.interrupt(LIMIT).success(), "{}", demo.log());
}

fn paste(place: &Place, line: &str) {
    must_run(&mut shell(place, line), LIMIT);
}

/// Runs a printed line in a shell, as a person would who has just built the program.
fn shell(place: &Place, line: &str) -> Command {
    let programs = built().parent().unwrap_or_else(|| Path::new("."));
    let path = format!(
        "{}:{}",
        programs.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .current_dir(place.dir())
        .env("PATH", path);
    command
}

#[test]
fn the_demo_sends_one_letter_and_tells_its_journey() {
    let place = Place::new();
    let mut command = Command::new(built());
    command
        .args(["demo", "--send", "--dir", "state"])
        .current_dir(place.dir());
    let printed = must_run(&mut command, LIMIT);
    let steps = [
        "submitted",
        "routed",
        "connected",
        "received",
        "stored",
        "transferred",
    ];
    let mut rest = printed.as_str();
    for step in steps {
        let place = rest
            .find(step)
            .unwrap_or_else(|| panic!("no {step} in its place:\n{printed}"));
        rest = &rest[place..];
    }
}
