//! Each limit holds, and one less of everything passes. Beyond a limit the letter is kept.

use base::Timestamp;
use pennyblack_sieve::{Capabilities, Limits, NESTING_MAX, RUN_NESTING_MAX, Script};

use crate::support::{Scene, show};

fn with(change: impl Fn(&mut Limits)) -> Scene {
    let mut scene = Scene::default();
    change(&mut scene.limits);
    scene
}

/// That the first script passes, and the second meets this limit.
fn holds(scene: &Scene, fine: &str, more: &str, text: &str) {
    let (outcome, _) = scene.outcome(fine);
    assert_eq!(outcome.error, None, "{fine}");
    let (outcome, _) = scene.outcome(more);
    assert_eq!(
        outcome.error.as_ref().map(|e| e.text.as_str()),
        Some(text),
        "{more}"
    );
    assert!(show(&outcome).starts_with("implicit keep"));
    assert_eq!(outcome.actions.len(), 1);
    assert!(outcome.edits.is_empty() && outcome.marks.is_empty());
}

fn compile_error(script: &str, limits: &Limits) -> Option<String> {
    let errors = Script::compile(script, Capabilities::all(), limits).err()?;
    Some(errors.0[0].text.clone())
}

#[test]
fn of_compiling() {
    let limits = Limits {
        script_bytes_max: 10,
        ..Limits::default()
    };
    assert_eq!(compile_error("keep;#7890", &limits), None);
    assert_eq!(
        compile_error("keep;#78901", &limits).as_deref(),
        Some("the script is longer than 10 bytes")
    );
    let limits = Limits {
        errors_max: 2,
        ..Limits::default()
    };
    let errors = Script::compile("a; b; c;", Capabilities::all(), &limits).unwrap_err();
    assert_eq!(errors.0.len(), 2);
    let nested = |depth: usize| "if true {".repeat(depth) + "keep;" + &"}".repeat(depth);
    let usual = Limits::default();
    assert_eq!(compile_error(&nested(usual.nesting_max), &usual), None);
    assert!(compile_error(&nested(usual.nesting_max + 1), &usual).is_some());
    let wide = Limits {
        nesting_max: usize::MAX,
        ..usual
    };
    assert_eq!(compile_error(&nested(NESTING_MAX), &wide), None);
    assert!(compile_error(&nested(NESTING_MAX + 1), &wide).is_some());
}

#[test]
fn capabilities_that_a_host_turns_off() {
    let allowed = Capabilities::all().without(pennyblack_sieve::Capability::EditHeader);
    let error = |script: &str| {
        Script::compile(script, allowed, &Limits::default())
            .err()
            .map(|e| e.to_string())
    };
    assert_eq!(
        error("require \"editheader\";").as_deref(),
        Some("line 1, column 9: there is no extension \"editheader\" here")
    );
    assert_eq!(
        error("addheader \"a\" \"b\";").as_deref(),
        Some("line 1, column 1: `addheader` is not available here")
    );
    assert_eq!(
        error("require \"ihave\"; if ihave \"editheader\" { addheader \"a\" \"b\"; }"),
        None
    );
}

#[test]
fn of_steps_and_work() {
    let scene = with(|limits| limits.steps_max = 6);
    let text = "the script takes more than 6 steps";
    // Each command, each test and the `if` are a step.
    holds(
        &scene,
        "if not false { keep; keep; keep; }",
        "if not false { keep; keep; keep; keep; }",
        text,
    );
    let exact = Scene::letter("Subject: 12345\n\nx");
    let work = |bytes: u64| {
        let mut scene = Scene {
            letter: exact.letter.clone(),
            ..Scene::default()
        };
        scene.limits.work_bytes_max = bytes;
        scene
            .outcome("if header :contains \"subject\" [\"a\", \"b\"] { discard; }")
            .0
            .error
            .map(|e| e.text)
    };
    let needed = (0..100).find(|bytes| work(*bytes).is_none()).unwrap();
    // One field looked at, its value decoded, and compared twice.
    assert_eq!(needed, 8 + 6 + 5 + 2 * 6);
    assert_eq!(
        work(needed - 1).as_deref(),
        Some("the script looks at too much text")
    );
}

#[test]
fn of_nesting_over_scripts() {
    // Each of ten scripts nests 14 deep, and includes the next.
    let script = |next: &str| {
        let script = format!(
            "require \"include\";\n{}{next}{}",
            "if true {".repeat(14),
            "}".repeat(14)
        );
        Box::leak(script.into_boxed_str()) as &'static str
    };
    let mut scene = Scene::default();
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    for (at, name) in names.iter().enumerate() {
        let next = names
            .get(at + 1)
            .map(|next| format!("include \"{next}\";"))
            .unwrap_or_default();
        scene.scripts.push((false, name, script(&next)));
    }
    assert!(names.len() * 15 > RUN_NESTING_MAX);
    let outcome = scene.outcome("require \"include\"; include \"a\";").0;
    let text =
        format!("blocks, tests and included scripts are nested more than {RUN_NESTING_MAX} deep");
    assert_eq!(outcome.error.map(|e| e.text), Some(text));
    let outcome = scene.outcome("require \"include\"; include \"b\";").0;
    assert_eq!(outcome.error, None);
}

#[test]
fn of_variables() {
    let scene = with(|limits| limits.variables_max = 2);
    let script = |count: usize| {
        let sets: String = (0..count)
            .map(|n| format!("set \"v{n}\" \"a\"; set \"v{n}\" \"b\";"))
            .collect();
        format!("require \"variables\"; {sets}")
    };
    holds(
        &scene,
        &script(2),
        &script(3),
        "the script has more than 2 variables",
    );
    let length = |change: fn(&mut Limits), script: &str| {
        let script =
            format!("require [\"variables\", \"fileinto\"]; set \"a\" \"12345678\"; {script}");
        with(change).run(&script)
    };
    assert_eq!(
        length(|limits| limits.variable_bytes_max = 5, "fileinto \"${a}\";"),
        "fileinto \"12345\""
    );
    assert_eq!(
        length(
            |limits| limits.text_bytes_max = 10,
            "fileinto \"${a}${a}\";"
        ),
        "fileinto \"1234567812\""
    );
    let matched = "if header :matches \"subject\" \"* *\" { fileinto \"${0}-${2}\"; }";
    assert_eq!(
        length(|limits| limits.variable_bytes_max = 5, matched),
        "fileinto \"The l-lunch\""
    );
}

#[test]
fn doubling_a_text_ends_soon() {
    let doubling = "set \"a\" \"${a}${a}${a}${a}${a}${a}${a}${a}\"; ".repeat(1_000);
    let script = format!(
        "require [\"variables\", \"fileinto\", \"relational\"]; set \"a\" \"xxxxxxxx\"; {doubling} set :length \"n\" \"${{a}}\"; fileinto \"${{n}}\";"
    );
    Scene::default().check(&script, "fileinto \"8192\"");
}

#[test]
fn of_actions() {
    let many = |count: usize, action: fn(usize) -> String| {
        let actions: String = (0..count).map(action).collect();
        format!("require [\"fileinto\", \"editheader\", \"enotify\", \"copy\"]; {actions}")
    };
    let limits = Limits::default();
    let filing = |count| many(count, |n| format!("fileinto \"{n}\";"));
    let scene = Scene::default();
    holds(
        &scene,
        &filing(limits.actions_max),
        &filing(limits.actions_max + 1),
        "the script wants more than 32 actions",
    );
    let redirects = |count| many(count, |n| format!("redirect \"a{n}@b.test\";"));
    holds(
        &scene,
        &redirects(limits.redirects_max),
        &redirects(limits.redirects_max + 1),
        "the script redirects to more than 4 addresses",
    );
    let notifies = |count| many(count, |n| format!("notify \"mailto:a{n}@b.test\";"));
    holds(
        &scene,
        &notifies(limits.notifications_max),
        &notifies(limits.notifications_max + 1),
        "the script sends more than 4 notifications",
    );
    let edits = |count| many(count, |n| format!("addheader \"A\" \"{n}\";"));
    holds(
        &scene,
        &edits(limits.edits_max),
        &edits(limits.edits_max + 1),
        "the script changes the letter more than 64 times",
    );
    let value = |length: usize| {
        format!(
            "require \"editheader\"; addheader \"A\" \"{}\";",
            "x".repeat(length)
        )
    };
    holds(
        &scene,
        &value(2_048),
        &value(2_049),
        "the value of a new header field is longer than 2048 bytes",
    );
}

#[test]
fn of_flags_questions_and_expressions() {
    let scene = with(|limits| limits.flags_max = 3);
    let flags = |count: usize| {
        let list: Vec<String> = (0..count).map(|n| format!("f{n}")).collect();
        format!(
            "require \"imap4flags\"; addflag \"{}\"; addflag \"f0\";",
            list.join(" ")
        )
    };
    holds(&scene, &flags(3), &flags(4), "there are more than 3 flags");
    let scene = with(|limits| limits.questions_max = 3);
    let asking = |count: usize| {
        format!(
            "require \"mailbox\"; {}",
            "if mailboxexists \"a\" { }".repeat(count)
        )
    };
    holds(
        &scene,
        &asking(3),
        &asking(4),
        "the script asks more than 3 questions",
    );
    let scene = with(|limits| limits.regexes_made_max = 2);
    let making = |count: usize| {
        let tests = "if header :regex \"subject\" \"${v}\" { }".repeat(count);
        format!("require [\"regex\", \"variables\"]; set \"v\" \"zz\"; {tests}")
    };
    holds(
        &scene,
        &making(2),
        &making(3),
        "more than 2 regular expressions are made from variables",
    );
    let having = |count: usize| {
        let tests = "if header :regex \"subject\" \"zz\" { }".repeat(count);
        compile_error(&format!("require \"regex\"; {tests}"), &Limits::default())
    };
    assert_eq!(having(64), None);
    let text = "a script may have 64 regular expressions";
    assert_eq!(having(65).as_deref(), Some(text));
    let expression = |count: usize| {
        format!("require \"regex\"; if header :regex \"a\" \"[ab]{{{count}}}\" {{ }}")
    };
    let limits = Limits {
        regex_bytes_max: 5_000,
        ..Limits::default()
    };
    let too_large = Some("this regular expression is too large when it is compiled");
    let most = (1..1_000)
        .find(|count| compile_error(&expression(*count), &limits).is_some())
        .unwrap();
    assert!(most > 10, "{most}");
    assert_eq!(
        compile_error(&expression(most), &limits).as_deref(),
        too_large
    );
    assert_eq!(compile_error(&expression(most - 1), &limits), None);
    let seen = |bytes: usize| {
        with(move |limits| limits.regex_text_bytes_max = bytes)
            .is("regex", "header :regex \"subject\" \"lunch\"")
    };
    assert!(seen(9) && !seen(8));
}

#[test]
fn of_includes() {
    let script = |next: &str| {
        Box::leak(format!("require \"include\"; {next}").into_boxed_str()) as &'static str
    };
    let mut scene = with(|limits| {
        limits.include_depth_max = 2;
        limits.includes_max = 3;
    });
    scene.scripts = vec![
        (false, "one", script("")),
        (false, "two", script("include \"one\";")),
        (false, "three", script("include \"two\";")),
    ];
    let run = |text: &str| format!("require \"include\"; {text}");
    holds(
        &scene,
        &run("include \"two\";"),
        &run("include \"three\";"),
        "scripts include each other more than 2 deep",
    );
    let times = |count: usize| run(&"include \"one\";".repeat(count));
    holds(
        &scene,
        &times(3),
        &times(4),
        "scripts are included more than 3 times",
    );
}

#[test]
fn of_bodies() {
    let body = format!("Subject: x\n\n{}needle", "a".repeat(100));
    let seen = |bytes: usize, transform: &str| {
        let mut scene = Scene::letter(&body);
        scene.limits.body_bytes_max = bytes;
        scene.is("body", &format!("body {transform} :contains \"needle\""))
    };
    for transform in [":raw", ":text", ":content \"text\""] {
        assert!(seen(106, transform), "{transform}");
        assert!(!seen(105, transform), "{transform}");
    }
    let header = format!("Subject: {}needle\n\nx", "a".repeat(100));
    let seen = |bytes: usize| {
        let mut scene = Scene::letter(&header);
        scene.limits.text_bytes_max = bytes;
        scene.is("", "header :contains \"subject\" \"needle\"")
    };
    // The space after the colon is part of the value.
    assert!(seen(107) && !seen(106));
}

#[test]
fn the_limits_that_no_setting_raises() {
    let mut scene = Scene {
        now: Timestamp(i64::MAX),
        ..Scene::default()
    };
    scene.user.offset_minutes = i16::MAX;
    assert!(!scene.is("date", "currentdate \"year\" \"2026\""));
    scene.now = Timestamp(i64::MIN);
    assert!(!scene.is("date", "currentdate \"iso8601\" \"2026\""));
}
