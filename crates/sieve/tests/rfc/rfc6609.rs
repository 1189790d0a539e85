//! RFC 6609: scripts that include others.

use pennyblack_sieve::Question;

use crate::support::{Scene, errors};

fn with(scripts: &[(bool, &'static str, &'static str)]) -> Scene {
    Scene {
        scripts: scripts.to_vec(),
        ..Scene::default()
    }
}

#[test]
fn section_3_2_include() {
    let scene = with(&[
        (
            false,
            "spam",
            "require \"fileinto\"; fileinto \"personal\";",
        ),
        (true, "spam", "require \"fileinto\"; fileinto \"global\";"),
    ]);
    scene.check(
        "require \"include\"; include \"spam\";",
        "fileinto \"personal\"",
    );
    scene.check(
        "require \"include\"; include :personal \"spam\"; include :global \"spam\";",
        "fileinto \"personal\"; fileinto \"global\"",
    );
    scene.check(
        "require \"include\";\ninclude \"none\";",
        "implicit keep; error: line 2: there is no script \"none\" to include",
    );
    scene.check(
        "require \"include\"; include :optional \"none\";",
        "implicit keep",
    );
    let (_, asked) = scene.outcome("require \"include\"; include \"spam\"; include \"spam\";");
    assert_eq!(asked.len(), 1, "a script is asked for once");
    assert!(matches!(&asked[0], Question::Script { global: false, name } if name == "spam"));
    let broken = with(&[(false, "b", "kepe;")]);
    broken.check(
        "require \"include\"; include \"b\";",
        "implicit keep; error: line 1: the included script \"b\" is wrong: line 1, column 1: there is no command `kepe`",
    );
}

#[test]
fn section_3_2_loops_and_errors_inside() {
    let scene = with(&[
        (false, "a", "require \"include\";\ninclude \"b\";"),
        (false, "b", "require \"include\";\n\ninclude \"a\";"),
        (false, "c", "require \"ihave\";\n\n\nerror \"x\";"),
    ]);
    scene.check(
        "require \"include\"; include \"a\";",
        "implicit keep; error: script \"b\", line 3: the script \"a\" includes itself",
    );
    scene.check(
        "require \"include\"; include \"c\";",
        "implicit keep; error: script \"c\", line 4: x",
    );
}

#[test]
fn section_3_2_once() {
    let scene = with(&[(
        false,
        "a",
        "require [\"variables\", \"include\"]; global \"n\"; set \"n\" \"${n}.\";",
    )]);
    let script = |arguments: &str| {
        format!(
            "require [\"include\", \"variables\", \"fileinto\"]; global \"n\"; include {arguments} \"a\"; include {arguments} \"a\"; fileinto \"${{n}}\";"
        )
    };
    scene.check(&script(""), "fileinto \"..\"");
    scene.check(&script(":once"), "fileinto \".\"");
}

#[test]
fn section_3_3_return_and_stop() {
    let scene = with(&[
        (
            false,
            "r",
            "require [\"include\", \"fileinto\"]; if true { return; } fileinto \"never\";",
        ),
        (false, "s", "stop;"),
    ]);
    scene.check(
        "require [\"include\", \"fileinto\"]; include \"r\"; fileinto \"after\";",
        "fileinto \"after\"",
    );
    scene.check(
        "require [\"include\", \"fileinto\"]; include \"s\"; fileinto \"after\";",
        "implicit keep",
    );
    scene.check(
        "require [\"include\", \"fileinto\"]; return; fileinto \"after\";",
        "implicit keep",
    );
}

#[test]
fn section_3_4_variables() {
    let scene = with(&[(
        false,
        "spam_tests",
        "require [\"include\", \"variables\"]; global [\"test\", \"i\"]; set \"test\" \"${test} spam\"; set \"own\" \"x\"; set \"global.j\" \"2\";",
    )]);
    let script = "require [\"include\", \"variables\", \"fileinto\"]; global \"test\"; set \"test\" \"is\"; set \"i\" \"1\";\n\
        include \"spam_tests\"; fileinto \"${test}-${own}-${i}-${global.j}-${global.test}\";";
    scene.check(script, "fileinto \"is spam--1-2-is spam\"");
    assert_eq!(
        errors("require \"include\"; global \"x\";"),
        "line 1, column 20: `global` needs `require \"variables\";` at the start of the script"
    );
}

#[test]
fn actions_name_the_script_that_wanted_them() {
    let scene = with(&[(false, "a", "require \"fileinto\";\nfileinto \"A\";")]);
    let outcome = scene
        .outcome("require [\"include\", \"fileinto\"];\nif true { include \"a\"; fileinto \"B\"; }")
        .0;
    let origins: Vec<_> = outcome
        .actions
        .iter()
        .map(|action| (action.origin.script.as_deref(), action.origin.line))
        .collect();
    assert_eq!(origins, [(Some("a"), 2), (None, 2)]);
    assert_eq!(outcome.actions[0].origin.because, None);
    assert_eq!(
        outcome.actions[1].origin.because,
        Some((2, "true".to_owned()))
    );
}
