//! The same scripts and letters through `sieve-test` of Pigeonhole, the Sieve of Dovecot. Where it
//! decides otherwise the case is named here, with the reason.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::Command;

use pennyblack_sieve::{Note, Redirect, What};
use tempfile::TempDir;

use crate::scenarios;
use crate::support::{Scene, address};

/// A folder with what `sieve-test` needs.
struct Pigeonhole {
    folder: TempDir,
}

/// What came out, in a form that both can be brought into: one text for each action.
type Came = BTreeSet<String>;

impl Pigeonhole {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path();
        let open = |path: PathBuf, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for name in ["mail", "home", "run"] {
            std::fs::create_dir(path.join(name)).unwrap();
            open(path.join(name), 0o777);
        }
        open(path.to_owned(), 0o777);
        // It refuses to look at mail as root.
        let owner = path.metadata().unwrap();
        let (uid, gid) = if owner.uid() == 0 {
            (65_534, 65_534)
        } else {
            (owner.uid(), owner.gid())
        };
        let path_text = path.display();
        let config = format!(
            "mail_location = maildir:{path_text}/mail\nmail_home = {path_text}/home\nbase_dir = {path_text}/run\n\
             ssl = no\nmail_uid = {uid}\nmail_gid = {gid}\nfirst_valid_uid = 1\nlog_path = /dev/stderr\n\
             plugin {{\n  sieve_extensions = +editheader\n  sieve_max_actions = 0\n  recipient_delimiter = +\n\
             sieve_editheader_max_header_size = 4k\n}}\n"
        );
        std::fs::write(path.join("conf"), config).unwrap();
        Self { folder }
    }

    fn run(&self, scene: &Scene, script: &str) -> Came {
        let path = |name: &str| self.folder.path().join(name);
        std::fs::write(path("script.sieve"), script).unwrap();
        std::fs::write(path("letter.eml"), &scene.letter).unwrap();
        let recipient = scene.recipient.as_ref().unwrap().to_string();
        let reverse_path = scene.reverse_path.as_ref().unwrap().to_string();
        let output = Command::new("sieve-test")
            .arg("-c")
            .arg(path("conf"))
            .args([
                "-f",
                &reverse_path,
                "-r",
                "bob@black.test",
                "-a",
                &recipient,
            ])
            .arg(path("script.sieve"))
            .arg(path("letter.eml"))
            .output()
            .unwrap_or_else(|error| panic!("sieve-test, which script/setup installs: {error}"));
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        // RFC 5228 §2.10.6: after an error at run time it keeps the letter, as we do.
        if errors.contains("final result: failed; resolved with successful implicit keep") {
            return Came::from(["store INBOX".to_owned()]);
        }
        assert!(
            text.contains("Performed actions:"),
            "{text}{errors}{script}"
        );
        actions(&text)
    }
}

/// Reads the list that `sieve-test` prints.
fn actions(text: &str) -> Came {
    let mut came: Vec<String> = Vec::new();
    for line in text.lines() {
        let line = line.trim_end();
        if let Some(mailbox) = line.strip_prefix(" * store message in folder: ") {
            came.push(format!("store {mailbox}"));
        } else if let Some(to) = line.strip_prefix(" * redirect message to: ") {
            came.push(format!("redirect {}", to.trim_matches(['<', '>'])));
        } else if line == " * discard" {
            came.push("discard".to_owned());
        } else if let Some(reason) = line.strip_prefix(" * reject message with reason: ") {
            came.push(format!("reject {reason}"));
        } else if line.starts_with(" * send vacation message") {
            came.push("answer".to_owned());
        } else if line.starts_with(" * send notification") {
            came.push("notify".to_owned());
        } else if let Some(subject) = line.strip_prefix("    => subject : ")
            && let Some(last) = came.last_mut().filter(|last| *last == "answer")
        {
            let _ = write!(last, " {subject}");
        } else if let Some(flags) = line.trim_start().strip_prefix("+ add IMAP flags: ")
            && let Some(last) = came.last_mut()
        {
            *last += &with_flags(flags.split_whitespace());
        }
    }
    came.into_iter().collect()
}

fn with_flags<'f>(flags: impl Iterator<Item = &'f str>) -> String {
    let flags: BTreeSet<String> = flags.map(str::to_lowercase).collect();
    flags.iter().map(|flag| format!(" {flag}")).collect()
}

/// Our outcome in the same form.
fn ours(scene: &Scene, script: &str) -> Came {
    let outcome = scene.outcome(script).0;
    let one = |what: &What| match what {
        What::Keep { flags, .. } => format!(
            "store INBOX{}",
            with_flags(flags.iter().map(String::as_str))
        ),
        What::FileInto(target) => {
            format!(
                "store {}{}",
                target.mailbox,
                with_flags(target.flags.iter().map(String::as_str))
            )
        }
        What::Redirect(Redirect::Address(address)) => format!("redirect {address}"),
        What::Redirect(Redirect::List(list)) => format!("redirect {list}"),
        What::Discard => "discard".to_owned(),
        What::Reject { reason, .. } => format!("reject {reason}"),
        What::Vacation(answer) => format!("answer {}", answer.subject),
        What::Notify(_) => "notify".to_owned(),
    };
    outcome
        .actions
        .iter()
        .map(|action| one(&action.what))
        .collect()
}

#[test]
fn scenarios() {
    let pigeonhole = Pigeonhole::new();
    for scenario in scenarios::all() {
        // No argument of `sieve-test` names the null reverse-path.
        if scenario.scene.reverse_path.is_none() {
            continue;
        }
        let mut theirs = pigeonhole.run(&scenario.scene, &scenario.script);
        // It lists what scripts ask for; whether there is an answer it decides afterwards.
        let outcome = scenario.scene.outcome(&scenario.script).0;
        let no_answer = |note: &Note| note.text.starts_with("no automatic answer");
        if outcome.notes.iter().any(no_answer) {
            let before = theirs.len();
            theirs.retain(|action| !action.starts_with("answer"));
            assert_ne!(theirs.len(), before, "{}", scenario.name);
        }
        let ours = ours(&scenario.scene, &scenario.script);
        assert_eq!(ours, theirs, "{}", scenario.name);
    }
}

/// Letters on which all tests are tried.
const LETTERS: &[&str] = &[
    crate::support::LETTER,
    "From: =?utf-8?q?J=C3=B6rg?= <joerg@x.test>\nTo: list: a@x.test, \"B, C\" <b+c@Y.test>;, d@z.test\nCc: \n\
     Subject:   =?iso-8859-1?q?Gr=FC=DFe?= =?utf-8?b?IGF1cyBLw7Zsbg==?=\nX-Num: 10\nX-Num: 9\nX-Empty:\n\
     Date: Sun, 1 Mar 2026 00:30:00 +0100\nReceived: from a by b; Sat, 28 Feb 2026 23:31:00 +0000\nReceived: from c by a;\n Sat, 28 Feb 2026 23:30:30 -0230\n\n\
     Hello World\n\nbye\n",
    "From: a@x.test\nTo: bob@black.test\nSubject: parts\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n\
     preamble\n--b\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nGr=FC=DFe World\n\
     --b\nContent-Type: text/html\n\n<p>Hello <b>big</b> World</p>\n--b\nContent-Type: application/pdf; name=\"x.pdf\"\n\
     Content-Disposition: attachment; filename=\"Virus.EXE\"\nContent-Transfer-Encoding: base64\n\nU0VDUkVU\n--b--\n",
    "Subject: only this\n\n",
];

/// Tests of all kinds; the number of one that is true becomes the name of a mailbox.
const TESTS: &[&str] = &[
    "header :contains \"subject\" \"lunch\"",
    "header :is \"subject\" \"THE LUNCH ON FRIDAY\"",
    "header :is \"subject\" \"Grüße aus Köln\"",
    "header :contains \"subject\" \"GRüße\"",
    "header :matches \"subject\" \"*l?nch*\"",
    "header :matches \"subject\" \"\"",
    "header :matches \"x-empty\" \"*\"",
    "header :is \"x-empty\" \"\"",
    "header :contains \"x-none\" \"\"",
    "header :contains [\"x-none\", \"from\"] [\"zzz\", \"@X\"]",
    "header :comparator \"i;octet\" :contains \"subject\" \"LUNCH\"",
    "header :comparator \"i;octet\" :contains \"subject\" \"lunch\"",
    "header :is \"from\" \"a@x.test\"",
    "exists [\"from\", \"to\"]",
    "exists \"cc\"",
    "exists \"x-empty\"",
    "not exists \"date\"",
    "size :over 300",
    "size :under 40",
    "size :over 0",
    "address :all \"from\" \"alice+home@red.test\"",
    "address :domain \"to\" \"y.test\"",
    "address :localpart \"to\" \"b+c\"",
    "address :is \"to\" [\"d@z.test\", \"carol@black.test\"]",
    "address :contains \"from\" \"Jörg\"",
    "address :domain :contains [\"to\", \"cc\"] \"GREEN\"",
    "address :matches :all \"to\" \"*@*.test\"",
    "address :user \"to\" \"b\"",
    "address :detail \"to\" \"c\"",
    "address :detail \"from\" \"home\"",
    "address :detail :matches \"to\" \"*\"",
    "address :user \"from\" \"alice\"",
    "envelope \"from\" \"alice@red.test\"",
    "envelope :domain \"to\" \"black.test\"",
    "envelope :detail \"to\" \"orders\"",
    "envelope :localpart :matches \"from\" \"al*\"",
    "header :value \"gt\" :comparator \"i;ascii-numeric\" \"x-num\" \"9\"",
    "header :value \"eq\" :comparator \"i;ascii-numeric\" \"x-num\" \"09\"",
    "header :value \"lt\" \"subject\" \"p\"",
    "header :value \"ge\" \"subject\" \"parts\"",
    "header :value \"ne\" \"subject\" \"PARTS\"",
    "header :count \"eq\" :comparator \"i;ascii-numeric\" \"x-num\" \"2\"",
    "header :count \"ge\" :comparator \"i;ascii-numeric\" [\"received\", \"to\"] \"2\"",
    "address :count \"ge\" :comparator \"i;ascii-numeric\" \"to\" \"3\"",
    "header :comparator \"i;ascii-numeric\" :is \"x-num\" \"0010\"",
    "header :comparator \"i;ascii-numeric\" :is \"subject\" \"only\"",
    "header :index 1 \"x-num\" \"10\"",
    "header :index 1 :last \"x-num\" \"10\"",
    "header :index 3 :contains \"x-num\" \"\"",
    "date :originalzone \"date\" \"hour\" \"07\"",
    "date :originalzone \"date\" \"date\" \"2026-03-01\"",
    "date :zone \"+0000\" \"date\" \"date\" \"2026-02-28\"",
    "date :zone \"+0000\" \"date\" \"weekday\" \"6\"",
    "date :zone \"+0000\" \"received\" \"time\" \"23:31:00\"",
    "date :zone \"+0000\" :index 1 :last \"received\" \"iso8601\" \"2026-03-01T02:00:30Z\"",
    "date :zone \"+0100\" \"date\" \"julian\" \"61100\"",
    "date :originalzone \"date\" \"std11\" \"Sun, 01 Mar 2026 00:30:00 +0100\"",
    "date :originalzone :matches \"x-none\" \"year\" \"*\"",
    "date :originalzone :value \"ge\" \"date\" \"year\" \"2026\"",
    "date :originalzone \"date\" \"zone\" \"+0100\"",
    "date :originalzone \"date\" \"month\" \"03\"",
    "date :originalzone \"date\" \"second\" \"05\"",
    "body :contains \"world\"",
    "body :contains \"GRüße\"",
    "body :contains \"Hello big World\"",
    "body :raw :contains \"=FC\"",
    "body :raw :contains \"preamble\"",
    "body :content \"text/html\" :contains \"<b>big\"",
    "body :content \"text\" :contains \"SECRET\"",
    "body :content \"application/pdf\" :contains \"SECRET\"",
    "body :content \"\" :contains \"SECRET\"",
    "body :raw :matches \"*World*\"",
    "body :is \"\"",
    "header :mime :type \"content-type\" \"multipart\"",
    "header :mime :anychild :subtype \"content-type\" \"html\"",
    "header :mime :anychild :param \"filename\" :matches \"content-disposition\" \"*.exe\"",
    "header :mime :anychild :contenttype \"content-type\" \"text/plain\"",
    "header :mime :anychild :param \"charset\" \"content-type\" \"iso-8859-1\"",
    "exists :mime :anychild \"content-disposition\"",
    "exists :mime \"content-disposition\"",
    "header :regex \"subject\" \"^(the|only)\"",
    "header :regex \"subject\" \"l[uo]nch.*y$\"",
    "header :regex :comparator \"i;octet\" \"subject\" \"THE\"",
    "address :regex :domain \"to\" \"^[xy]\\\\.test$\"",
    "hasflag \"one\"",
    "hasflag :matches \"t*\"",
    "hasflag :count \"ge\" :comparator \"i;ascii-numeric\" \"2\"",
    "hasflag :contains \"v\" \"hre\"",
    "string \"${a}\" \"x\"",
    "string :matches \"${a}${none}\" \"?y\"",
    "string :count \"eq\" :comparator \"i;ascii-numeric\" [\"a\", \"\"] \"1\"",
    "anyof(false, not false)",
    "allof(true, not true)",
    "ihave [\"fileinto\", \"x-none\"]",
    "ihave \"copy\"",
    "valid_notify_method \"mailto:a@b.test\"",
    "notify_method_capability \"mailto:a@b.test\" \"online\" \"maybe\"",
];

/// Where Pigeonhole says otherwise: the test, the letter, and why.
const DIFFERENT: &[(&str, usize, &str)] = &[(
    "body :contains \"Hello big World\"",
    2,
    "it puts a space in place of each tag of HTML, so that words have two between them; RFC 5173 §5.3 \
     leaves it to the engine",
)];

#[test]
fn single_tests() {
    let pigeonhole = Pigeonhole::new();
    let mut script = "require [\"fileinto\", \"copy\", \"envelope\", \"subaddress\", \"relational\", \"comparator-i;ascii-numeric\", \"index\", \
        \"date\", \"body\", \"mime\", \"regex\", \"imap4flags\", \"variables\", \"ihave\", \"enotify\"];\n\
        set \"a\" \"xy\"; setflag \"v\" \"one two three\"; addflag \"One two\";\n"
        .to_owned();
    for (at, test) in TESTS.iter().enumerate() {
        let _ = writeln!(
            script,
            "if {test} {{ fileinto :copy :flags \"\" \"{at:03}\"; }}"
        );
    }
    let mut wrong = String::new();
    for (number, letter) in LETTERS.iter().enumerate() {
        let mut scene = Scene::letter(letter);
        scene.limits.actions_max = 1_000;
        scene.reverse_path = Some(address("alice@red.test"));
        let (theirs, ours) = (pigeonhole.run(&scene, &script), ours(&scene, &script));
        assert!(theirs.len() > 15, "{theirs:?}");
        for (at, test) in TESTS.iter().enumerate() {
            let name = format!("store {at:03}");
            let differs = ours.contains(&name) != theirs.contains(&name);
            let known = DIFFERENT
                .iter()
                .any(|(known, letter, _)| known == test && *letter == number);
            if differs != known {
                let _ = writeln!(
                    wrong,
                    "letter {number}: {test}: ours {}, theirs {}",
                    ours.contains(&name),
                    theirs.contains(&name)
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn wildcards_take_the_same() {
    // Without `?`: Pigeonhole takes one octet for it where RFC 5228 §2.7.1 says a character, matches
    // "?b*" with "Bac", and ends its process on "*?b" with "a". Those are compared with a matcher
    // that tries everything (`matching::glob`). Small alphabets make patterns meet; the numbers
    // come from a generator, the same in every run.
    let mut state = 7_u64;
    let mut next = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut text = |alphabet: &[&str], length: u64| -> String {
        let length = next(length) + 1;
        (0..length)
            .map(|_| alphabet[usize::try_from(next(alphabet.len() as u64)).unwrap()])
            .collect()
    };
    let pigeonhole = Pigeonhole::new();
    let mut matched = 0;
    for _ in 0..4 {
        let values: Vec<String> = (0..10).map(|_| text(&["a", "b", "é", "B"], 8)).collect();
        let letter: String = values
            .iter()
            .enumerate()
            .map(|(at, value)| format!("X-{at}: {value}\n"))
            .collect();
        let mut script = "require [\"fileinto\", \"copy\", \"variables\"];\n".to_owned();
        for number in 0..300 {
            let pattern = text(&["a", "b", "*", "é", "*"], 6);
            let field = number % values.len();
            let _ = writeln!(
                script,
                "if header :matches \"x-{field}\" \"{pattern}\" {{ fileinto :copy \"{number}:${{0}}|${{1}}|${{2}}|${{3}}|${{4}}|${{5}}\"; }}"
            );
        }
        let mut scene = Scene::letter(&format!("{letter}\nx"));
        scene.limits.actions_max = 1_000;
        let ours = ours(&scene, &script);
        matched += ours.len();
        let theirs = pigeonhole.run(&scene, &script);
        if let Some(only) = ours.symmetric_difference(&theirs).next() {
            let number = only.trim_start_matches("store ").split(':').next().unwrap();
            let line = script
                .lines()
                .find(|line| line.contains(&format!("\"{number}:")));
            panic!("{only}: {line:?}");
        }
    }
    assert!(matched > 100, "{matched}");
}

#[test]
fn actions_add_up_the_same() {
    const COMMANDS: &[&str] = &[
        "keep;",
        "keep :flags \"a\";",
        "fileinto \"A\";",
        "fileinto :copy \"A\";",
        "fileinto :flags [\"b\", \"c\"] \"B\";",
        "fileinto :copy :flags \"\" \"C\";",
        "redirect \"x@y.test\";",
        "redirect :copy \"z@y.test\";",
        "discard;",
        "addflag \"x\";",
        "addflag [\"X\", \"y w\"];",
        "setflag \"y z\";",
        "removeflag \"X\";",
        "if hasflag \"y\" { fileinto \"D\"; }",
        "if true { keep; } else { discard; }",
        "if hasflag \"none\" { stop; } elsif hasflag \"w\" { stop; }",
        "set \"v\" \"${v}a\";",
        "if string \"${v}\" \"aa\" { fileinto :copy \"E-${v}\"; }",
    ];
    let mut state = 11_u64;
    let mut next = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let pigeonhole = Pigeonhole::new();
    let scene = Scene {
        reverse_path: Some(address("alice@red.test")),
        ..Scene::default()
    };
    for _ in 0..25 {
        let mut script =
            "require [\"fileinto\", \"copy\", \"imap4flags\", \"variables\"];\n".to_owned();
        for _ in 0..next(7) + 1 {
            script += COMMANDS[next(COMMANDS.len())];
            script.push('\n');
        }
        let mut theirs = pigeonhole.run(&scene, &script);
        // It lists a `discard` beside what is done with the letter; we leave it out.
        if theirs.len() > 1 {
            theirs.remove("discard");
        }
        assert_eq!(ours(&scene, &script), theirs, "{script}");
    }
}
