//! Runs a script on a letter and shows what came out, one line for each action.

use std::fmt::Write as _;

use base::{EmailAddress, Timestamp};
use message::Message;
use pennyblack_sieve::{
    Answers, Capabilities, FileInto, Included, Limits, Need, Outcome, Question, Redirect, Run,
    Scores, Script, User, What,
};

/// The letter of tests that name no other.
pub(crate) const LETTER: &str = "Received: from red.test by black.test; Tue, 24 Nov 2026 06:38:06 +0000\n\
    From: \"Alice M.\" <alice+home@red.test>\n\
    To: Bob <bob@black.test>, carol@black.test\n\
    Cc: dave@green.test\n\
    Subject: The lunch on Friday\n\
    Date: Tue, 24 Nov 2026 07:38:05 +0100\n\
    Message-ID: <1@red.test>\n\
    X-Spam: yes\n\
    \n\
    Shall we meet at noon?\n\
    \n\
    Alice\n";

/// Everything that a run depends on.
pub(crate) struct Scene {
    pub(crate) letter: Vec<u8>,
    pub(crate) reverse_path: Option<EmailAddress>,
    pub(crate) recipient: Option<EmailAddress>,
    pub(crate) user: User,
    pub(crate) now: Timestamp,
    pub(crate) environment: Vec<(&'static str, &'static str)>,
    pub(crate) scores: Scores,
    pub(crate) limits: Limits,
    /// Questions with the answer yes; others are answered no.
    pub(crate) yes: Vec<Question>,
    pub(crate) scripts: Vec<(bool, &'static str, &'static str)>,
}

pub(crate) fn address(text: &str) -> EmailAddress {
    EmailAddress::parse(text).unwrap()
}

impl Default for Scene {
    fn default() -> Self {
        let mut user = User::new(address("bob@black.test"));
        user.name = Some("Bob".into());
        user.other_addresses = vec![address("robert@black.test")];
        Self {
            letter: LETTER.replace('\n', "\r\n").into_bytes(),
            reverse_path: Some(address("alice+home@red.test")),
            recipient: Some(address("bob+orders@black.test")),
            user,
            now: Timestamp::parse("2026-11-24T23:30:05Z").unwrap(),
            environment: vec![
                ("domain", "black.test"),
                ("location", "MDA"),
                ("remote-ip", "192.0.2.7"),
            ],
            scores: Scores::default(),
            limits: Limits::default(),
            yes: Vec::new(),
            scripts: Vec::new(),
        }
    }
}

impl Scene {
    /// With another letter; line ends become CRLF.
    pub(crate) fn letter(text: &str) -> Self {
        Self {
            letter: text
                .replace("\r\n", "\n")
                .replace('\n', "\r\n")
                .into_bytes(),
            ..Self::default()
        }
    }

    pub(crate) fn compile(&self, script: &str) -> Script {
        match Script::compile(script, Capabilities::all(), &self.limits) {
            Ok(script) => script,
            Err(errors) => panic!("{errors}\n{script}"),
        }
    }

    /// Runs until all questions are answered; the questions come along.
    pub(crate) fn outcome(&self, script: &str) -> (Outcome, Vec<Question>) {
        let script = self.compile(script);
        let letter = Message::parse(&self.letter);
        let run = Run {
            letter: &letter,
            reverse_path: self.reverse_path.as_ref(),
            recipient: self.recipient.as_ref(),
            user: &self.user,
            now: self.now,
            environment: &self.environment,
            scores: self.scores,
            limits: &self.limits,
        };
        let (mut answers, mut asked) = (Answers::default(), Vec::new());
        loop {
            match script.run(&run, &answers) {
                Ok(outcome) => return (outcome, asked),
                Err(Need(question)) => {
                    assert!(!asked.contains(&question), "asked twice: {question:?}");
                    asked.push(question.clone());
                    if let Question::Script { global, name } = question {
                        let included = self.included(global, &name);
                        answers.script(global, name, included);
                    } else {
                        let yes = self.yes.contains(&question);
                        answers.insert(question, yes);
                    }
                }
            }
        }
    }

    fn included(&self, global: bool, name: &str) -> Included {
        let found = self
            .scripts
            .iter()
            .find(|(g, n, _)| *g == global && *n == name);
        match found.map(|(_, _, text)| Script::compile(text, Capabilities::all(), &self.limits)) {
            Some(Ok(script)) => Included::Script(script),
            Some(Err(errors)) => Included::Broken(errors.0[0].to_string()),
            None => Included::Missing,
        }
    }

    /// What came out.
    pub(crate) fn run(&self, script: &str) -> String {
        show(&self.outcome(script).0)
    }

    pub(crate) fn check(&self, script: &str, expected: &str) {
        assert_eq!(self.run(script), expected, "{script}");
    }

    /// Whether a test is true; `require` names what it needs.
    pub(crate) fn is(&self, require: &str, test: &str) -> bool {
        let names: Vec<String> = require
            .split_whitespace()
            .map(|name| format!("\"{name}\""))
            .collect();
        let script = format!(
            "require [\"copy\"{}];\nif {test} {{ discard; }}",
            names.iter().map(|n| format!(", {n}")).collect::<String>()
        );
        match self.run(&script).as_str() {
            "discard" => true,
            "implicit keep" => false,
            other => panic!("{test}: {other}"),
        }
    }
}

/// Runs a script on the usual letter.
pub(crate) fn check(script: &str, expected: &str) {
    Scene::default().check(script, expected);
}

/// Whether a test is true of the usual letter.
pub(crate) fn is(require: &str, test: &str) -> bool {
    Scene::default().is(require, test)
}

/// The errors of a script that does not compile.
pub(crate) fn errors(script: &str) -> String {
    match Script::compile(script, Capabilities::all(), &Limits::default()) {
        Ok(_) => "none".to_owned(),
        Err(errors) => errors.to_string(),
    }
}

pub(crate) fn show(outcome: &Outcome) -> String {
    let mut lines: Vec<String> = outcome
        .actions
        .iter()
        .map(|action| show_what(&action.what))
        .collect();
    lines.extend(
        outcome
            .notes
            .iter()
            .map(|note| format!("note: {}", note.text)),
    );
    lines.extend(outcome.error.iter().map(|error| format!("error: {error}")));
    lines.join("; ")
}

fn show_what(what: &What) -> String {
    match what {
        What::Keep { flags, implicit } => {
            let implicit = if *implicit { "implicit " } else { "" };
            format!("{implicit}keep{}", show_flags(flags))
        }
        What::FileInto(target) => format!("fileinto {}", show_target(target)),
        What::Redirect(Redirect::Address(address)) => format!("redirect {address}"),
        What::Redirect(Redirect::List(list)) => format!("redirect list {list}"),
        What::Discard => "discard".to_owned(),
        What::Reject {
            in_protocol,
            reason,
        } => {
            format!(
                "{} {reason:?}",
                if *in_protocol { "ereject" } else { "reject" }
            )
        }
        What::Vacation(answer) => {
            let mut out = format!(
                "answer {} {:?} {:?}",
                answer.to, answer.subject, answer.reason
            );
            if let Some(fcc) = &answer.fcc {
                let _ = write!(out, " fcc {}", show_target(fcc));
            }
            out
        }
        What::Notify(notification) => {
            let to: Vec<String> = notification.to.iter().map(ToString::to_string).collect();
            let mut out = format!("notify {} {:?}", to.join(","), notification.subject);
            if let Some(fcc) = &notification.fcc {
                let _ = write!(out, " fcc {}", show_target(fcc));
            }
            out
        }
    }
}

fn show_target(target: &FileInto) -> String {
    let mut out = format!("{:?}{}", target.mailbox, show_flags(&target.flags));
    if target.create {
        out += " create";
    }
    if let Some(special_use) = &target.special_use {
        let _ = write!(out, " use {special_use}");
    }
    if let Some(id) = &target.mailbox_id {
        let _ = write!(out, " id {id}");
    }
    out
}

fn show_flags(flags: &[String]) -> String {
    if flags.is_empty() {
        String::new()
    } else {
        format!(" ({})", flags.join(" "))
    }
}
