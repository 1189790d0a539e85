//! Who is on a list, and who wants to be or not to be and was asked whether that is so.

use base::{EmailAddress, Timestamp};

use super::{MEMBERS_MAX, REQUESTS_MAX};
use crate::directory::address;
use crate::engine::{Body, Priority, Row, Tx, params};
use crate::{Store, StoreError};

/// How long a question of ours can be answered.
const REQUEST_LIVES_MS: i64 = 3 * 86_400_000;
/// Between two questions to one person about the same thing: whoever asks for them in somebody
/// else's name shall not fill his mailbox.
const REQUEST_PAUSE_MS: i64 = 3_600_000;

/// Whether a member gets letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// Yes.
    Active,
    /// No: letters came back, and a last one is under way to see whether that is still so.
    Probed,
    /// No: that one came back, too.
    Suspended,
    /// No: an owner or the operator said so.
    Paused,
}

impl MemberState {
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Active => 0,
            Self::Probed => 1,
            Self::Suspended => 2,
            Self::Paused => 3,
        }
    }

    fn from_number(number: i64) -> Self {
        match number {
            0 => Self::Active,
            1 => Self::Probed,
            2 => Self::Suspended,
            _ => Self::Paused,
        }
    }
}

/// What somebody gets a letter about, at most once an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListQuestion {
    /// Whether he wants to leave.
    Leave,
    /// Whether he wants to join.
    Join,
    /// It is no question, and cannot be answered.
    Told,
}

impl ListQuestion {
    fn number(self) -> i64 {
        match self {
            Self::Leave => 0,
            Self::Join => 1,
            Self::Told => 2,
        }
    }
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListMember {
    /// Its number on the list; never used again.
    pub id: i64,
    /// Where its letters go.
    pub address: EmailAddress,
    /// Whether it gets any.
    pub state: MemberState,
    /// Since when it is on the list.
    pub joined_at: Timestamp,
    /// Days on which letters came back, since the last pause of two weeks.
    pub bounces: u32,
    /// When the last one came back.
    pub bounced_at: Option<Timestamp>,
    /// What was said then.
    pub bounce: String,
}

impl Store {
    /// Puts people on a list; gives how many were not on it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for no list, [`StoreError::Invalid`] for too many members.
    pub async fn subscribe(
        &self,
        list: &EmailAddress,
        addresses: &[EmailAddress],
    ) -> Result<u64, StoreError> {
        let mut added = 0;
        // A transaction is short (decision 1).
        for some in addresses.chunks(500) {
            let body = Subscribe {
                key: list.key(),
                addresses: some.to_vec(),
                now: self.0.shared.now(),
            };
            added += self.0.engine.write(body, Priority::Urgent).await?;
        }
        Ok(added)
    }

    /// Takes people off a list; gives how many were on it.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn unsubscribe(
        &self,
        list: &EmailAddress,
        addresses: &[EmailAddress],
    ) -> Result<u64, StoreError> {
        let body = Unsubscribe {
            key: list.key(),
            addresses: addresses.iter().map(EmailAddress::key).collect(),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// Members in the order of their numbers, from behind one on.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn list_members(
        &self,
        list: &EmailAddress,
        after: i64,
        limit: usize,
    ) -> Result<Vec<ListMember>, StoreError> {
        let body = ReadMembers {
            key: list.key(),
            after,
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
        };
        self.0.engine.read(body).await
    }

    /// The member with this address.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn list_member(
        &self,
        list: &EmailAddress,
        member: &EmailAddress,
    ) -> Result<Option<ListMember>, StoreError> {
        let body = ReadMember {
            key: list.key(),
            which: Which::Address(member.key()),
        };
        self.0.engine.read(body).await
    }

    /// The member with this number.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn list_member_by_id(
        &self,
        list: &EmailAddress,
        id: i64,
    ) -> Result<Option<ListMember>, StoreError> {
        let body = ReadMember {
            key: list.key(),
            which: Which::Id(id),
        };
        self.0.engine.read(body).await
    }

    /// Says whether a member gets letters; what came back before is forgotten.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn set_list_member(
        &self,
        list: &EmailAddress,
        member: &EmailAddress,
        state: MemberState,
    ) -> Result<(), StoreError> {
        let body = SetMember {
            key: list.key(),
            address: member.key(),
            state,
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// Notes that somebody is asked whether he wants to join or to leave, or is told something;
    /// `false` if that was so an hour ago or less, or too many such rows are there. Questions about
    /// leaving are not limited in all: only members are asked that.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn ask_about_list(
        &self,
        list: &EmailAddress,
        address: &EmailAddress,
        question: ListQuestion,
        token: &str,
    ) -> Result<bool, StoreError> {
        let body = Ask {
            key: list.key(),
            address: address.clone(),
            question,
            token: token.to_owned(),
            now: self.0.shared.now(),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }

    /// Does what somebody was asked about; gives who it is, and whether he has joined. `None`: there
    /// was no such question within three days.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn answer_about_list(
        &self,
        list: &EmailAddress,
        token: &str,
    ) -> Result<Option<(EmailAddress, bool)>, StoreError> {
        let body = Answer {
            key: list.key(),
            token: token.to_owned(),
            now: self.0.shared.now(),
        };
        self.0.engine.write(body, Priority::Urgent).await
    }
}

struct Subscribe {
    key: String,
    addresses: Vec<EmailAddress>,
    now: Timestamp,
}

impl Body for Subscribe {
    type Out = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        join(tx, &self.key, &self.addresses, self.now).await
    }
}

async fn join(
    tx: &mut Tx<'_>,
    key: &str,
    addresses: &[EmailAddress],
    now: Timestamp,
) -> Result<u64, StoreError> {
    // Whoever adds members holds the list's row.
    let sql = "SELECT next_member FROM list WHERE address_key = $1 FOR UPDATE";
    let row = tx.row(sql, params![key]).await?;
    let mut next = row.ok_or(StoreError::NotFound("list"))?.int(0)?;
    let mut added = 0;
    for address in addresses {
        let sql = "INSERT INTO list_member (list_key, member_id, address_key, address, state,
                joined_at, bounces, bounced_at, bounce, probed_at)
            VALUES ($1, $2, $3, $4, 0, $5, 0, NULL, '', NULL)
            ON CONFLICT (list_key, address_key) DO NOTHING";
        let (address_key, text) = (address.key(), address.to_string());
        let values = params![key, next, &address_key, &text, now];
        if tx.execute(sql, values).await? > 0 {
            next += 1;
            added += 1;
        }
    }
    let sql = "UPDATE list SET next_member = $2 WHERE address_key = $1";
    tx.execute(sql, params![key, next]).await?;
    let sql = "SELECT count(*) FROM list_member WHERE list_key = $1";
    if tx.one(sql, params![key]).await?.int(0)? > MEMBERS_MAX {
        return Err(StoreError::Invalid(format!(
            "a list has at most {MEMBERS_MAX} members"
        )));
    }
    Ok(added)
}

struct Unsubscribe {
    key: String,
    addresses: Vec<String>,
}

impl Body for Unsubscribe {
    type Out = u64;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        let mut gone = 0;
        for address in &self.addresses {
            let sql = "DELETE FROM list_member WHERE list_key = $1 AND address_key = $2";
            gone += tx.execute(sql, params![&self.key, address]).await?;
        }
        Ok(gone)
    }
}

struct ReadMembers {
    key: String,
    after: i64,
    limit: i64,
}

impl Body for ReadMembers {
    type Out = Vec<ListMember>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let sql = "SELECT member_id, address, state, joined_at, bounces, bounced_at, bounce
            FROM list_member WHERE list_key = $1 AND member_id > $2
            ORDER BY member_id LIMIT $3";
        let values = params![&self.key, self.after, self.limit];
        tx.rows(sql, values)
            .await?
            .into_iter()
            .map(member)
            .collect()
    }
}

enum Which {
    Address(String),
    Id(i64),
}

struct ReadMember {
    key: String,
    which: Which,
}

impl Body for ReadMember {
    type Out = Option<ListMember>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let row = match &self.which {
            Which::Address(address) => {
                let sql = "SELECT member_id, address, state, joined_at, bounces, bounced_at, bounce
                    FROM list_member WHERE list_key = $1 AND address_key = $2";
                tx.row(sql, params![&self.key, address]).await?
            }
            Which::Id(id) => {
                let sql = "SELECT member_id, address, state, joined_at, bounces, bounced_at, bounce
                    FROM list_member WHERE list_key = $1 AND member_id = $2";
                tx.row(sql, params![&self.key, *id]).await?
            }
        };
        row.map(member).transpose()
    }
}

fn member(mut row: Row) -> Result<ListMember, StoreError> {
    Ok(ListMember {
        id: row.int(0)?,
        address: address(&row.text(1)?)?,
        state: MemberState::from_number(row.int(2)?),
        joined_at: row.time(3)?,
        bounces: row.u32(4)?,
        bounced_at: row.maybe_int(5)?.map(Timestamp),
        bounce: row.text(6)?,
    })
}

struct SetMember {
    key: String,
    address: String,
    state: MemberState,
}

impl Body for SetMember {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = "UPDATE list_member SET state = $3, bounces = 0, bounced_at = NULL,
                bounce = '', probed_at = NULL
            WHERE list_key = $1 AND address_key = $2";
        let values = params![&self.key, &self.address, self.state.number()];
        match tx.execute(sql, values).await? {
            0 => Err(StoreError::NotFound("member")),
            _ => Ok(()),
        }
    }
}

struct Ask {
    key: String,
    address: EmailAddress,
    question: ListQuestion,
    token: String,
    now: Timestamp,
}

impl Body for Ask {
    type Out = bool;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let now = self.now.millis();
        let number = self.question.number();
        let old = "DELETE FROM list_request WHERE list_key = $1
            AND (asked_at < $2 OR (joins = 2 AND asked_at < $3))";
        let times = params![&self.key, now - REQUEST_LIVES_MS, now - REQUEST_PAUSE_MS];
        tx.execute(old, times).await?;
        let count = "SELECT count(*) FROM list_request WHERE list_key = $1 AND joins = $2";
        let count = tx.one(count, params![&self.key, number]).await?.int(0)?;
        if self.question != ListQuestion::Leave && count >= REQUESTS_MAX {
            return Ok(false);
        }
        let sql =
            "INSERT INTO list_request (list_key, address_key, joins, token, address, asked_at)
            VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (list_key, address_key, joins) DO UPDATE SET token = $4, asked_at = $6
                WHERE list_request.asked_at < $7";
        let (address_key, text) = (self.address.key(), self.address.to_string());
        let values = params![
            &self.key,
            &address_key,
            number,
            &self.token,
            &text,
            now,
            now - REQUEST_PAUSE_MS,
        ];
        Ok(tx.execute(sql, values).await? > 0)
    }
}

struct Answer {
    key: String,
    token: String,
    now: Timestamp,
}

impl Body for Answer {
    type Out = Option<(EmailAddress, bool)>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Self::Out, StoreError> {
        let sql = "DELETE FROM list_request WHERE list_key = $1 AND token = $2 AND asked_at >= $3
                AND joins < 2
            RETURNING address, joins";
        let since = self.now.millis() - REQUEST_LIVES_MS;
        let values = params![&self.key, &self.token, since];
        let Some(mut row) = tx.row(sql, values).await? else {
            return Ok(None);
        };
        let (address, joins) = (address(&row.text(0)?)?, row.truth(1)?);
        if joins {
            join(tx, &self.key, std::slice::from_ref(&address), self.now).await?;
        } else {
            let sql = "DELETE FROM list_member WHERE list_key = $1 AND address_key = $2";
            tx.execute(sql, params![&self.key, &address.key()]).await?;
        }
        Ok(Some((address, joins)))
    }
}
