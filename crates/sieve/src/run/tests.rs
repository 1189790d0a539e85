//! Tests: what is true of the letter, the user and the world.

use std::borrow::Cow;

use super::{Go, Machine, values};
use crate::Question;
use crate::matching::{Matched, Pattern, Subject, Work, compare, cut};
use crate::program::{
    AddressPart, Duplicate, DuplicateSource, HeaderTest, Key, MatchKind, Matcher, Test, Text,
};

/// Whether a match gives values to `${1}` and so on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Capture {
    Yes,
    No,
}

impl<'a> Machine<'a> {
    pub(super) fn test(&mut self, test: &'a Test) -> Go<bool> {
        self.budget.step()?;
        self.deeper()?;
        let result = self.test_inside(test)?;
        self.nesting -= 1;
        Ok(result)
    }

    fn test_inside(&mut self, test: &'a Test) -> Go<bool> {
        match test {
            Test::True => Ok(true),
            Test::False => Ok(false),
            Test::Not(test) => Ok(!self.test(test)?),
            // RFC 5229 §3.2: from left to right, and no further than needed.
            Test::AnyOf(tests) => self.any(tests, true),
            Test::AllOf(tests) => Ok(!self.any(tests, false)?),
            Test::Exists { headers, mime } => self.exists(headers, mime.as_ref()),
            Test::Size { over, bytes } => {
                let size = self.run.letter.raw().len() as u64;
                Ok(if *over { size > *bytes } else { size < *bytes })
            }
            Test::Header(test) => self.header(test),
            Test::Address(test) => self.address(test),
            Test::Envelope {
                parts,
                part,
                matcher,
            } => self.envelope(parts, *part, matcher),
            Test::Body { transform, matcher } => self.body(transform, matcher),
            Test::Date(test) => self.date(test),
            Test::String { sources, matcher } => {
                let sources = self.texts(sources)?;
                // RFC 5229 §5: `:count` counts those that are not empty.
                let count = sources.iter().filter(|source| !source.is_empty()).count();
                self.matches_counted(matcher, &sources, count, Capture::Yes)
            }
            Test::HasFlag { variables, matcher } => self.has_flag(variables, matcher),
            Test::Environment { name, matcher } => self.environment(name, matcher),
            Test::Duplicate(duplicate) => self.duplicate(duplicate),
            Test::MailboxExists(names) => self.all(names, Question::MailboxExists),
            Test::MailboxIdExists(ids) => self.all(ids, Question::MailboxIdExists),
            Test::ValidExtList(lists) => self.all(lists, Question::ListExists),
            Test::SpecialUseExists { mailbox, uses } => {
                let mailbox = self.optional(mailbox.as_ref())?;
                self.all(uses, |special_use| Question::SpecialUseExists {
                    mailbox: mailbox.clone(),
                    special_use,
                })
            }
            Test::Spam { percent, matcher } => self.spam_test(*percent, matcher),
            Test::Virus { matcher } => {
                let value = self.run.scores.virus.map_or(0, |value| value.clamp(1, 5));
                self.score(matcher, value, self.run.scores.virus.is_some())
            }
            Test::ValidNotifyMethod(uris) => {
                let uris = self.texts(uris)?;
                Ok(uris
                    .iter()
                    .all(|uri| crate::notify::MailtoUri::parse(uri).is_ok()))
            }
            Test::NotifyMethodCapability {
                uri,
                capability,
                matcher,
            } => self.notify_method_capability(uri, capability, matcher),
            Test::Ihave(all) => Ok(*all),
            Test::Unsupported(text) => super::error(text.as_str()),
        }
    }

    /// Whether one of the tests has this result.
    fn any(&mut self, tests: &'a [Test], wanted: bool) -> Go<bool> {
        for test in tests {
            if self.test(test)? == wanted {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the answer to all questions is yes.
    fn all(&mut self, names: &'a [Text], question: impl Fn(String) -> Question) -> Go<bool> {
        for name in self.texts(names)? {
            if !self.ask(question(name.into_owned()))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// RFC 5228 §5.7.
    fn header(&mut self, test: &'a HeaderTest) -> Go<bool> {
        let mut values = Vec::new();
        for name in self.texts(&test.names)? {
            match &test.mime {
                None => self.header_values(&name, test.index, &mut values)?,
                Some(mime) => self.mime_values(mime, &name, test.index, &mut values)?,
            }
        }
        self.matches(&test.matcher, &values, Capture::Yes)
    }

    /// RFC 5228 §5.4.
    fn envelope(&mut self, parts: &'a [Text], part: AddressPart, matcher: &'a Matcher) -> Go<bool> {
        let mut values: Vec<Cow<'_, str>> = Vec::new();
        let (mut count, run) = (0, self.run);
        let separator = run.user.detail_separator;
        for name in self.texts(parts)? {
            let address = if name.eq_ignore_ascii_case("from") {
                // The null reverse-path is an empty text, whatever part is asked for.
                if run.reverse_path.is_none() {
                    values.push(Cow::Borrowed(""));
                }
                run.reverse_path
            } else if name.eq_ignore_ascii_case("to") {
                run.recipient
            } else {
                None
            };
            if let Some(address) = address {
                count += 1;
                let (local, domain) = (address.local.as_str(), address.domain.as_str());
                values.extend(values::address_part(part, local, domain, separator).map(Cow::Owned));
            }
        }
        self.matches_counted(matcher, &values, count, Capture::Yes)
    }

    /// RFC 5232 §4: any of the flags.
    fn has_flag(&mut self, variables: &'a [String], matcher: &'a Matcher) -> Go<bool> {
        let mut flags = Vec::new();
        if variables.is_empty() {
            flags.clone_from(&self.flags);
        }
        for variable in variables {
            let value = self.variable(variable).to_owned();
            self.budget.work(value.len().saturating_mul(8))?;
            super::variables::add_flags(&mut flags, &value);
        }
        let flags: Vec<Cow<'_, str>> = flags.into_iter().map(Cow::Owned).collect();
        self.matches(matcher, &flags, Capture::Yes)
    }

    /// RFC 5183 §4: an item that is not known matches nothing.
    fn environment(&mut self, name: &'a Text, matcher: &'a Matcher) -> Go<bool> {
        let name = self.text(name)?;
        let items = self.run.environment.iter();
        let values: Vec<Cow<'_, str>> = items
            .filter(|(item, _)| item.eq_ignore_ascii_case(&name))
            .map(|(_, value)| Cow::Borrowed(*value))
            .collect();
        self.matches(matcher, &values, Capture::Yes)
    }

    /// RFC 7352 §3.
    fn duplicate(&mut self, duplicate: &'a Duplicate) -> Go<bool> {
        let handle = self
            .optional(duplicate.handle.as_ref())?
            .unwrap_or_default();
        let id = match &duplicate.source {
            DuplicateSource::UniqueId(text) => Some(self.text(text)?.into_owned()),
            DuplicateSource::Header(name) => {
                let name = self.text(name)?;
                self.first_header(&name)?
            }
            DuplicateSource::MessageId => self.first_header("message-id")?,
        };
        // A letter without the field is no duplicate, and marks nothing.
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            return Ok(false);
        };
        let user = self.run.user;
        let most = user
            .duplicate_seconds_default
            .saturating_mul(crate::DUPLICATE_FACTOR_MAX);
        let seconds = duplicate
            .seconds
            .unwrap_or(user.duplicate_seconds_default)
            .min(most);
        // The length keeps a handle and an id from looking like another pair.
        let key = format!("{}:{handle}{id}", handle.len());
        let seen = self.ask(Question::Duplicate {
            key: key.clone(),
            seconds,
        })?;
        if (!seen || duplicate.last) && self.marks.len() < self.limits.questions_max {
            self.marks.retain(|mark| mark.key != key);
            self.marks.push(crate::Mark { key, seconds });
        }
        Ok(seen)
    }

    fn first_header(&mut self, name: &str) -> Go<Option<String>> {
        let mut values = Vec::new();
        self.header_values(name, None, &mut values)?;
        Ok(values.into_iter().next().map(Cow::into_owned))
    }

    /// RFC 5235 §3: 0 is not tested, 1 surely not junk, 10 surely junk.
    fn spam_test(&mut self, percent: bool, matcher: &'a Matcher) -> Go<bool> {
        let score = self.run.scores.spam_percent.map(|score| score.min(100));
        let value = match score {
            None => 0,
            Some(score) if percent => score,
            Some(score) => 1 + u8::try_from((u16::from(score) * 9 + 50) / 100).unwrap_or(9),
        };
        self.score(matcher, value, score.is_some())
    }

    fn score(&mut self, matcher: &'a Matcher, value: u8, tested: bool) -> Go<bool> {
        let value = Cow::Owned(value.to_string());
        self.matches_counted(matcher, &[value], usize::from(tested), Capture::Yes)
    }

    /// RFC 5435 §5, RFC 5436 §2.8: whether someone reads his mail now is not known.
    fn notify_method_capability(
        &mut self,
        uri: &'a Text,
        capability: &'a Text,
        matcher: &'a Matcher,
    ) -> Go<bool> {
        let known = crate::notify::MailtoUri::parse(&self.text(uri)?).is_ok();
        if !known || !self.text(capability)?.eq_ignore_ascii_case("online") {
            return Ok(false);
        }
        self.matches(matcher, &[Cow::Borrowed("maybe")], Capture::Yes)
    }

    pub(super) fn matches(
        &mut self,
        matcher: &'a Matcher,
        values: &[Cow<'_, str>],
        capture: Capture,
    ) -> Go<bool> {
        self.matches_counted(matcher, values, values.len(), capture)
    }

    /// Whether any value matches any key; `count` is what `:count` compares.
    pub(super) fn matches_counted(
        &mut self,
        matcher: &'a Matcher,
        values: &[Cow<'_, str>],
        count: usize,
        capture: Capture,
    ) -> Go<bool> {
        if let MatchKind::Count(_) = matcher.kind {
            let count = count.to_string();
            return self.match_keys(matcher, &count, Capture::No);
        }
        for value in values {
            let value = cut(value, self.limits.body_bytes_max);
            if self.match_keys(matcher, value, capture)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn match_keys(&mut self, matcher: &'a Matcher, value: &str, capture: Capture) -> Go<bool> {
        self.budget.work(value.len())?;
        let subject = Subject::new(value, matcher.comparator);
        for key in &matcher.keys {
            if matcher.kind == MatchKind::List {
                let list = self.text(&key.text)?.into_owned();
                let value = value.to_owned();
                if self.ask(Question::InList { list, value })? {
                    return Ok(true);
                }
                continue;
            }
            match self.match_key(matcher, key, &subject)? {
                Matched::No => {}
                Matched::Yes => return Ok(true),
                Matched::With(found) => {
                    if capture == Capture::Yes {
                        self.keep_matched(found)?;
                    }
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn match_key(
        &mut self,
        matcher: &'a Matcher,
        key: &'a Key,
        subject: &Subject<'_>,
    ) -> Go<Matched> {
        let (kind, comparator) = (matcher.kind, matcher.comparator);
        let text_max = self.limits.regex_text_bytes_max;
        if let Some(pattern) = &key.pattern {
            return compare(
                kind,
                comparator,
                subject,
                pattern,
                text_max,
                &mut self.budget,
            );
        }
        let text = self.text(&key.text)?;
        if kind == MatchKind::Regex {
            self.regexes_made += 1;
            if self.regexes_made > self.limits.regexes_made_max {
                let most = self.limits.regexes_made_max;
                return super::error(format!(
                    "more than {most} regular expressions are made from variables"
                ));
            }
        }
        let made = Pattern::new(kind, comparator, &text, self.limits.regex_bytes_max);
        match made {
            Ok(pattern) => compare(
                kind,
                comparator,
                subject,
                &pattern,
                text_max,
                &mut self.budget,
            ),
            Err(wrong) => super::error(wrong),
        }
    }
}
