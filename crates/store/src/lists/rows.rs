//! The rows of lists themselves.

use std::sync::Arc;

use base::{EmailAddress, Timestamp};

use super::{ListInfo, ListOptions, Posting};
use crate::StoreError;
use crate::directory::signed;
use crate::directory::{AddressKind, Changed, address, claim_address, need_domain, note_changes};
use crate::engine::{Body, Row, Tx, params};
use crate::shared::Shared;

pub(super) struct AddList {
    pub list: EmailAddress,
    pub owners: Vec<EmailAddress>,
    pub options: ListOptions,
    pub now: Timestamp,
    pub shared: Arc<Shared>,
}

impl Body for AddList {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        need_domain(tx, &self.list.domain).await?;
        claim_address(tx, &self.list, None).await?;
        let key = self.list.key();
        let sql = "UPDATE address SET kind = $2 WHERE address_key = $1";
        tx.execute(sql, params![&key, AddressKind::List.number()])
            .await?;
        for owner in &self.owners {
            let sql = "INSERT INTO alias_target (address_key, target) VALUES ($1, $2)
                ON CONFLICT (address_key, target) DO NOTHING";
            tx.execute(sql, params![&key, &owner.to_string()]).await?;
        }
        // Numbers start at the time, so that tags of an earlier list of that name lead to nobody.
        let sql = "INSERT INTO list (address_key, address, title, posting, holds_others, open,
                subject_tag, reply_to_list, rewrites_always, letter_bytes_max, archive, bounces_max,
                next_member, created_at)
            VALUES ($1, $2, '', 0, 0, 0, '', 0, 0, 0, '', 0, $3, $3)";
        let text = self.list.to_string();
        tx.execute(sql, params![&key, &text, self.now]).await?;
        set(tx, &key, &self.options).await?;
        note_changes(tx, &[Changed::Address(key)]).await
    }

    fn committed(&self, (): &()) {
        let mut directory = self.shared.directory_mut();
        directory.add_targets(&self.list, AddressKind::List, &self.owners);
        drop(directory);
        self.shared.directory_changed();
    }
}

/// Writes what a list is like; whether it is there.
async fn set(tx: &mut Tx<'_>, key: &str, options: &ListOptions) -> Result<bool, StoreError> {
    let sql = "UPDATE list SET title = $2, posting = $3, holds_others = $4, open = $5,
            subject_tag = $6, reply_to_list = $7, rewrites_always = $8, letter_bytes_max = $9,
            archive = $10, bounces_max = $11
        WHERE address_key = $1";
    let values = params![
        key,
        &options.title,
        options.posting.number(),
        options.holds_others,
        options.open,
        &options.subject_tag,
        options.reply_to_list,
        options.rewrites_always,
        signed(options.letter_bytes_max),
        &options.archive,
        i64::from(options.bounces_max),
    ];
    Ok(tx.execute(sql, values).await? > 0)
}

pub(super) struct SetList {
    pub key: String,
    pub options: ListOptions,
}

impl Body for SetList {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let found = set(tx, &self.key, &self.options).await?;
        found.then_some(()).ok_or(StoreError::NotFound("list"))
    }
}

pub(super) struct RemoveList {
    pub list: EmailAddress,
    pub now: Timestamp,
    pub shared: Arc<Shared>,
}

impl Body for RemoveList {
    type Out = ();

    async fn run(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let key = self.list.key();
        let sql = "DELETE FROM list WHERE address_key = $1";
        if tx.execute(sql, params![&key]).await? == 0 {
            return Err(StoreError::NotFound("list"));
        }
        for sql in [
            "DELETE FROM address WHERE address_key = $1",
            "DELETE FROM alias_target WHERE address_key = $1",
            "DELETE FROM list_member WHERE list_key = $1",
            "DELETE FROM list_request WHERE list_key = $1",
        ] {
            tx.execute(sql, params![&key]).await?;
        }
        // What waits is tried again: nobody is there, and its author hears of it.
        let sql = "UPDATE recipient SET held = 0, next_at = $2, reason = ''
            WHERE held = 1 AND fence = 0 AND EXISTS (SELECT 1 FROM list_held h
                WHERE h.letter_id = recipient.letter_id
                    AND h.recipient_id = recipient.recipient_id
                    AND h.list_key = $1 AND h.state = 0)";
        tx.execute(sql, params![&key, self.now]).await?;
        let sql = "DELETE FROM list_held WHERE list_key = $1";
        tx.execute(sql, params![&key]).await?;
        note_changes(tx, &[Changed::Address(key)]).await
    }

    fn committed(&self, (): &()) {
        self.shared.watches.much_of_queue_changed();
        let mut directory = self.shared.directory_mut();
        directory.remove_address(&self.list.key());
        drop(directory);
        self.shared.directory_changed();
    }
}

/// Reads lists.
pub(super) struct ReadLists {
    /// Only the one of this key.
    pub only: Option<String>,
}

impl Body for ReadLists {
    type Out = Vec<ListInfo>;

    async fn run(&self, tx: &mut Tx<'_>) -> Result<Vec<ListInfo>, StoreError> {
        let rows = match &self.only {
            Some(key) => {
                let sql = "SELECT address, title, posting, holds_others, open, subject_tag,
                        reply_to_list, rewrites_always, letter_bytes_max, archive, bounces_max,
                        created_at, address_key
                    FROM list WHERE address_key = $1";
                tx.rows(sql, params![key]).await?
            }
            None => {
                let sql = "SELECT address, title, posting, holds_others, open, subject_tag,
                        reply_to_list, rewrites_always, letter_bytes_max, archive, bounces_max,
                        created_at, address_key
                    FROM list ORDER BY address_key";
                tx.rows(sql, &[]).await?
            }
        };
        let mut lists = Vec::with_capacity(rows.len());
        for mut row in rows {
            let key = row.text(12)?;
            let (owners, members, active) = read_people(tx, &key).await?;
            lists.push(ListInfo {
                address: address(&row.text(0)?)?,
                options: options(&mut row)?,
                owners,
                members,
                active,
                created_at: row.time(11)?,
            });
        }
        Ok(lists)
    }
}

async fn read_people(
    tx: &mut Tx<'_>,
    key: &str,
) -> Result<(Vec<EmailAddress>, u64, u64), StoreError> {
    let sql = "SELECT target FROM alias_target WHERE address_key = $1 ORDER BY target";
    let owners = tx.rows(sql, params![key]).await?.into_iter();
    let owners = owners.map(|mut row| address(&row.text(0)?));
    let owners = owners.collect::<Result<_, _>>()?;
    let sql = "SELECT count(*), coalesce(sum(CASE WHEN state = 0 THEN 1 ELSE 0 END), 0)
        FROM list_member WHERE list_key = $1";
    let counts = tx.one(sql, params![key]).await?;
    Ok((owners, counts.unsigned(0)?, counts.unsigned(1)?))
}

fn options(row: &mut Row) -> Result<ListOptions, StoreError> {
    Ok(ListOptions {
        title: row.text(1)?,
        posting: Posting::from_number(row.int(2)?),
        holds_others: row.truth(3)?,
        open: row.truth(4)?,
        subject_tag: row.text(5)?,
        reply_to_list: row.truth(6)?,
        rewrites_always: row.truth(7)?,
        letter_bytes_max: row.unsigned(8)?,
        archive: row.text(9)?,
        bounces_max: row.u32(10)?,
    })
}
