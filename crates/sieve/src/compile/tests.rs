//! Tests (RFC 5228 §5 and extensions), and how values are matched with keys.

use super::arguments::{Given, Tag, Takes};
use super::{Checked, Compiler, Wrong, unknown, wrong};
use crate::Capability as C;
use crate::matching::{Comparator, Pattern, Relation};
use crate::program::{
    AddressPart, AddressTest, BodyTransform, DateTest, Duplicate, DuplicateSource, HeaderTest,
    Index, Key, MatchKind, Matcher, Test, Text, Zone,
};
use crate::syntax::{Argument, Node, Tests};

/// Whether there is a test of this name.
pub(super) fn is_test(name: &str) -> bool {
    const NAMES: &str = " address allof anyof body currentdate date duplicate envelope environment exists \
        false hasflag header ihave mailboxexists mailboxidexists not notify_method_capability size \
        spamtest specialuse_exists string true valid_ext_list valid_notify_method virustest ";
    NAMES.contains(&format!(" {name} "))
}

/// `[COMPARATOR] [MATCH-TYPE]`.
const MATCHING: [Tag; 8] = [
    Tag::new("comparator", Takes::Text, C::Base),
    Tag::flag("is", C::Base).of(MATCH),
    Tag::flag("contains", C::Base).of(MATCH),
    Tag::flag("matches", C::Base).of(MATCH),
    Tag::flag("regex", C::Regex).of(MATCH),
    Tag::flag("list", C::ExtLists).of(MATCH),
    Tag::new("value", Takes::Text, C::Relational).of(MATCH),
    Tag::new("count", Takes::Text, C::Relational).of(MATCH),
];
const MATCH: &str = "match type";

/// `[ADDRESS-PART]`, RFC 5228 §2.7.4 and RFC 5233 §4.
const ADDRESS_PARTS: [Tag; 5] = [
    Tag::flag("all", C::Base).of(PART),
    Tag::flag("localpart", C::Base).of(PART),
    Tag::flag("domain", C::Base).of(PART),
    Tag::flag("user", C::Subaddress).of(PART),
    Tag::flag("detail", C::Subaddress).of(PART),
];
const PART: &str = "address part";

/// RFC 5260 §6.
const INDEX: [Tag; 2] = [
    Tag::new("index", Takes::Number, C::Index),
    Tag::flag("last", C::Index),
];

/// Fields that hold addresses. RFC 5228 §5.1 asks that the test takes no others.
const ADDRESS_FIELDS: &[&str] = &[
    "from",
    "to",
    "cc",
    "bcc",
    "sender",
    "reply-to",
    "resent-from",
    "resent-to",
    "resent-cc",
    "resent-bcc",
    "resent-sender",
    "resent-reply-to",
    "return-path",
    "delivered-to",
    "envelope-to",
    "x-original-to",
    "x-envelope-to",
    "x-envelope-from",
    "x-forwarded-to",
    "x-forwarded-for",
    "x-delivered-to",
    "apparently-to",
    "errors-to",
    "mail-followup-to",
    "mail-reply-to",
    "disposition-notification-to",
    "return-receipt-to",
    "list-post",
    "original-recipient",
    "final-recipient",
    "approved",
];

impl Compiler<'_> {
    pub(super) fn test(&mut self, node: &Node) -> Checked<Test> {
        match self.test_inside(node) {
            Err(Wrong {
                error,
                unknown: true,
            }) if self.required.has(C::Ihave) => Ok(Test::Unsupported(error.text)),
            other => other,
        }
    }

    fn test_inside(&mut self, node: &Node) -> Checked<Test> {
        match node.name.as_str() {
            "not" => {
                self.arguments(node, &[], &[])?;
                match &node.tests {
                    Tests::One(test) => Ok(Test::Not(Box::new(self.test(test)?))),
                    Tests::None | Tests::List(_) => wrong(node.at, "one test must follow `not`"),
                }
            }
            "anyof" => Ok(Test::AnyOf(self.test_list(node)?)),
            "allof" => Ok(Test::AllOf(self.test_list(node)?)),
            _ => {
                self.takes_no_test(node)?;
                self.simple_test(node)
            }
        }
    }

    fn test_list(&mut self, node: &Node) -> Checked<Vec<Test>> {
        self.arguments(node, &[], &[])?;
        let Tests::List(list) = &node.tests else {
            return wrong(
                node.at,
                format!("tests in parentheses must follow `{}`", node.name),
            );
        };
        list.iter().map(|test| self.test(test)).collect()
    }

    fn simple_test(&mut self, node: &Node) -> Checked<Test> {
        match node.name.as_str() {
            "true" => self.arguments(node, &[], &[]).map(|_| Test::True),
            "false" => self.arguments(node, &[], &[]).map(|_| Test::False),
            "exists" => self.exists(node),
            "size" => self.size(node),
            "header" => self.header(node),
            "address" => self.address(node),
            "envelope" => self.envelope(node),
            "body" => self.body(node),
            "date" | "currentdate" => self.date(node),
            "string" => self.string(node),
            "hasflag" => self.has_flag(node),
            "environment" => self.environment(node),
            "duplicate" => self.duplicate(node),
            "mailboxexists" => Ok(Test::MailboxExists(self.names(node, C::Mailbox)?)),
            "mailboxidexists" => Ok(Test::MailboxIdExists(self.names(node, C::MailboxId)?)),
            "valid_notify_method" => Ok(Test::ValidNotifyMethod(self.names(node, C::Enotify)?)),
            "valid_ext_list" => Ok(Test::ValidExtList(self.names(node, C::ExtLists)?)),
            "specialuse_exists" => self.special_use_exists(node),
            "spamtest" => self.spam_test(node),
            "virustest" => self.virus_test(node),
            "notify_method_capability" => self.notify_method_capability(node),
            "ihave" => self.ihave(node),
            name => unknown(node.at, format!("there is no test `{name}`")),
        }
    }

    fn exists(&mut self, node: &Node) -> Checked<Test> {
        let given = self.arguments(node, &super::parts::MIME_ANY_CHILD, &["header names"])?;
        Ok(Test::Exists {
            headers: self.header_names(given.argument(0)?)?,
            mime: self.mime(&given)?,
        })
    }

    /// `Usage: size <":over" / ":under"> <limit: number>`.
    fn size(&mut self, node: &Node) -> Checked<Test> {
        let tags = [
            Tag::flag("over", C::Base).of("bound"),
            Tag::flag("under", C::Base).of("bound"),
        ];
        let given = self.arguments(node, &tags, &["a number of bytes"])?;
        if given.of_group("bound").is_none() {
            return wrong(node.at, "`:over` or `:under` must follow `size`");
        }
        Ok(Test::Size {
            over: given.has("over"),
            bytes: self.number(given.argument(0)?)?,
        })
    }

    fn header(&mut self, node: &Node) -> Checked<Test> {
        let tags = [&MATCHING[..], &INDEX, &super::parts::MIME].concat();
        let given = self.arguments(node, &tags, &["header names", "keys"])?;
        Ok(Test::Header(Box::new(HeaderTest {
            names: self.header_names(given.argument(0)?)?,
            index: self.index(&given)?,
            mime: self.mime(&given)?,
            matcher: self.matcher(&given, 1)?,
        })))
    }

    fn address(&mut self, node: &Node) -> Checked<Test> {
        let tags = [
            &MATCHING[..],
            &ADDRESS_PARTS,
            &INDEX,
            &super::parts::MIME_ANY_CHILD,
        ]
        .concat();
        let given = self.arguments(node, &tags, &["header names", "keys"])?;
        let names = self.header_names(given.argument(0)?)?;
        for (at, name) in self.texts_at(given.argument(0)?)? {
            let constant = name.constant().unwrap_or("from");
            if !ADDRESS_FIELDS
                .iter()
                .any(|known| known.eq_ignore_ascii_case(constant))
            {
                return wrong(
                    at,
                    format!("the field \"{constant}\" holds no addresses; `header` tests it"),
                );
            }
        }
        Ok(Test::Address(Box::new(AddressTest {
            names,
            part: address_part(&given),
            index: self.index(&given)?,
            mime: self.mime(&given)?,
            matcher: self.matcher(&given, 1)?,
        })))
    }

    fn envelope(&mut self, node: &Node) -> Checked<Test> {
        self.needs(node, C::Envelope)?;
        let tags = [&MATCHING[..], &ADDRESS_PARTS].concat();
        let given = self.arguments(node, &tags, &["parts of the envelope", "keys"])?;
        let parts = self.texts_at(given.argument(0)?)?;
        for (at, part) in &parts {
            // RFC 5228 §5.4: an unknown part is an error.
            let constant = part.constant().unwrap_or("from");
            if !["from", "to"]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(constant))
            {
                return wrong(
                    *at,
                    format!("the envelope has \"from\" and \"to\", but no \"{constant}\""),
                );
            }
        }
        Ok(Test::Envelope {
            parts: parts.into_iter().map(|(_, part)| part).collect(),
            part: address_part(&given),
            matcher: self.matcher(&given, 1)?,
        })
    }

    /// `Usage: "body" [COMPARATOR] [MATCH-TYPE] [BODY-TRANSFORM] <key-list: string-list>`.
    fn body(&mut self, node: &Node) -> Checked<Test> {
        self.needs(node, C::Body)?;
        let tags = [
            &MATCHING[..],
            &[
                Tag::flag("raw", C::Body).of("transform"),
                Tag::new("content", Takes::Texts, C::Body).of("transform"),
                Tag::flag("text", C::Body).of("transform"),
            ],
        ]
        .concat();
        let given = self.arguments(node, &tags, &["keys"])?;
        let transform = match self.tag_texts(&given, "content")? {
            Some(types) => BodyTransform::Content(types),
            None if given.has("raw") => BodyTransform::Raw,
            None => BodyTransform::Text,
        };
        Ok(Test::Body {
            transform,
            matcher: self.matcher(&given, 0)?,
        })
    }

    /// RFC 5260 §4 and §5.
    fn date(&mut self, node: &Node) -> Checked<Test> {
        self.needs(node, C::Date)?;
        let zones = [
            Tag::new("zone", Takes::Text, C::Date).of("zone"),
            Tag::flag("originalzone", C::Date).of("zone"),
        ];
        let current = node.name == "currentdate";
        let (tags, first) = if current {
            ([&MATCHING[..], &zones[..1]].concat(), 0)
        } else {
            ([&MATCHING[..], &zones, &INDEX].concat(), 1)
        };
        let all = ["a header name", "a part of the date", "keys"];
        let given = self.arguments(node, &tags, &all[1 - first..])?;
        let header = if current {
            None
        } else {
            let argument = given.argument(0)?;
            // A list would be an error of `text`; the name is checked like others.
            self.text(argument)?;
            self.header_names(argument)?.pop()
        };
        let zone = match self.tag_text(&given, "zone")? {
            Some(zone) => {
                if zone
                    .constant()
                    .is_some_and(|zone| crate::run::dates::offset(zone).is_none())
                {
                    return wrong(given.at("zone"), "a zone is written like \"+0100\"");
                }
                Zone::Given(zone)
            }
            None if given.has("originalzone") => Zone::Original,
            None => Zone::Local,
        };
        let part_at = given.argument(first)?;
        let part = self.text(part_at)?;
        if part
            .constant()
            .is_some_and(|part| !crate::run::dates::is_part(part))
        {
            return wrong(part_at.at, "this is no part of a date");
        }
        Ok(Test::Date(Box::new(DateTest {
            header,
            index: if current { None } else { self.index(&given)? },
            zone,
            part,
            matcher: self.matcher(&given, first + 1)?,
        })))
    }

    /// RFC 5229 §5.
    fn string(&mut self, node: &Node) -> Checked<Test> {
        self.needs(node, C::Variables)?;
        let given = self.arguments(node, &MATCHING, &["sources", "keys"])?;
        Ok(Test::String {
            sources: self.texts(given.argument(0)?)?,
            matcher: self.matcher(&given, 1)?,
        })
    }

    /// `Usage: hasflag [MATCH-TYPE] [COMPARATOR] [<variable-list: string-list>]
    /// <list-of-flags: string-list>`, RFC 5232 §4.
    fn has_flag(&mut self, node: &Node) -> Checked<Test> {
        self.needs(node, C::Imap4Flags)?;
        let given = self.arguments_any(node, &MATCHING)?;
        let mut variables = Vec::new();
        if given.positional.len() == 2 {
            self.needs_for(given.argument(0)?.at, "a list of variables", C::Variables)?;
            for (at, name) in self.constants(given.argument(0)?)? {
                variables.push(self.variable_name(at, &name)?);
            }
        } else {
            self.count(&given, &["flags"])?;
        }
        let matcher = self.matcher(&given, given.positional.len() - 1)?;
        Ok(Test::HasFlag { variables, matcher })
    }

    fn environment(&mut self, node: &Node) -> Checked<Test> {
        self.needs(node, C::Environment)?;
        let given = self.arguments(node, &MATCHING, &["the name of an item", "keys"])?;
        Ok(Test::Environment {
            name: self.text(given.argument(0)?)?,
            matcher: self.matcher(&given, 1)?,
        })
    }

    /// `Usage: "duplicate" [":handle" <string>] [":header" / ":uniqueid" <string>] [":seconds"
    /// <number>] [":last"]`, RFC 7352 §3.
    fn duplicate(&mut self, node: &Node) -> Checked<Test> {
        self.needs(node, C::Duplicate)?;
        let tags = [
            Tag::new("handle", Takes::Text, C::Duplicate),
            Tag::new("header", Takes::Text, C::Duplicate).of("id"),
            Tag::new("uniqueid", Takes::Text, C::Duplicate).of("id"),
            Tag::new("seconds", Takes::Number, C::Duplicate),
            Tag::flag("last", C::Duplicate),
        ];
        let given = self.arguments(node, &tags, &[])?;
        let source = match given.of_group("id") {
            Some(("header", _, Some(argument))) => {
                self.header_names(argument)?;
                DuplicateSource::Header(self.text(argument)?)
            }
            Some((_, _, Some(argument))) => DuplicateSource::UniqueId(self.text(argument)?),
            Some((_, _, None)) | None => DuplicateSource::MessageId,
        };
        Ok(Test::Duplicate(Box::new(Duplicate {
            handle: self.tag_text(&given, "handle")?,
            source,
            seconds: self.tag_number(&given, "seconds")?,
            last: given.has("last"),
        })))
    }

    /// A test with one list of strings.
    fn names(&mut self, node: &Node, needs: C) -> Checked<Vec<Text>> {
        self.needs(node, needs)?;
        let given = self.arguments(node, &[], &["a list of names"])?;
        self.texts(given.argument(0)?)
    }

    /// `Usage: specialuse_exists [<mailbox: string>] <special-use-flags: string-list>`, RFC 8579 §4.
    fn special_use_exists(&mut self, node: &Node) -> Checked<Test> {
        self.needs(node, C::SpecialUse)?;
        let given = self.arguments_any(node, &[])?;
        if given.positional.len() == 2 {
            return Ok(Test::SpecialUseExists {
                mailbox: Some(self.text(given.argument(0)?)?),
                uses: self.texts(given.argument(1)?)?,
            });
        }
        self.count(&given, &["special uses"])?;
        Ok(Test::SpecialUseExists {
            mailbox: None,
            uses: self.texts(given.argument(0)?)?,
        })
    }

    /// RFC 5235 §3.2: `:percent` belongs to "spamtestplus", which includes "spamtest".
    fn spam_test(&mut self, node: &Node) -> Checked<Test> {
        if !self.required.has(C::SpamTestPlus) {
            self.needs(node, C::SpamTest)?;
        }
        let tags = [&MATCHING[..], &[Tag::flag("percent", C::SpamTestPlus)]].concat();
        let given = self.arguments(node, &tags, &["a value"])?;
        self.text(given.argument(0)?)?;
        Ok(Test::Spam {
            percent: given.has("percent"),
            matcher: self.matcher(&given, 0)?,
        })
    }

    fn virus_test(&mut self, node: &Node) -> Checked<Test> {
        self.needs(node, C::VirusTest)?;
        let given = self.arguments(node, &MATCHING, &["a value"])?;
        self.text(given.argument(0)?)?;
        Ok(Test::Virus {
            matcher: self.matcher(&given, 0)?,
        })
    }

    /// RFC 5435 §5.
    fn notify_method_capability(&mut self, node: &Node) -> Checked<Test> {
        self.needs(node, C::Enotify)?;
        let wanted = ["a notification URI", "a capability", "keys"];
        let given = self.arguments(node, &MATCHING, &wanted)?;
        Ok(Test::NotifyMethodCapability {
            uri: self.text(given.argument(0)?)?,
            capability: self.text(given.argument(1)?)?,
            matcher: self.matcher(&given, 2)?,
        })
    }

    /// `:index` and `:last`.
    pub(super) fn index(&self, given: &Given<'_>) -> Checked<Option<Index>> {
        let last = given.has("last");
        match self.tag_number(given, "index")? {
            Some(number) => match usize::try_from(number) {
                Ok(number) if number > 0 => Ok(Some(Index { number, last })),
                _ => wrong(given.at("index"), "`:index` counts from 1"),
            },
            None if last => wrong(given.at("last"), "`:last` needs `:index`"),
            None => Ok(None),
        }
    }

    /// `[COMPARATOR] [MATCH-TYPE]` and the keys, which are a positional argument.
    pub(super) fn matcher(&mut self, given: &Given<'_>, keys: usize) -> Checked<Matcher> {
        self.matcher_of(given, given.argument(keys)?)
    }

    fn matcher_of(&mut self, given: &Given<'_>, keys: &Argument) -> Checked<Matcher> {
        let comparator = match given.tag("comparator") {
            Some(argument) => self.comparator(argument)?,
            None => Comparator::default(),
        };
        let (kind, at) = self.match_kind(given)?;
        let substrings = matches!(
            kind,
            MatchKind::Contains | MatchKind::Matches | MatchKind::Regex
        );
        if substrings && !comparator.has_substrings() {
            return wrong(
                at,
                "numbers can only be compared with `:is`, `:value` and `:count`",
            );
        }
        let mut prepared = Vec::new();
        for (at, text) in self.texts_at(keys)? {
            let pattern = match text.constant() {
                Some(key) => {
                    self.regexes += usize::from(kind == MatchKind::Regex);
                    if self.regexes > self.limits.regexes_max {
                        let most = self.limits.regexes_max;
                        return wrong(at, format!("a script may have {most} regular expressions"));
                    }
                    let pattern = Pattern::new(kind, comparator, key, self.limits.regex_bytes_max);
                    match pattern {
                        Ok(pattern) => Some(pattern),
                        Err(error) => return wrong(at, error),
                    }
                }
                None => None,
            };
            prepared.push(Key { text, pattern });
        }
        Ok(Matcher {
            kind,
            comparator,
            keys: prepared,
        })
    }

    fn comparator(&self, argument: &Argument) -> Checked<Comparator> {
        let name = self.constant(argument)?;
        let Some(comparator) = Comparator::from_name(&name) else {
            return unknown(argument.at, format!("there is no comparator \"{name}\""));
        };
        let needs = C::from_name(&format!("comparator-{name}")).unwrap_or(C::Base);
        self.needs_for(argument.at, &format!("the comparator \"{name}\""), needs)?;
        Ok(comparator)
    }

    fn match_kind(&self, given: &Given<'_>) -> Checked<(MatchKind, usize)> {
        let Some((name, at, argument)) = given.of_group(MATCH) else {
            return Ok((MatchKind::Is, 0));
        };
        let kind = match name {
            "contains" => MatchKind::Contains,
            "matches" => MatchKind::Matches,
            "regex" => MatchKind::Regex,
            "list" => MatchKind::List,
            "value" | "count" => {
                let relation = argument
                    .map(|argument| self.constant(argument))
                    .transpose()?;
                let Some(relation) = relation.as_deref().and_then(Relation::from_name) else {
                    let text = format!(
                        "\"gt\", \"ge\", \"lt\", \"le\", \"eq\" or \"ne\" must follow `:{name}`"
                    );
                    return wrong(at, text);
                };
                if name == "value" {
                    MatchKind::Value(relation)
                } else {
                    MatchKind::Count(relation)
                }
            }
            _ => MatchKind::Is,
        };
        Ok((kind, at))
    }
}

fn address_part(given: &Given<'_>) -> AddressPart {
    match given.of_group(PART).map(|(name, ..)| name) {
        Some("localpart") => AddressPart::LocalPart,
        Some("domain") => AddressPart::Domain,
        Some("user") => AddressPart::User,
        Some("detail") => AddressPart::Detail,
        _ => AddressPart::All,
    }
}

/// The tags of matching, for commands that match.
pub(super) fn matching_tags() -> &'static [Tag] {
    &MATCHING
}
