//! Sealing: another set on top of a chain (RFC 8617 §5.1).
//!
//! To be done when a letter is sent on to others, with what was found when it came in. The tags
//! stand in the order of the alphabet, as those of the vectors of ARC do, so that these say whether
//! exactly the right bytes are signed.

use aws_lc_rs::digest::Digest;
use base::Timestamp;

use super::chain::{ArcFault, Chain, INSTANCES_MAX};
use super::set::{Kind, results_of};
use super::verify::{ArcOutcome, ArcResult};
use crate::dkim::canon::{Canon, HeaderHash};
use crate::dkim::header::{Field, Halves};
use crate::dkim::sign::{
    LINE_CHARS, append_signature, body_hash, digest_of, join_folded, signed_names,
};
use crate::dkim::{SignError, SigningKey};
use crate::tags::TagList;

/// Seals a letter. `found` is its chain as it was verified, and `results` what was found besides: the
/// value of an Authentication-Results field, from the name of the server on. Gives the three fields
/// of the new set, to be put before the letter; `None` where a chain may not be sealed (RFC 8617
/// §5.1) or could not be verified.
///
/// # Errors
/// [`SignError`].
pub fn seal(
    letter: &[&[u8]],
    found: &ArcResult,
    results: &str,
    key: &SigningKey,
    now: Timestamp,
) -> Result<Option<Vec<u8>>, SignError> {
    let chain_value = match found.outcome {
        ArcOutcome::None => "none",
        ArcOutcome::Pass => "pass",
        ArcOutcome::Fail(_) => "fail",
        ArcOutcome::TempError => return Ok(None),
    };
    if found.closed || found.instance >= INSTANCES_MAX {
        return Ok(None);
    }
    let halves = Halves::of(letter);
    if halves.cut {
        return Err(SignError::HeaderTooLong);
    }
    let mut names = signed_names(&halves);
    names.extend(
        halves
            .named("dkim-signature")
            .map(|_| "dkim-signature".to_owned()),
    );
    names.truncate(crate::dkim::SIGNED_FIELDS_MAX);
    let instance = found.instance + 1;
    let tags = Tags {
        algorithm: key.algorithm().to_string(),
        domain: key.domain().to_string(),
        selector: key.selector().to_owned(),
        chain_value,
        instance,
        at: now.secs().max(0),
        line_chars: LINE_CHARS,
    };
    compose(&halves, &names, results, &tags, |digest| {
        key.sign_digest(digest)
    })
    .map(Some)
}

type Signed = Result<Vec<u8>, SignError>;

/// The chain of a letter that was verified earlier, by the word that was noted then: `none`, `pass` or
/// `fail`. `None` where the word does not fit the letter, or says that there is no result.
#[must_use]
pub fn as_told(letter: &[&[u8]], word: &str) -> Option<ArcResult> {
    let halves = Halves::of(letter);
    let draft = Chain::read(&halves);
    let (instance, closed) = draft.top();
    let outcome = match word {
        "none" if instance == 0 => ArcOutcome::None,
        "pass" if instance > 0 && !draft.is_broken() => ArcOutcome::Pass,
        "fail" if instance > 0 => ArcOutcome::Fail(ArcFault::Noted),
        _ => return None,
    };
    Some(ArcResult {
        outcome,
        instance,
        closed,
        sealers: Vec::new(),
        results: None,
    })
}

/// What the fields of a set say.
struct Tags {
    algorithm: String,
    domain: String,
    selector: String,
    chain_value: &'static str,
    instance: usize,
    at: i64,
    /// Where signatures are folded.
    line_chars: usize,
}

/// Writes the three fields, seal first.
fn compose(
    halves: &Halves<'_>,
    names: &[String],
    results: &str,
    tags: &Tags,
    mut sign: impl FnMut(&Digest) -> Signed,
) -> Signed {
    let Tags {
        algorithm,
        domain,
        selector,
        chain_value,
        instance,
        at,
        line_chars,
    } = tags;
    let signed = |before: &str, behind: &str, sign: &mut dyn FnMut(&str) -> Signed| {
        let signature = sign(&format!("{before}{behind}"))?;
        let mut text = before.to_owned();
        append_signature(&signature, *line_chars, &mut text);
        text.push_str(behind);
        Ok(text)
    };
    let results = format!(
        "ARC-Authentication-Results: i={instance}; {}",
        results.trim()
    );
    let body_hash = body_hash(halves).ok_or(SignError::Refused)?;
    let mut rest = format!("bh={body_hash};\r\n\tc=relaxed/relaxed; d={domain};\r\n\th=");
    join_folded(names, &mut rest);
    // A space before `i=`, without which dkimpy 1.1.4 does not find the field.
    rest.push_str(&format!(";\r\n\t i={instance}; s={selector}; t={at}"));
    let message_signature = signed(
        &format!("ARC-Message-Signature: a={algorithm};\r\n\tb="),
        &format!(";\r\n\t{rest}"),
        &mut |unsigned| {
            let digest = digest_of(unsigned, names, halves).ok_or(SignError::Refused)?;
            sign(&digest)
        },
    )?;
    let rest =
        format!(";\r\n\tcv={chain_value}; d={domain}; i={instance};\r\n\ts={selector}; t={at}");
    let seal = signed(
        &format!("ARC-Seal: a={algorithm};\r\n\tb="),
        &rest,
        &mut |unsigned| {
            let sets = if *chain_value == "fail" {
                None
            } else {
                Some(halves)
            };
            let own = [results.as_str(), message_signature.as_str(), unsigned];
            sign(&seal_digest(sets, *instance, own).ok_or(SignError::Refused)?)
        },
    )?;
    Ok([
        seal,
        "\r\n".into(),
        message_signature,
        "\r\n".into(),
        results,
        "\r\n".into(),
    ]
    .concat()
    .into_bytes())
}

/// RFC 8617 §5.1.1: all sets and the own one; only the own one over a broken chain (§5.1.2).
fn seal_digest(halves: Option<&Halves<'_>>, instance: usize, own: [&str; 3]) -> Option<Digest> {
    let mut hash = HeaderHash::new(Canon::Relaxed);
    for below in 1..instance {
        let Some(halves) = halves else {
            break;
        };
        for kind in [Kind::Results, Kind::MessageSignature, Kind::Seal] {
            let of = |field: &&Field<'_>| {
                Kind::of(field) == Some(kind) && instance_of(kind, field) == Some(below)
            };
            hash.add(halves.fields.iter().find(of)?);
        }
    }
    let [results, message_signature, seal] = own;
    hash.add(&Field::parse(results.as_bytes())?);
    hash.add(&Field::parse(message_signature.as_bytes())?);
    let seal = Field::parse(seal.as_bytes())?;
    Some(hash.finish(&seal, &(0..0)))
}

fn instance_of(kind: Kind, field: &Field<'_>) -> Option<usize> {
    match kind {
        Kind::Results => results_of(field.value()).map(|(instance, _)| instance),
        Kind::MessageSignature | Kind::Seal => {
            TagList::parse(field.value()).ok()?.value("i")?.parse().ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arc::{vectors, verify};
    use crate::dkim::Prepared;
    use crate::dkim::key::Key;
    use crate::dkim::signature::{Algorithm, decoded};
    use crate::dns::{Answer, Answers, Need, Records};

    /// The library signs with no RSA key below 2,048 bits, so the signatures of the vectors are taken
    /// as they are: they are right only if exactly the same bytes are signed here.
    fn check(group: &vectors::Group, case: &vectors::Case) {
        let letter = case.values["message"].replace('\n', "\r\n");
        let prepared = Prepared::new(&[letter.as_bytes()]);
        let mut answers = Answers::default();
        let found = loop {
            match verify(&prepared, &answers) {
                Ok(found) => break found,
                Err(Need(questions)) => {
                    for question in questions {
                        let text = group.records[&question.name].as_bytes().to_vec();
                        answers.insert(question, Answer::Found(Records::Txt(vec![text])));
                    }
                }
            }
        };
        let (seal, signature) = (case.values["AS"].trim(), case.values["AMS"].trim());
        if seal.is_empty() {
            assert!(found.closed, "{}", case.name);
            return;
        }
        let expected = |list: &str| {
            let list = TagList::parse(list.as_bytes()).unwrap();
            decoded(list.value("b").unwrap(), "b").unwrap()
        };
        let mut signatures = [expected(signature), expected(seal)].into_iter();
        let results = case.values["AAR"]
            .split_once(';')
            .unwrap()
            .1
            .replace('\n', "\r\n ");
        let halves = Halves::of(&[letter.as_bytes()]);
        let names: Vec<String> = case.values["sig-headers"]
            .split(':')
            .map(str::to_owned)
            .collect();
        let tags = Tags {
            algorithm: "rsa-sha256".to_owned(),
            domain: group.values["domain"].clone(),
            selector: group.values["sel"].clone(),
            chain_value: match found.outcome {
                ArcOutcome::Fail(_) => "fail",
                other => other.word(),
            },
            instance: found.instance + 1,
            at: case.values["t"].trim().parse().unwrap(),
            // Theirs were not folded when they were sealed.
            line_chars: usize::MAX,
        };
        let record = &group.records["dummy._domainkey.example.org"];
        let key = Key::parse(record.as_bytes()).unwrap();
        let written = compose(&halves, &names, &results, &tags, |digest| {
            let signature = signatures.next().unwrap();
            let verified = key.verify(Algorithm::RsaSha256, digest, &signature);
            assert_eq!(verified, Ok(()), "{}", case.name);
            Ok(signature)
        });
        assert!(written.is_ok() && signatures.next().is_none());
    }

    #[test]
    fn what_was_noted_must_fit_the_letter() {
        let groups = vectors::read(include_str!("../../tests/vectors/arc-sign-tests.yml"));
        let letter = |name: &str| {
            let case = groups
                .iter()
                .flat_map(|group| &group.cases)
                .find(|case| case.name == name);
            case.unwrap().values["message"].replace('\n', "\r\n")
        };
        let told = |name: &str, word| as_told(&[letter(name).as_bytes()], word);
        assert_eq!(told("i0_base", "none").unwrap().instance, 0);
        assert_eq!(told("i2_base", "pass").unwrap().instance, 2);
        assert!(!told("i2_base", "fail").unwrap().closed);
        assert!(told("no_additional_sig", "fail").unwrap().closed);
        for (name, word) in [
            ("i0_base", "pass"),
            ("i2_base", "none"),
            ("i2_base", "temperror"),
            ("no_additional_sig", "pass"),
        ] {
            assert_eq!(told(name, word), None, "{name} {word}");
        }
    }

    #[test]
    fn the_vectors_are_signed_exactly() {
        let groups = vectors::read(include_str!("../../tests/vectors/arc-sign-tests.yml"));
        let mut cases = 0;
        for group in &groups {
            for case in &group.cases {
                check(group, case);
                cases += 1;
            }
        }
        assert_eq!(cases, 17);
    }
}
