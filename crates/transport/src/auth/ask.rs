//! Asks the DNS what checks need: everything that is missing at once, each question once for all
//! checks of a letter, within a limit on time and on the number of questions.
//!
//! An answer is used as soon as it is there. So a name whose DNS is silent holds up only what depends
//! on it, and its owner cannot keep others' names from being asked for.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use base::ports::{BoxFuture, DnsError, Resolver};
use mailauth::{Answer, Answers, Need, Question};
use tokio::time::{Instant, timeout_at};

/// Questions of one step. The limits of SPF allow about 250 for both identities (RFC 7208 §4.6.4),
/// those of DMARC about as many for 10 authors; real letters ask 10 to 30 in all.
const QUESTIONS_MAX: usize = 300;

/// The answers of one letter.
pub(crate) struct Lookups {
    resolver: Arc<dyn Resolver>,
    answers: Answers,
    deadline: Instant,
    questions_left: usize,
}

/// A question that is being asked.
type Asked = (Question, BoxFuture<'static, Answer>);

impl Lookups {
    /// No question yet; the answers of the first step are to be there in this time.
    pub(crate) fn new(resolver: Arc<dyn Resolver>, limit: Duration) -> Self {
        Self {
            resolver,
            answers: Answers::default(),
            deadline: Instant::now() + limit,
            questions_left: QUESTIONS_MAX,
        }
    }

    /// Begins another step, with time and questions of its own. What is known stays known.
    pub(crate) fn begin_step(&mut self, limit: Duration) {
        self.deadline = Instant::now() + limit;
        self.questions_left = QUESTIONS_MAX;
    }

    /// Runs a check to its end. What cannot be asked any more counts as a temporary error, so it
    /// does end.
    pub(crate) async fn run<T>(&mut self, mut check: impl FnMut(&Answers) -> Result<T, Need>) -> T {
        let mut waiting: Vec<Asked> = Vec::new();
        loop {
            let questions = match check(&self.answers) {
                Ok(found) => return found,
                Err(Need(questions)) => questions,
            };
            if self.ask(questions, &mut waiting) {
                let first = timeout_at(self.deadline, next_answers(&mut waiting)).await;
                match first {
                    Ok(answers) => answers
                        .into_iter()
                        .for_each(|(question, answer)| self.answers.insert(question, answer)),
                    Err(_) => self.give_up(&mut waiting),
                }
            }
        }
    }

    /// Asks what is not being asked yet; `false` if something cannot be asked any more.
    fn ask(&mut self, questions: Vec<Question>, waiting: &mut Vec<Asked>) -> bool {
        let mut all = true;
        for question in questions {
            if waiting.iter().any(|(asked, _)| *asked == question) {
                continue;
            }
            if self.questions_left == 0 || self.deadline <= Instant::now() {
                self.answers.insert(question, Answer::Temporary);
                all = false;
                continue;
            }
            self.questions_left -= 1;
            let answering = answer(Arc::clone(&self.resolver), question.clone());
            waiting.push((question, Box::pin(answering)));
        }
        all
    }

    /// Whoever has not answered by now has given no answer.
    fn give_up(&mut self, waiting: &mut Vec<Asked>) {
        for (question, _) in waiting.drain(..) {
            self.answers.insert(question, Answer::Temporary);
        }
    }
}

/// Waits for at least one answer, and gives all that are there.
async fn next_answers(waiting: &mut Vec<Asked>) -> Vec<(Question, Answer)> {
    poll_fn(|context| {
        let mut answers = Vec::new();
        waiting.retain_mut(
            |(question, answering)| match answering.as_mut().poll(context) {
                Poll::Ready(answer) => {
                    answers.push((question.clone(), answer));
                    false
                }
                Poll::Pending => true,
            },
        );
        if answers.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(answers)
        }
    })
    .await
}

async fn answer(resolver: Arc<dyn Resolver>, question: Question) -> Answer {
    match resolver.records(&question.name, question.kind).await {
        Ok(records) => Answer::Found(records),
        Err(DnsError::NoRecords) => Answer::NoRecords,
        Err(DnsError::NoName) => Answer::NoName,
        Err(DnsError::Temporary(_)) => Answer::Temporary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;
    use mailauth::{RecordType, Records};

    const LIMIT: Duration = Duration::from_secs(20);

    fn questions(names: &[&str]) -> Vec<Question> {
        let question = |name: &&str| Question {
            name: (*name).to_owned(),
            kind: RecordType::Txt,
        };
        names.iter().map(question).collect()
    }

    async fn ask(lookups: &mut Lookups, names: &[&str]) -> Vec<Answer> {
        let check = |answers: &Answers| {
            let found = answers.get_all(questions(names))?;
            Ok(found.into_iter().cloned().collect())
        };
        lookups.run(check).await
    }

    #[tokio::test(start_paused = true)]
    async fn answers_come_together_and_silence_is_temporary() {
        let table = Arc::new(Table::new(
            "a.test TXT hello\nb.test TXT SILENT\nc.test TXT SERVFAIL\nd.test A 192.0.2.1",
        ));
        let mut lookups = Lookups::new(table.clone(), LIMIT);
        let begin = Instant::now();
        let names = ["a.test", "b.test", "c.test", "d.test", "e.test"];
        let answers = ask(&mut lookups, &names).await;
        let hello = Records::Txt(vec![b"hello".to_vec()]);
        assert_eq!(
            answers,
            [
                Answer::Found(hello),
                Answer::Temporary,
                Answer::Temporary,
                Answer::NoRecords,
                Answer::NoName,
            ]
        );
        assert_eq!(begin.elapsed(), LIMIT);
        // Nothing is asked twice, and after the time nothing waits.
        assert_eq!(ask(&mut lookups, &names).await, answers);
        assert_eq!(table.questions(), 5);
        assert_eq!(ask(&mut lookups, &["f.test"]).await, [Answer::Temporary]);
        assert_eq!(begin.elapsed(), LIMIT);
        lookups.begin_step(LIMIT);
        let again = ask(&mut lookups, &["g.test"]).await;
        assert_eq!(again, [Answer::NoName]);
    }

    /// A second question waits for the answer it depends on, and for no other.
    #[tokio::test(start_paused = true)]
    async fn a_silent_name_holds_up_nothing_else() {
        let table = Table::new("a.test TXT hello\nb.test TXT SILENT\nc.test TXT world");
        let mut lookups = Lookups::new(Arc::new(table), LIMIT);
        let mut chain = Vec::new();
        let check = |answers: &Answers| {
            let mut missing = Vec::new();
            let silent = answers.get_all(questions(&["b.test"]));
            missing.extend(silent.err().map(|need| need.0).unwrap_or_default());
            let chained = answers.get_all(questions(&["a.test"]));
            let chained = chained.and_then(|_| answers.get_all(questions(&["c.test"])));
            match chained {
                Ok(found) => chain = found.into_iter().cloned().collect(),
                Err(Need(questions)) => missing.extend(questions),
            }
            if missing.is_empty() {
                Ok(())
            } else {
                Err(Need(missing))
            }
        };
        lookups.run(check).await;
        assert_eq!(
            chain,
            [Answer::Found(Records::Txt(vec![b"world".to_vec()]))]
        );
    }

    #[tokio::test]
    async fn questions_at_the_limit_and_one_more() {
        let table = Arc::new(Table::new(""));
        let mut lookups = Lookups::new(table.clone(), LIMIT);
        let names: Vec<String> = (0..=QUESTIONS_MAX).map(|n| format!("n{n}.test")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let answers = ask(&mut lookups, &names).await;
        assert_eq!(answers[QUESTIONS_MAX - 1], Answer::NoName);
        assert_eq!(answers[QUESTIONS_MAX], Answer::Temporary);
        assert_eq!(table.questions(), QUESTIONS_MAX);
    }
}
