//! Deliberate mistakes, put into the world's wiring and not into the program: a simulation that does
//! not notice them would notice no real ones either.

use std::borrow::Cow;
use std::fmt;

/// A deliberate mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mutation {
    /// None.
    #[default]
    None,
    /// The reply to a letter goes out before the letter is committed.
    ReplyBeforeCommit,
    /// The disk says that it has flushed, and has not.
    FlushLies,
    /// A letter under another's lease is claimed all the same.
    NoLease,
    /// A settlement is taken from whoever had the claim before.
    NoFence,
    /// A failure is settled without its report.
    NoReport,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::ReplyBeforeCommit,
        Self::FlushLies,
        Self::NoLease,
        Self::NoFence,
        Self::NoReport,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ReplyBeforeCommit => "reply-before-commit",
            Self::FlushLies => "flush-lies",
            Self::NoLease => "no-lease",
            Self::NoFence => "no-fence",
            Self::NoReport => "no-report",
        }
    }

    /// Reads a name.
    ///
    /// # Errors
    /// A name that is none, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut all = Self::ALL.into_iter().chain([Self::None]);
        all.find(|mutation| mutation.name() == text)
            .ok_or_else(|| format!("no mutation is called {text}"))
    }

    /// Whether it changes a statement of the store.
    #[must_use]
    pub const fn changes_statements(self) -> bool {
        match self {
            Self::None | Self::ReplyBeforeCommit | Self::FlushLies => false,
            Self::NoLease | Self::NoFence | Self::NoReport => true,
        }
    }

    /// The statement that is run in place of this one.
    #[must_use]
    pub fn statement(self, sql: &str) -> Cow<'_, str> {
        match self {
            Self::NoLease if is_look(sql) => {
                Cow::Owned(sql.replace("r.next_at <= $1", "(r.next_at <= $1 OR r.fence <> 0)"))
            }
            Self::NoLease if is_claim(sql) => {
                let claims = sql.replace("next_at <= $7", "(next_at <= $7 OR fence <> 0)");
                Cow::Owned(claims.replace("next_at <= $3", "(next_at <= $3 OR fence <> 0)"))
            }
            Self::NoFence if is_settlement(sql) => Cow::Owned(sql.replace("fence = $2", "$2 = $2")),
            Self::NoReport if sql.starts_with("INSERT INTO recipient") => Cow::Owned(
                sql.replace("VALUES (", "SELECT ")
                    .trim_end_matches(')')
                    .to_owned()
                    + " WHERE (SELECT reverse_path FROM letter WHERE letter_id = $1) IS NOT NULL",
            ),
            _ => Cow::Borrowed(sql),
        }
    }
}

impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn is_look(sql: &str) -> bool {
    sql.contains("FROM known WHERE known.domain IS NOT NULL") && sql.contains("r.next_at <= $1")
}

fn is_claim(sql: &str) -> bool {
    sql.starts_with("UPDATE recipient SET fence = $1")
        || (sql.starts_with("SELECT letter_id FROM recipient") && sql.contains("next_at <= $3"))
}

fn is_settlement(sql: &str) -> bool {
    sql.starts_with("SELECT recipient_id")
        && sql.contains("WHERE letter_id = $1 AND fence = $2")
        && sql.contains("FOR UPDATE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_there_and_back() {
        for mutation in Mutation::ALL {
            assert_eq!(Mutation::parse(mutation.name()), Ok(mutation));
        }
        assert!(Mutation::parse("nonsense").is_err());
    }
}
