//! Whether the peer's address has a name that leads back to it (RFC 8601 §2.7.3).

use std::net::IpAddr;

use crate::dns::{Answers, Need};
use crate::reverse::{Names, names};

/// The result of a check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IprevResult {
    /// A name leads back.
    Pass,
    /// It has names, and none leads back.
    Fail,
    /// The DNS gave no answer; another time it may.
    TempError,
    /// It has no name.
    PermError,
}

impl IprevResult {
    /// The word of RFC 8601 §2.7.3.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IprevOutcome {
    /// The result.
    pub result: IprevResult,
    /// The peer's address.
    pub address: IpAddr,
    /// The first name that leads back.
    pub name: Option<String>,
}

/// Checks an address.
///
/// # Errors
/// [`Need`] while answers are missing.
pub fn check(address: IpAddr, answers: &Answers) -> Result<IprevOutcome, Need> {
    let address = address.to_canonical();
    let (result, name) = match names(address, answers)? {
        Names::Void => (IprevResult::PermError, None),
        Names::Unknown => (IprevResult::TempError, None),
        Names::Found { valid, unsure } => match (valid.into_iter().next(), unsure) {
            (Some(name), _) => (IprevResult::Pass, Some(name)),
            (None, true) => (IprevResult::TempError, None),
            (None, false) => (IprevResult::Fail, None),
        },
    };
    Ok(IprevOutcome {
        result,
        address,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Answer, Question, RecordType, Records};

    const ADDRESS: &str = "192.0.2.1";

    fn check_with(names: Answer, addresses: Answer) -> (&'static str, Option<String>) {
        let mut answers = Answers::default();
        let ask = |name: &str, kind| Question {
            name: name.to_owned(),
            kind,
        };
        answers.insert(ask("1.2.0.192.in-addr.arpa", RecordType::Ptr), names);
        answers.insert(ask("mx.red.test", RecordType::A), addresses);
        let outcome = check(ADDRESS.parse().unwrap(), &answers).unwrap();
        (outcome.result.word(), outcome.name)
    }

    #[test]
    fn each_result_has_its_case() {
        let names = || Answer::Found(Records::Ptr(vec!["MX.Red.Test.".to_owned()]));
        let addresses = |text: &str| Answer::Found(Records::A(vec![text.parse().unwrap()]));
        let name = Some("mx.red.test".to_owned());
        assert_eq!(check_with(names(), addresses(ADDRESS)), ("pass", name));
        assert_eq!(check_with(names(), addresses("192.0.2.2")), ("fail", None));
        assert_eq!(check_with(names(), Answer::NoName), ("fail", None));
        assert_eq!(check_with(names(), Answer::Temporary), ("temperror", None));
        assert_eq!(check_with(Answer::Temporary, names()), ("temperror", None));
        assert_eq!(check_with(Answer::NoName, names()), ("permerror", None));
    }
}
