//! What a check asks of the DNS, and the answers that it is given.

use std::collections::BTreeMap;

pub use base::ports::{RecordType, Records};

/// A question. The name is in lower case, in A-labels, without the final dot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Question {
    /// The name asked for.
    pub name: String,
    /// The type of records.
    pub kind: RecordType,
}

/// What the DNS said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// At least one record, of the type that was asked for.
    Found(Records),
    /// The name exists, such a record does not.
    NoRecords,
    /// The name does not exist.
    NoName,
    /// No answer in time, SERVFAIL, or an answer that cannot be trusted.
    Temporary,
}

/// Questions whose answers a check needs before it can go on; never empty. They can be asked at the
/// same time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Need(pub Vec<Question>);

/// The answers so far of the checks of one letter, shared by all of them.
#[derive(Clone, Default, Debug)]
pub struct Answers(BTreeMap<Question, Answer>);

impl Answers {
    /// Keeps an answer.
    pub fn insert(&mut self, question: Question, answer: Answer) {
        self.0.insert(question, answer);
    }

    /// The answer to a question.
    ///
    /// # Errors
    /// [`Need`] if it has not been asked yet.
    pub fn get(&self, question: Question) -> Result<&Answer, Need> {
        match self.0.get(&question) {
            Some(answer) => Ok(answer),
            None => Err(Need(vec![question])),
        }
    }
    /// The answers to several questions, in their order.
    ///
    /// # Errors
    /// [`Need`] with all of them that have not been asked yet.
    pub fn get_all(
        &self,
        questions: impl IntoIterator<Item = Question>,
    ) -> Result<Vec<&Answer>, Need> {
        let (mut answers, mut missing) = (Vec::new(), Vec::new());
        for question in questions {
            match self.0.get(&question) {
                Some(answer) => answers.push(answer),
                None => missing.push(question),
            }
        }
        if missing.is_empty() {
            Ok(answers)
        } else {
            Err(Need(missing))
        }
    }

    /// How many questions have been answered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none has been answered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
