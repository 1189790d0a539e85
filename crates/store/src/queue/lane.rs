//! Who a queued letter is from, and how urgent it is. Letters of one lane to a destination are
//! claimed in their order; lanes take turns, so that a sender with very many letters does not stand
//! before the others. How they take turns is not decided here.

use base::{AccountId, EmailAddress};

/// A lane of the queue to a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// Whose letter it is: the domain of its reverse-path; empty for `<>`.
    pub tenant: String,
    /// Which user of ours sent it.
    pub account: Option<AccountId>,
    /// RFC 6710 §5: -9 to 9; 0 is an ordinary letter.
    pub priority: i8,
}

impl Lane {
    /// The lane of a letter.
    #[must_use]
    pub fn of(
        reverse_path: Option<&EmailAddress>,
        account: Option<AccountId>,
        priority: i8,
    ) -> Self {
        Self {
            tenant: reverse_path.map_or_else(String::new, |from| from.domain.to_string()),
            account,
            priority,
        }
    }

    /// As it is stored: `tenant/account/priority`, what is missing or 0 left empty.
    pub(crate) fn text(&self) -> String {
        let account = self.account.map_or_else(String::new, |id| id.0.to_string());
        let priority = match self.priority {
            0 => String::new(),
            priority => priority.to_string(),
        };
        format!("{}/{account}/{priority}", self.tenant)
    }

    /// From what was stored. Letters of before there were lanes have none: they share one.
    pub(crate) fn parse(text: &str) -> Self {
        // From the end: nothing keeps a slash out of a domain that is an address literal.
        let mut parts = text.rsplitn(3, '/');
        let priority = parts.next().and_then(|part| part.parse().ok());
        let account = parts.next().and_then(|part| part.parse().ok());
        Self {
            tenant: parts.next().unwrap_or_default().to_owned(),
            account: account.map(AccountId),
            priority: priority.unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_there_and_back() {
        let lane = |tenant: &str, account: Option<i64>, priority| Lane {
            tenant: tenant.to_owned(),
            account: account.map(AccountId),
            priority,
        };
        for (known, text) in [
            (lane("red.test", Some(17), -3), "red.test/17/-3"),
            (lane("red.test", Some(17), 0), "red.test/17/"),
            (lane("[IPv6:::1]", None, 0), "[IPv6:::1]//"),
            (lane("", None, 9), "//9"),
            (lane("", None, 0), "//"),
        ] {
            assert_eq!(known.text(), text);
            assert_eq!(Lane::parse(text), known);
        }
        assert_eq!(Lane::parse(""), Lane::default());
    }
}
