//! The openspf suite for RFC 7208 (release 2014.04), whole. Its licence is beside it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use pennyblack_mailauth::spf::{self, SpfIdentity, SpfInput};
use pennyblack_mailauth::{Answer, Answers, Need, Question, RecordType, Records};
use saphyr::{LoadableYamlNode, Yaml};

const SUITE: &str = include_str!("vectors/rfc7208-tests.yml");
/// Cases of release 2014.04, so that none is lost by a reader's mistake.
const CASES: usize = 203;
/// More CNAMEs than this are a loop.
const CNAMES_MAX: usize = 10;

/// The zone data of a scenario.
struct Zone(BTreeMap<String, Host>);

#[derive(Default)]
struct Host {
    records: Vec<(String, Value)>,
    times_out: bool,
}

enum Value {
    Text(Vec<u8>),
    Mx(u16, String),
}

/// The suite writes bytes as the characters of the same numbers.
fn bytes(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap())
        .collect()
}

fn string(node: &Yaml<'_>) -> String {
    if let Some(text) = node.as_str() {
        return text.to_owned();
    }
    node.as_integer().unwrap().to_string()
}

fn value(node: &Yaml<'_>) -> Value {
    match node.as_vec() {
        None => Value::Text(bytes(&string(node))),
        Some(parts) => match parts.first().and_then(Yaml::as_integer) {
            Some(preference) => Value::Mx(preference.try_into().unwrap(), string(&parts[1])),
            None => Value::Text(parts.iter().flat_map(|part| bytes(&string(part))).collect()),
        },
    }
}

impl Zone {
    fn read(node: &Yaml<'_>) -> Self {
        let mut zone = BTreeMap::new();
        for (name, records) in node.as_mapping().unwrap() {
            let mut host = Host::default();
            for record in records.as_vec().unwrap() {
                match record.as_mapping() {
                    None => {
                        assert_eq!(record.as_str(), Some("TIMEOUT"));
                        host.times_out = true;
                    }
                    Some(record) => {
                        let (kind, node) = record.iter().next().unwrap();
                        host.records.push((string(kind), value(node)));
                    }
                }
            }
            host.copy_spf_to_txt();
            zone.insert(string(name).to_ascii_lowercase(), host);
        }
        Self(zone)
    }

    fn ask(&self, question: &Question) -> Answer {
        let mut name = question.name.clone();
        for _ in 0..CNAMES_MAX {
            let Some(host) = self.0.get(&name) else {
                return Answer::NoName;
            };
            match host.texts("CNAME").first() {
                Some(target) => {
                    let target = String::from_utf8(target.clone()).unwrap();
                    name = target.trim_end_matches('.').to_ascii_lowercase();
                }
                None => return host.answer(question.kind),
            }
        }
        Answer::Temporary
    }
}

impl Host {
    /// Type SPF is gone since RFC 7208; what the suite writes there is meant as TXT, unless the
    /// host has texts of its own or says that it has none.
    fn copy_spf_to_txt(&mut self) {
        if self.records.iter().any(|(kind, _)| kind == "TXT") {
            let none = |value: &Value| matches!(value, Value::Text(text) if text == b"NONE");
            self.records.retain(|(_, value)| !none(value));
            return;
        }
        for (kind, _) in &mut self.records {
            if kind == "SPF" {
                *kind = "TXT".to_owned();
            }
        }
    }

    fn texts(&self, wanted: &str) -> Vec<Vec<u8>> {
        let records = self.records.iter().filter(|(kind, _)| kind == wanted);
        let texts = records.filter_map(|(_, value)| match value {
            Value::Text(text) => Some(text.clone()),
            Value::Mx(..) => None,
        });
        texts.collect()
    }

    fn answer(&self, kind: RecordType) -> Answer {
        let words = |kind: &str| {
            let texts = self.texts(kind).into_iter();
            texts.map(|text| String::from_utf8(text).unwrap())
        };
        let (empty, records) = match kind {
            RecordType::Txt => {
                let texts = self.texts("TXT");
                (texts.is_empty(), Records::Txt(texts))
            }
            RecordType::A => {
                let found: Vec<_> = words("A").map(|text| text.parse().unwrap()).collect();
                (found.is_empty(), Records::A(found))
            }
            RecordType::Aaaa => {
                let found: Vec<_> = words("AAAA").map(|text| text.parse().unwrap()).collect();
                (found.is_empty(), Records::Aaaa(found))
            }
            RecordType::Ptr => {
                let found: Vec<_> = words("PTR").collect();
                (found.is_empty(), Records::Ptr(found))
            }
            RecordType::Mx => {
                let exchanges = self.records.iter().filter_map(|(_, value)| match value {
                    Value::Mx(preference, host) => Some((*preference, host.clone())),
                    Value::Text(_) => None,
                });
                let found: Vec<_> = exchanges.collect();
                (found.is_empty(), Records::Mx(found))
            }
        };
        match (empty, self.times_out) {
            (false, _) => Answer::Found(records),
            (true, true) => Answer::Temporary,
            (true, false) => Answer::NoRecords,
        }
    }
}

fn run(zone: &Zone, input: &SpfInput<'_>) -> spf::SpfOutcome {
    let mut answers = Answers::default();
    loop {
        match spf::check(input, SpfIdentity::MailFrom, &answers) {
            Ok(outcome) => return outcome,
            Err(Need(questions)) => {
                assert!(!questions.is_empty());
                for question in questions {
                    let answer = zone.ask(&question);
                    answers.insert(question, answer);
                }
            }
        }
        assert!(answers.len() < 200, "more questions than the limits allow");
    }
}

/// What is wrong with a case, or nothing.
fn check(zone: &Zone, case: &Yaml<'_>) -> Option<String> {
    let field = |name: &str| case.as_mapping_get(name).map(string);
    let address: IpAddr = field("host").unwrap().parse().unwrap();
    let outcome = run(
        zone,
        &SpfInput {
            address,
            helo: &field("helo").unwrap(),
            reverse_path: &field("mailfrom").unwrap(),
            receiver: "receiver.test",
            now_secs: 1_800_000_000,
        },
    );
    let result = case.as_mapping_get("result").unwrap();
    let allowed = match result.as_vec() {
        Some(several) => several.iter().map(string).collect(),
        None => vec![string(result)],
    };
    if !allowed.iter().any(|word| word == outcome.result.word()) {
        return Some(format!("{allowed:?} is wanted: {outcome:?}"));
    }
    let explanation = match field("explanation") {
        Some(text) if text == "DEFAULT" => None,
        Some(text) => Some(text),
        None => return None,
    };
    (explanation != outcome.explanation).then(|| format!("{explanation:?} is wanted: {outcome:?}"))
}

#[test]
fn every_case_of_the_suite_passes() {
    let (mut cases, mut wrong) = (0, String::new());
    for scenario in Yaml::load_from_str(SUITE).unwrap() {
        let zone = Zone::read(scenario.as_mapping_get("zonedata").unwrap());
        let tests = scenario.as_mapping_get("tests").unwrap();
        for (name, case) in tests.as_mapping().unwrap() {
            cases += 1;
            if let Some(why) = check(&zone, case) {
                writeln!(wrong, "{}: {why}", string(name)).unwrap();
            }
        }
    }
    assert_eq!(cases, CASES);
    assert!(wrong.is_empty(), "{wrong}");
}
