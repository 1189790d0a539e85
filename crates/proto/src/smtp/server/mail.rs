//! MAIL: RFC 5321 §4.1.1.2, with SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), RET and
//! ENVID (RFC 3461), AUTH (RFC 4954 §5), PRDR (draft-hall-prdr), REQUIRETLS (RFC 8689),
//! FUTURERELEASE (RFC 4865), DELIVERBY (RFC 2852), MT-PRIORITY (RFC 6710).

use base::EmailAddress;

use super::{Body, DeliverBy, Event, Mail, Reply, Ret, Role, Server, Step, Waiting};
use crate::smtp::params::{self, ENVID_BYTES_MAX};
use crate::smtp::path::{self, PathError};

impl Server {
    pub(super) fn mail(&mut self, argument: &str) -> Step {
        if let Some(reply) = self.mail_out_of_place() {
            return self.refuse_command(reply);
        }
        if self.letters >= self.config.letters_max {
            let reply = Reply::enough_letters();
            self.close(&reply);
            return Step::Event(Event::Refused(reply));
        }
        match self.parse_mail(argument) {
            Ok(mail) => {
                let waiting = Waiting::Mail {
                    utf8: mail.utf8,
                    binary: mail.body == Body::Binary,
                    each: mail.reply_each,
                };
                self.ask(waiting, Event::Mail(mail))
            }
            Err(reply) => self.refuse_command(reply),
        }
    }

    fn mail_out_of_place(&self) -> Option<Reply> {
        if self.peer_name.is_none() {
            Some(Reply::bad_sequence("EHLO first"))
        } else if self.transaction.is_some() {
            // RFC 5321 §4.1.4: no MAIL inside of a transaction.
            Some(Reply::bad_sequence(
                "MAIL was already given; RSET to start anew",
            ))
        } else if self.config.role == Role::Submission && self.login.is_none() {
            // RFC 6409 §4.3, RFC 3207 §4.
            Some(if self.auth_is_safe() {
                Reply::authentication_required()
            } else {
                Reply::starttls_first()
            })
        } else {
            None
        }
    }

    fn parse_mail(&self, argument: &str) -> Result<Mail, Reply> {
        let text = strip_word(argument, "FROM:").ok_or_else(|| Reply::bad_sender(None))?;
        let argument = path::split(text).map_err(bad_sender)?;
        let mut mail = Mail {
            reverse_path: path::reverse(argument.path).map_err(bad_sender)?,
            size: None,
            body: Body::SevenBit,
            utf8: false,
            ret: None,
            envelope_id: None,
            submitter: None,
            reply_each: false,
            require_tls: false,
            hold_until: None,
            deliver_by: None,
            priority: None,
        };
        let mut seen = Seen::default();
        for (keyword, value) in params::split(argument.params) {
            let keyword = keyword.to_ascii_uppercase();
            seen.once(&keyword)?;
            self.mail_parameter(&mut mail, &keyword, value)?;
        }
        // RFC 6531 §3.5.
        if !mail.utf8 && !argument.path.is_ascii() {
            return Err(Reply::needs_smtputf8());
        }
        Ok(mail)
    }

    fn mail_parameter(
        &self,
        mail: &mut Mail,
        keyword: &str,
        value: Option<&str>,
    ) -> Result<(), Reply> {
        // RFC 5321 §2.2.1: HELO means no extensions.
        match (keyword, value) {
            _ if !self.extended => Err(Reply::unknown_parameter(keyword)),
            ("SIZE", Some(value)) => {
                mail.size = Some(self.size(value)?);
                Ok(())
            }
            ("BODY", Some(value)) if value.eq_ignore_ascii_case("7BIT") => Ok(()),
            ("BODY", Some(value)) if value.eq_ignore_ascii_case("8BITMIME") => {
                mail.body = Body::EightBitMime;
                Ok(())
            }
            ("BODY", Some(value)) if value.eq_ignore_ascii_case("BINARYMIME") => {
                mail.body = Body::Binary;
                Ok(())
            }
            ("BODY", _) => Err(Reply::syntax("BODY= is 7BIT, 8BITMIME or BINARYMIME")),
            ("SMTPUTF8", None) => {
                mail.utf8 = true;
                Ok(())
            }
            ("RET", Some(value)) if value.eq_ignore_ascii_case("FULL") => {
                mail.ret = Some(Ret::Full);
                Ok(())
            }
            ("RET", Some(value)) if value.eq_ignore_ascii_case("HDRS") => {
                mail.ret = Some(Ret::Headers);
                Ok(())
            }
            ("RET", _) => Err(Reply::syntax("RET= is FULL or HDRS")),
            ("ENVID", Some(value)) => {
                let decoded = params::decode_xtext(value)
                    .filter(|id| !id.is_empty() && value.len() <= ENVID_BYTES_MAX)
                    .ok_or_else(|| Reply::syntax("ENVID= is at most 100 characters of xtext"))?;
                mail.envelope_id = Some(decoded);
                Ok(())
            }
            // RFC 4954 §5: may be given by anybody; whether it is believed is the driver's.
            ("AUTH", Some(value)) => {
                mail.submitter = Some(submitter(value)?);
                Ok(())
            }
            ("PRDR", None) if self.config.role != Role::Lmtp => {
                mail.reply_each = true;
                Ok(())
            }
            ("SIZE" | "SMTPUTF8" | "ENVID" | "AUTH" | "PRDR", _) => {
                Err(Reply::syntax("Bad value of a MAIL parameter"))
            }
            (keyword, value) => self.optional_parameter(mail, keyword, value),
        }
    }

    /// The parameters of what not every listener offers.
    fn optional_parameter(
        &self,
        mail: &mut Mail,
        keyword: &str,
        value: Option<&str>,
    ) -> Result<(), Reply> {
        let offers = &self.config.offers;
        match (keyword, value) {
            // RFC 8689 §4.1: without TLS it is as if it had never been offered.
            ("REQUIRETLS", None) if offers.require_tls && self.tls => mail.require_tls = true,
            ("HOLDFOR" | "HOLDUNTIL", Some(value)) if offers.future_release.is_some() => {
                let until = match keyword {
                    "HOLDFOR" => params::seconds(value).map(|seconds| self.now + seconds),
                    _ => params::date_time(value),
                };
                let latest = offers.future_release.map(|longest| self.now + longest);
                if mail.hold_until.is_some() || until > latest {
                    return Err(Reply::bad_hold());
                }
                mail.hold_until = Some(until.ok_or_else(Reply::bad_hold)?);
            }
            ("BY", Some(value)) if offers.deliver_by => {
                let by = DeliverBy::parse(value).ok_or_else(Reply::bad_deliver_by)?;
                mail.deliver_by = Some(by);
            }
            ("MT-PRIORITY", Some(value)) if offers.mt_priority => {
                let priority = value.parse().ok().filter(|n: &i8| (-9..=9).contains(n));
                let bad = || Reply::syntax("MT-PRIORITY= is a number from -9 to 9");
                mail.priority = Some(priority.ok_or_else(bad)?);
            }
            (keyword, _) => return Err(Reply::unknown_parameter(keyword)),
        }
        Ok(())
    }

    /// RFC 1870 §6: refused before the letter is sent.
    fn size(&self, value: &str) -> Result<u64, Reply> {
        let digits = (1..=20).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
        if !digits {
            return Err(Reply::syntax("SIZE= is a number of octets"));
        }
        let max = self.config.letter_bytes_max;
        // Twenty digits may be more than a u64 holds; that is too large as well.
        match value.parse() {
            Ok(size) if size <= max => Ok(size),
            _ => Err(Reply::too_large(max)),
        }
    }
}

/// The parameters of one command that were given already: each may be given once (RFC 5321
/// §4.1.1.11). No command has more than sixteen.
#[derive(Default)]
pub(super) struct Seen(Vec<String>);

impl Seen {
    pub(super) fn once(&mut self, keyword: &str) -> Result<(), Reply> {
        if self.0.len() >= 16 || self.0.iter().any(|seen| seen == keyword) {
            return Err(Reply::syntax("A parameter was given twice"));
        }
        self.0.push(keyword.to_owned());
        Ok(())
    }
}

/// What follows `FROM:` or `TO:`, in any case.
pub(super) fn strip_word<'a>(argument: &'a str, word: &str) -> Option<&'a str> {
    let head = argument.get(..word.len())?;
    head.eq_ignore_ascii_case(word)
        .then(|| &argument[word.len()..])
}

/// RFC 4954 §5: an address in xtext, or `<>`.
fn submitter(value: &str) -> Result<String, Reply> {
    let bad = || Reply::syntax("AUTH= is an address in xtext, or <>");
    let text = params::decode_xtext(value).ok_or_else(bad)?;
    if text == "<>" || EmailAddress::parse(&text).is_ok() {
        Ok(text)
    } else {
        Err(bad())
    }
}

fn bad_sender(error: PathError) -> Reply {
    match error {
        PathError::NoBrackets => Reply::bad_sender(None),
        PathError::Address(error) => Reply::bad_sender(Some(error)),
    }
}
