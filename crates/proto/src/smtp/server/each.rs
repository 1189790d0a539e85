//! A reply for each recipient at the end of a letter: LMTP (RFC 2033 §4.2) and PRDR
//! (draft-hall-prdr).

use super::{Reply, Role, Server, Waiting};

impl Server {
    /// Whether each recipient gets a reply of its own to the letter that has just ended.
    #[must_use]
    pub fn replies_each(&self) -> bool {
        self.transaction
            .as_ref()
            .is_some_and(|transaction| transaction.each)
    }

    /// Answers [`Event::LetterEnd`] with a reply for each recipient, in the order in which they were
    /// accepted: in LMTP (RFC 2033 §4.2) and where the client asked for it (PRDR).
    pub fn answer_each(&mut self, replies: &[Reply]) {
        let Some(Waiting::LetterEnd) = self.waiting.take() else {
            return;
        };
        if replies.iter().any(Reply::is_positive) {
            self.letter_taken();
        }
        self.end_transaction();
        self.write_each(replies);
    }

    /// RFC 2033 §4.2: each recipient has its reply to the letter, also when all are the same. Writes
    /// all but one.
    pub(super) fn write_for_the_others(&mut self, reply: &Reply) {
        if let (Role::Lmtp, Some(transaction)) = (self.config.role, &self.transaction) {
            for _ in 1..transaction.recipients {
                reply.write(&mut self.output);
            }
        }
    }

    /// In PRDR (draft-hall-prdr §3) a 353 stands before the replies, and one for the whole behind.
    pub(super) fn write_each(&mut self, replies: &[Reply]) {
        let lmtp = self.config.role == Role::Lmtp;
        if !lmtp {
            Reply::replies_follow().write(&mut self.output);
        }
        for reply in replies {
            reply.write(&mut self.output);
        }
        if lmtp {
            return;
        }
        let refused = replies.iter().find(|reply| !reply.is_positive());
        match refused {
            Some(refused) if !replies.iter().any(Reply::is_positive) => {
                refused.clone().write(&mut self.output);
            }
            _ => Reply::letter_accepted().write(&mut self.output),
        }
    }
}
