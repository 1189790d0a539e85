//! What a notification says: who tells it, and what has changed. No I/O.

use std::collections::BTreeSet;

use base::AccountId;

/// PostgreSQL takes less than 8,000 bytes; what stands before the accounts is short.
const PAYLOAD_BYTES_MAX: usize = 7_900;
/// Accounts that are told one by one; of more it is told that many have changed.
const ACCOUNTS_MAX: usize = 10_000;

/// What has changed since it was last told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub accounts: BTreeSet<AccountId>,
    /// Too many accounts to name.
    pub all_accounts: bool,
    pub queue: bool,
    pub directory: bool,
}

impl Told {
    pub(crate) fn add_account(&mut self, account: AccountId) {
        if self.all_accounts {
            return;
        }
        self.accounts.insert(account);
        if self.accounts.len() > ACCOUNTS_MAX {
            self.all_accounts = true;
            self.accounts.clear();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As texts that fit: `incarnation;flags;accounts`.
    pub(crate) fn write(&self, incarnation: i64) -> Vec<String> {
        let flags = [
            (self.queue, 'q'),
            (self.directory, 'd'),
            (self.all_accounts, 'a'),
        ];
        let flags: String = flags
            .iter()
            .filter(|flag| flag.0)
            .map(|flag| flag.1)
            .collect();
        let mut texts = Vec::new();
        let mut text = format!("{incarnation};{flags};");
        for account in &self.accounts {
            let number = format!("{},", account.0);
            if text.len() + number.len() > PAYLOAD_BYTES_MAX {
                texts.push(std::mem::replace(&mut text, format!("{incarnation};;")));
            }
            text.push_str(&number);
        }
        texts.push(text);
        texts
    }

    /// Reads a text of another node: its incarnation and what it tells. What cannot be read is
    /// passed over: it may come from a newer program.
    pub(crate) fn read(text: &str) -> Option<(i64, Self)> {
        let mut parts = text.split(';');
        let incarnation = parts.next()?.parse().ok()?;
        let flags = parts.next()?;
        let accounts = parts.next()?.split(',').filter_map(|one| one.parse().ok());
        let told = Self {
            accounts: accounts.map(AccountId).collect(),
            all_accounts: flags.contains('a'),
            queue: flags.contains('q'),
            directory: flags.contains('d'),
        };
        Some((incarnation, told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_in_pieces_that_fit() {
        let mut told = Told {
            queue: true,
            ..Told::default()
        };
        for number in 0..5_000 {
            told.add_account(AccountId(1_000_000_007 + number));
        }
        let texts = told.write(-7);
        assert!(texts.len() > 1);
        let mut together = Told::default();
        for text in texts {
            assert!(text.len() < 8_000);
            let (incarnation, piece) = Told::read(&text).unwrap();
            assert_eq!(incarnation, -7);
            together.accounts.extend(piece.accounts);
            together.queue |= piece.queue;
        }
        assert_eq!(together, told);
    }

    #[test]
    fn too_many_accounts_are_told_as_all() {
        let mut told = Told::default();
        for number in 0..=10_000 {
            told.add_account(AccountId(number));
        }
        assert_eq!(told.write(1), ["1;a;"]);
        assert_eq!(Told::read("1;a;"), Some((1, told)));
    }

    #[test]
    fn strange_texts_are_passed_over() {
        for text in ["", "x;q;", "1", "1;q"] {
            assert_eq!(Told::read(text), None, "{text}");
        }
        let (_, told) = Told::read("1;zq;5,x,,6").unwrap();
        assert!(told.queue && told.accounts.len() == 2);
    }
}
