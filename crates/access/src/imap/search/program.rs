//! A search made ready for many messages: sets resolved, texts in lower case, needles numbered.

use std::ops::Range;

use message::Date;
use proto::imap::command::Numbering;
use proto::imap::date::Day;
use proto::imap::search::{DateField, DateOrder, Key, SearchFlag};

use store::{SearchFields, SearchQuery};

use super::super::reply::Failure;
use super::super::selected::Selected;
use super::facts::{Facts, field_text};

/// Texts that one search may look for. Every letter that is read is looked through for each of them:
/// with the thousand keys that a search may have, one window of text took seconds.
const NEEDLES_MAX: usize = 100;

/// A search ready to run.
pub(super) struct Program {
    root: Node,
    /// What is looked for in letters.
    pub(super) needles: Vec<Needle>,
}

/// A text that is looked for, in lower case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Needle {
    pub(super) text: String,
    pub(super) place: Place,
    /// What the full-text search is asked: for texts of bodies, if there is a word in them.
    pub(super) query: Option<SearchQuery>,
}

/// Where a text is looked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// In the body and its attachments.
    Body,
    /// There and in the header.
    Text,
    /// In the fields of this name.
    Field(String),
}

enum Node {
    All,
    And(Vec<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
    Rows(Vec<Range<usize>>),
    Flag(SearchFlag),
    Date(DateField, DateOrder, Day),
    Larger(u64),
    Smaller(u64),
    Needle(usize),
}

impl Program {
    pub(super) fn new(key: &Key, selected: &Selected) -> Result<Self, Failure> {
        let mut program = Self {
            root: Node::All,
            needles: Vec::new(),
        };
        program.root = program.compile(key, selected)?;
        Ok(program)
    }

    fn compile(&mut self, key: &Key, selected: &Selected) -> Result<Node, Failure> {
        Ok(match key {
            Key::All => Node::All,
            Key::And(keys) => {
                let nodes = keys.iter().map(|key| self.compile(key, selected));
                Node::And(nodes.collect::<Result<_, _>>()?)
            }
            Key::Or(first, second) => {
                let first = self.compile(first, selected)?;
                let second = self.compile(second, selected)?;
                Node::Or(Box::new(first), Box::new(second))
            }
            Key::Not(key) => Node::Not(Box::new(self.compile(key, selected)?)),
            Key::Numbers(set) => Node::Rows(selected.resolve(Numbering::Sequence, set)?),
            Key::Uids(set) => Node::Rows(selected.resolve(Numbering::Uid, set)?),
            Key::Flag(flag) => Node::Flag(flag.clone()),
            Key::Date(field, order, day) => Node::Date(*field, *order, *day),
            Key::Larger(size) => Node::Larger(*size),
            Key::Smaller(size) => Node::Smaller(*size),
            Key::Header { name, text } => self.needle(text, Place::Field(name.clone()))?,
            Key::Body(text) => self.needle(text, Place::Body)?,
            Key::Text(text) => self.needle(text, Place::Text)?,
        })
    }

    fn needle(&mut self, text: &str, place: Place) -> Result<Node, Failure> {
        let fields = match place {
            Place::Body => Some(SearchFields::BODY),
            Place::Text => Some(SearchFields::ALL),
            Place::Field(_) => None,
        };
        let query = fields.map(|fields| SearchQuery::phrase(text, fields, true));
        let needle = Needle {
            text: text.to_lowercase(),
            place,
            query: query.filter(|query| !query.is_empty()),
        };
        // An empty text stands everywhere (RFC 9051 §6.4.4); as a field it asks whether it exists.
        if needle.text.is_empty() && !matches!(needle.place, Place::Field(_)) {
            return Ok(Node::All);
        }
        if let Some(known) = self.needles.iter().position(|other| *other == needle) {
            return Ok(Node::Needle(known));
        }
        if self.needles.len() == NEEDLES_MAX {
            return Err(Failure::SearchTexts);
        }
        self.needles.push(needle);
        Ok(Node::Needle(self.needles.len() - 1))
    }

    /// Whether the full-text search can tell something.
    pub(super) fn uses_index(&self) -> bool {
        self.needles.iter().any(|needle| needle.query.is_some())
    }

    /// Whether a message matches; nothing if more must be known to tell.
    pub(super) fn decide(&self, facts: &Facts<'_>) -> Option<bool> {
        self.node(&self.root, facts)
    }

    fn node(&self, node: &Node, facts: &Facts<'_>) -> Option<bool> {
        match node {
            Node::All => Some(true),
            Node::And(nodes) => all(nodes.iter().map(|node| self.node(node, facts))),
            Node::Or(first, second) => {
                let either = [first, second].into_iter();
                let neither = all(either.map(|node| Some(!self.node(node, facts)?)))?;
                Some(!neither)
            }
            Node::Not(node) => Some(!self.node(node, facts)?),
            Node::Rows(ranges) => {
                let after = ranges.partition_point(|range| range.end <= facts.index);
                let range = ranges.get(after);
                Some(range.is_some_and(|range| range.contains(&facts.index)))
            }
            Node::Flag(flag) => Some(has_flag(facts, flag)),
            Node::Date(field, order, day) => date_matches(facts, *field, *order, *day),
            Node::Larger(size) => Some(facts.meta?.size > *size),
            Node::Smaller(size) => Some(facts.meta?.size < *size),
            Node::Needle(index) => self.needle_found(*index, facts),
        }
    }

    fn needle_found(&self, index: usize, facts: &Facts<'_>) -> Option<bool> {
        let needle = &self.needles[index];
        if let (Place::Field(name), Some(envelope)) = (&needle.place, facts.envelope)
            && let Some(text) = field_text(envelope, name)
        {
            return Some(text.is_some_and(|text| text.contains(&needle.text)));
        }
        if needle.query.is_some() {
            return Some(facts.indexed?.has(index, facts.index));
        }
        let scanned = facts.scanned?;
        let in_body = scanned.in_body.get(index).copied().unwrap_or(false);
        let in_header = scanned.in_header.get(index).copied().unwrap_or(false);
        Some(match needle.place {
            Place::Body => in_body,
            Place::Text => in_body || in_header,
            Place::Field(_) => in_header,
        })
    }
}

/// False as soon as one is false, whatever is not known of the others.
fn all(answers: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut known = Some(true);
    for answer in answers {
        match answer {
            Some(false) => return Some(false),
            Some(true) => {}
            None => known = None,
        }
    }
    known
}

fn has_flag(facts: &Facts<'_>, flag: &SearchFlag) -> bool {
    match flag {
        SearchFlag::Answered => facts.flags.has("$answered"),
        SearchFlag::Deleted => facts.flags.deleted,
        SearchFlag::Draft => facts.flags.has("$draft"),
        SearchFlag::Flagged => facts.flags.has("$flagged"),
        SearchFlag::Seen => facts.flags.is_seen(),
        SearchFlag::Keyword(keyword) => facts.flags.has(&keyword.as_str().to_ascii_lowercase()),
        // RFC 3501's \Recent: RFC 9051 has done away with it, and no message has it here.
        SearchFlag::Recent => false,
    }
}

/// RFC 9051 §6.4.4: time and time zone are not looked at; a letter without a date matches nothing.
fn date_matches(facts: &Facts<'_>, field: DateField, order: DateOrder, day: Day) -> Option<bool> {
    let actual = match field {
        DateField::Internal => Some(Day::of(facts.meta?.received_at)),
        DateField::Sent => facts.envelope?.sent_at().map(local_day),
    };
    Some(actual.is_some_and(|actual| match order {
        DateOrder::Before => actual < day,
        DateOrder::On => actual == day,
        DateOrder::Since => actual >= day,
    }))
}

/// The day that stands in the Date field.
fn local_day(date: Date) -> Day {
    Day(date.local().to_secs().div_euclid(86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_decides_nothing() {
        let all_of = |answers: &[Option<bool>]| all(answers.iter().copied());
        assert_eq!(all_of(&[Some(true), None]), None);
        assert_eq!(all_of(&[None, Some(false)]), Some(false));
        assert_eq!(all_of(&[]), Some(true));
    }
}
