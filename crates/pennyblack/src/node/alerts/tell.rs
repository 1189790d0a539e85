//! Tells the administrator by mail: one letter for all that is news.

use std::time::Duration;

use base::EmailAddress;
use bytes::Bytes;
use message::write::{HeaderWriter, format_date, message_id};
use store::{DsnReturn, Handling, Note, Notify, QueueRecipient, Step, StoreError, Submission};

use super::{Kind, News, Watcher, What, domain_of};

/// How long an alert waits in the queue; after that it is no news.
const LIFETIME: Duration = Duration::from_secs(86_400);

impl Watcher {
    /// Puts the letter into the queue, where letters are sent at all.
    pub(super) async fn tell(&self, news: &[News]) -> Result<(), StoreError> {
        let to = self.administrators();
        if !self.settings.alerts.mail || to.is_empty() {
            return Ok(());
        }
        let letter = self.store.letter(self.letter(news, &to).into()).await?;
        let now = self.clock.now();
        let recipient = |address: &EmailAddress| QueueRecipient {
            address: address.clone(),
            original: None,
            notify: Notify::NEVER,
        };
        self.store
            .submit(Submission {
                needs_utf8: false,
                letter,
                head: Bytes::new(),
                account: None,
                // Nobody is told when an alert cannot be delivered.
                reverse_path: None,
                recipients: to.iter().map(recipient).collect(),
                envelope_id: None,
                dsn_return: DsnReturn::Unasked,
                handling: Handling::default(),
                received_at: now,
                hold_until: None,
                expires_at: now + LIFETIME,
                sent_copy: None,
                notes: vec![Note {
                    at: now,
                    recipient: None,
                    step: Step::Submitted,
                    detail: "by this server, an alert".to_owned(),
                }],
            })
            .await?;
        Ok(())
    }

    fn administrators(&self) -> Vec<EmailAddress> {
        let to = &self.settings.alerts.to;
        if !to.is_empty() {
            return to.clone();
        }
        let postmaster = format!("postmaster@{}", domain_of(&self.settings));
        EmailAddress::parse(&postmaster).into_iter().collect()
    }

    fn letter(&self, news: &[News], to: &[EmailAddress]) -> Vec<u8> {
        let settings = &self.settings;
        let now = self.clock.now();
        let from = domain_of(settings);
        let to: Vec<String> = to.iter().map(|to| format!("<{to}>")).collect();
        let id = message_id(now, self.entropy.next_u64(), &settings.hostname);
        let mut letter = HeaderWriter::new()
            .raw("Date", &format_date(now))
            .raw("From", &format!("<postmaster@{from}>"))
            .raw("To", &to.join(", "))
            .raw("Subject", &subject(settings.hostname.as_str(), news))
            .raw("Message-ID", &format!("<{id}>"))
            .raw("Auto-Submitted", "auto-generated")
            .raw("MIME-Version", "1.0")
            .raw("Content-Type", "text/plain; charset=utf-8")
            .raw("Content-Transfer-Encoding", "8bit")
            .finish();
        letter.extend_from_slice(b"\r\n");
        letter.extend_from_slice(text(settings.hostname.as_str(), news).as_bytes());
        letter
    }
}

/// What is told, in a line.
fn subject(hostname: &str, news: &[News]) -> String {
    let of = |what: fn(What) -> bool| {
        let kinds = news.iter().filter(|news| what(news.what));
        let mut kinds: Vec<&str> = kinds.map(|news| news.alert.kind.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds.join(", ")
    };
    let wrong = of(|what| what != What::Over);
    let over = of(|what| what == What::Over);
    match (wrong.as_str(), over.as_str()) {
        (wrong, "") => format!("[{hostname}] wrong: {wrong}"),
        ("", over) => format!("[{hostname}] well again: {over}"),
        (wrong, over) => format!("[{hostname}] wrong: {wrong}; well again: {over}"),
    }
}

fn text(hostname: &str, news: &[News]) -> String {
    let mut text = format!("This is the mail server {hostname}.\r\n");
    for News { alert, what } in news {
        let heading = match what {
            What::New => "Wrong",
            What::Still => "Still wrong",
            What::Over => "Well again",
        };
        let (kind, subject, since) = (&alert.kind, &alert.subject, alert.since.whole_seconds());
        text.push_str(&format!(
            "\r\n{heading}: {kind} ({subject})\r\n  {}\r\n",
            alert.detail
        ));
        match what {
            What::Over => text.push_str(&format!("  It was so from {since} on.\r\n")),
            What::New | What::Still => {
                let advice = Kind::ALL.into_iter().find(|known| known.word() == kind);
                let advice = advice.map_or("", Kind::advice);
                text.push_str(&format!("  Since {since}. {advice}\r\n"));
            }
        }
    }
    text.push_str(
        "\r\n`pennyblack alerts list` shows all that is wrong now; the settings `alerts.*` say what is\r\n\
         watched and who is told.\r\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use base::Timestamp;
    use store::Alert;

    use super::*;

    fn news(kind: Kind, what: What) -> News {
        News {
            alert: Alert {
                kind: kind.word().to_owned(),
                subject: "mx1".to_owned(),
                detail: "bad".to_owned(),
                since: Timestamp::from_secs(1_780_272_000),
                told_at: None,
            },
            what,
        }
    }

    #[test]
    fn the_subject_says_it_all() {
        let both = [
            news(Kind::Queue, What::New),
            news(Kind::Disk, What::Still),
            news(Kind::Clock, What::Over),
        ];
        assert_eq!(
            subject("mx.test", &both),
            "[mx.test] wrong: disk, queue; well again: clock"
        );
        assert_eq!(subject("mx.test", &both[..1]), "[mx.test] wrong: queue");
        assert_eq!(
            subject("mx.test", &both[2..]),
            "[mx.test] well again: clock"
        );
    }

    #[test]
    fn the_text_says_what_to_do() {
        let told = text(
            "mx.test",
            &[news(Kind::Disk, What::New), news(Kind::Clock, What::Over)],
        );
        for part in [
            "\r\nWrong: disk (mx1)\r\n  bad\r\n  Since 2026-06-01T00:00:00Z. Make room",
            "\r\nWell again: clock (mx1)\r\n  bad\r\n  It was so from 2026",
        ] {
            assert!(told.contains(part), "{part} is not in {told}");
        }
        assert!(told.is_ascii() && told.lines().all(|line| line.len() < 200));
    }
}
