//! Whatever a script or a letter holds: no panic, an outcome that keeps the letter somewhere or says
//! that the script wanted otherwise, and the same outcome each time.

use message::Message;
use pennyblack_sieve::{
    Answers, Capabilities, Included, Limits, Need, Outcome, Question, Run, Scores, Script, edited,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::{LETTER, Scene};

/// Pieces of scripts: put together they come far more often near to a right script than bytes do.
const PIECES: &[&str] = &[
    "if ",
    "elsif ",
    "else ",
    "not ",
    "anyof(",
    "allof(",
    "true",
    "false",
    ", ",
    ") ",
    "{ ",
    "} ",
    ";\n",
    "keep",
    "discard",
    "stop",
    "fileinto ",
    "redirect ",
    "set ",
    "addflag ",
    "vacation ",
    "notify ",
    "addheader ",
    "deleteheader ",
    "foreverypart ",
    "break",
    "extracttext ",
    "replace ",
    "enclose ",
    "include ",
    "return",
    "error ",
    "header ",
    "address ",
    "envelope ",
    "exists ",
    "size ",
    "body ",
    "date ",
    "currentdate ",
    "string ",
    "hasflag ",
    "duplicate ",
    "mailboxexists ",
    "environment ",
    "spamtest ",
    "ihave ",
    "x_unknown ",
    ":is ",
    ":contains ",
    ":matches ",
    ":regex ",
    ":value \"gt\" ",
    ":count \"ge\" ",
    ":list ",
    ":index 2 ",
    ":last ",
    ":mime ",
    ":anychild ",
    ":param \"x\" ",
    ":copy ",
    ":create ",
    ":flags ",
    ":over ",
    ":comparator ",
    "\"i;octet\" ",
    "\"subject\" ",
    "\"from\" ",
    "\"a@b.test\" ",
    "\"*\" ",
    "\"?*?\" ",
    "\"${1}${a}\" ",
    "\"a\" ",
    "[\"to\", \"x\"] ",
    "[\"a\", ",
    "]",
    "10 ",
    "99999999999K ",
    "text:\nx\n.\n",
    "text: ",
    "\"${hex:41}\" ",
    "\"mailto:a@b.test\" ",
    "# c\n",
    "/* c */ ",
    "/*",
    "\"",
    "\\",
    "é",
    "\u{0}",
    "(((((",
    "{{{{",
    ":",
];

const ALL: &str = "require [\"fileinto\", \"reject\", \"envelope\", \"body\", \"variables\", \"vacation\", \"relational\", \
    \"copy\", \"imap4flags\", \"date\", \"index\", \"editheader\", \"mailbox\", \"duplicate\", \"include\", \"enotify\", \
    \"environment\", \"regex\", \"foreverypart\", \"mime\", \"extracttext\", \"replace\", \"enclose\", \"extlists\", \
    \"spamtest\", \"encoded-character\", \"fcc\"";

/// Runs to the end, with answers of all kinds.
fn run(script: &Script, raw: &[u8], limits: &Limits) -> Outcome {
    let scene = Scene::default();
    let letter = Message::parse(raw);
    let run = Run {
        letter: &letter,
        reverse_path: scene.reverse_path.as_ref(),
        recipient: scene.recipient.as_ref(),
        user: &scene.user,
        now: scene.now,
        environment: &scene.environment,
        scores: Scores::default(),
        limits,
    };
    let mut answers = Answers::default();
    for _ in 0..=limits.questions_max {
        match script.run(&run, &answers) {
            Ok(outcome) => {
                assert_eq!(
                    script.run(&run, &answers).as_ref(),
                    Ok(&outcome),
                    "the same each time"
                );
                return outcome;
            }
            // Each script includes itself, by another name.
            Err(Need(Question::Script { global, name })) => {
                answers.script(global, name, Included::Script(script.clone()))
            }
            Err(Need(question)) => {
                let yes = format!("{question:?}").len() % 2 == 0;
                answers.insert(question, yes);
            }
        }
    }
    panic!("more questions than the limit");
}

/// What must hold of every outcome.
fn check(outcome: &Outcome, raw: &[u8], limits: &Limits) {
    assert!(!outcome.actions.is_empty());
    assert!(outcome.actions.len() <= limits.actions_max + 1);
    assert!(outcome.steps <= limits.steps_max + 1);
    if outcome.error.is_some() {
        assert_eq!(outcome.actions.len(), 1);
        assert!(outcome.is_stored());
    }
    for action in &outcome.actions {
        assert!(action.edits <= outcome.edits.len());
    }
    let letter = edited(raw, &outcome.edits);
    if outcome.edits.is_empty() {
        assert_eq!(letter, raw);
    }
    let _ = Message::parse(&letter);
}

fn try_script(text: &str, raw: &[u8]) {
    let limits = Limits {
        steps_max: 2_000,
        work_bytes_max: 4 * 1024 * 1024,
        questions_max: 12,
        ..Limits::default()
    };
    match Script::compile(text, Capabilities::all(), &limits) {
        Ok(script) => check(&run(&script, raw, &limits), raw, &limits),
        Err(errors) => {
            assert!(!errors.0.is_empty() && errors.0.len() <= limits.errors_max);
            let lines = text.split('\n').count();
            for error in &errors.0 {
                assert!((1..=lines).contains(&(error.line as usize)), "{error}");
                let line = text.split('\n').nth(error.line as usize - 1).unwrap();
                assert!(
                    (1..=line.chars().count() + 1).contains(&(error.column as usize)),
                    "{error}"
                );
                assert!(
                    !error.text.is_empty() && !error.text.ends_with('.'),
                    "{error}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_a_script_or_an_error(text in ".{0,200}") {
        try_script(&text, LETTER.as_bytes());
    }

    #[test]
    fn pieces_of_scripts(pieces in vec(0..PIECES.len(), 0..60), with_require in any::<bool>()) {
        let mut text = if with_require { format!("{ALL}];\n") } else { format!("{ALL}, \"ihave\"];\n") };
        text.extend(pieces.iter().map(|at| PIECES[*at]));
        try_script(&text, LETTER.as_bytes());
    }

    #[test]
    fn any_letter(raw in vec(any::<u8>(), 0..600), header in "[ -~\r\n\u{e9}]{0,200}") {
        let raw = [header.as_bytes(), b"\r\n\r\n", &raw].concat();
        for script in RIGHT {
            try_script(&format!("{ALL}];\n{script}"), &raw);
        }
    }

    #[test]
    fn changed_scripts(script in 0..RIGHT.len(), at in any::<prop::sample::Index>(), piece in 0..PIECES.len(), cut in 0_usize..8) {
        let text = format!("{ALL}];\n{}", RIGHT[script]);
        let start = text.floor_char_boundary(at.index(text.len()));
        let end = text.floor_char_boundary((start + cut).min(text.len()));
        let changed = format!("{}{}{}", &text[..start], PIECES[piece], &text[end.max(start)..]);
        try_script(&changed, LETTER.as_bytes());
    }
}

/// Scripts that use most of the language.
const RIGHT: &[&str] = &[
    "foreverypart { foreverypart { extracttext \"t\"; } if header :mime :anychild :param [\"a\", \"charset\"] :matches \"content-type\" \"*?\" { replace \"${1}\"; } }",
    "foreverypart { replace :mime text:\nX: y\n\nz\n.\n; } enclose :subject \"${0}\" \"x\"; addheader :last \"A\" \"é\"; deleteheader :matches \"subject\" \"*\";",
    "replace :subject \"s\" :from \"a@b.test\" \"x\"; deleteheader \"From\"; addheader \"To\" \"x\"; enclose \"y\"; enclose \"z\";",
    "if address :regex [\"from\", \"to\"] \"^(.*)@\" { set \"a\" \"${1}\"; } if body :contains [\"${a}\", \"x\"] { discard; } vacation \"${a}\"; notify \"mailto:a@b.test\";",
    "if date :index 1 :last :originalzone \"date\" \"iso8601\" \"x\" { keep; } if allof(duplicate, exists \"a\") { stop; } include \"a\"; include \"b\"; setflag \"a b\";",
    "if header :matches [\"subject\", \"x\", \"from\"] [\"*a*?b*\", \"**?\", \"\\\\*?\"] { fileinto \"${2}${1}\"; } if body :raw :matches \"*?x*?y*\" { reject \"x\"; }",
    "if body :content [\"\", \"text\", \"message/rfc822\", \"multipart\"] :count \"ge\" \"1\" { set :quotewildcard :upper \"a\" \"${0}\"; } if string :matches \"${a}\" \"${a}\" { keep; }",
];
