//! What a sender may ask of a letter's way to its readers, kept with the letter in the queue:
//! REQUIRETLS and TLS-Required (RFC 8689), DELIVERBY (RFC 2852), MT-PRIORITY (RFC 6710).

use base::Timestamp;

use crate::StoreError;
use crate::engine::Row;

/// What the sender asked of the way. The default is a letter without any wish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handling {
    /// What connections to other servers must have.
    pub tls: TlsWish,
    /// Until when it should be delivered.
    pub deliver_by: Option<DeliverBy>,
    /// RFC 6710 §5: -9 to 9; 0 is an ordinary letter.
    pub priority: i8,
}

/// RFC 8689: what the sender wants of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsWish {
    /// Nothing was said.
    #[default]
    None,
    /// RFC 8689 §4.2.1, REQUIRETLS: only over TLS, to a server whose certificate is valid and that
    /// offers REQUIRETLS too.
    Required,
    /// RFC 8689 §5, `TLS-Required: No`: delivery matters more than what the receiver's domain says
    /// about TLS.
    Optional,
}

/// RFC 2852 BY: until when, and what then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverBy {
    /// The moment.
    pub at: Timestamp,
    /// What is done when it has passed.
    pub mode: DeliverByMode,
    /// RFC 2852 §4 trace modifier: each hand-over is reported.
    pub trace: bool,
}

/// RFC 2852 §4 by-mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliverByMode {
    /// The letter is given up and returned.
    Return,
    /// The sender is told of the delay, and it is tried on.
    Notify,
}

/// In `deliver_by_mode`: the letter is returned.
const RETURN: i64 = 1;
/// In `deliver_by_mode`: each hand-over is reported.
const TRACE: i64 = 2;

impl Handling {
    /// RFC 6710 §4.1: how much earlier it stands in the queue than an ordinary letter of the same
    /// moment. A minute for each step puts it before what has waited for less, and nothing waits
    /// for ever.
    pub(crate) fn head_start_ms(&self) -> i64 {
        i64::from(self.priority.max(0)) * 60_000
    }

    /// The columns `tls_wish`, `deliver_by`, `deliver_by_mode` and `priority`.
    pub(crate) fn columns(&self) -> (i64, Option<i64>, i64, i64) {
        let tls = match self.tls {
            TlsWish::None => 0,
            TlsWish::Required => 1,
            TlsWish::Optional => 2,
        };
        let mode = self.deliver_by.map_or(0, |by| {
            let ends = match by.mode {
                DeliverByMode::Return => RETURN,
                DeliverByMode::Notify => 0,
            };
            ends | if by.trace { TRACE } else { 0 }
        });
        let at = self.deliver_by.map(|by| by.at.millis());
        (tls, at, mode, i64::from(self.priority))
    }

    /// Reads the four columns from `first` on.
    pub(crate) fn read(row: &mut Row, first: usize) -> Result<Self, StoreError> {
        let mode = row.int(first + 2)?;
        Ok(Self {
            tls: match row.int(first)? {
                1 => TlsWish::Required,
                2 => TlsWish::Optional,
                _ => TlsWish::None,
            },
            deliver_by: row.maybe_int(first + 1)?.map(|at| DeliverBy {
                at: Timestamp(at),
                mode: if mode & RETURN == 0 {
                    DeliverByMode::Notify
                } else {
                    DeliverByMode::Return
                },
                trace: mode & TRACE != 0,
            }),
            priority: i8::try_from(row.int(first + 3)?).unwrap_or_default(),
        })
    }
}
