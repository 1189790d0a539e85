//! Asks the DNS what checks need: everything that is missing at once, each question once for all
//! checks of a letter, within one limit on time and on the number of questions.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use base::ports::{BoxFuture, DnsError, Resolver};
use mailauth::{Answer, Answers, Need, Question};
use tokio::time::{Instant, timeout_at};

/// Questions about one letter. The limits of SPF allow about 230 for both identities (RFC 7208
/// §4.6.4), and real letters ask 10 to 30.
const QUESTIONS_MAX: usize = 300;

/// The answers of one letter.
pub(crate) struct Lookups {
    resolver: Arc<dyn Resolver>,
    answers: Answers,
    deadline: Instant,
}

impl Lookups {
    /// No question yet; all answers are to be there in this time.
    pub(crate) fn new(resolver: Arc<dyn Resolver>, limit: Duration) -> Self {
        Self {
            resolver,
            answers: Answers::default(),
            deadline: Instant::now() + limit,
        }
    }

    /// From now on, answers are to be there at this time.
    pub(crate) fn extend_until(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// Runs a check to its end. What cannot be asked any more counts as a temporary error, so it
    /// does end.
    pub(crate) async fn run<T>(&mut self, mut check: impl FnMut(&Answers) -> Result<T, Need>) -> T {
        loop {
            match check(&self.answers) {
                Ok(found) => return found,
                Err(Need(questions)) => self.ask(questions).await,
            }
        }
    }

    async fn ask(&mut self, questions: Vec<Question>) {
        let room = QUESTIONS_MAX.saturating_sub(self.answers.len());
        let mut waiting: Vec<(usize, BoxFuture<'_, Answer>)> = Vec::new();
        for (position, question) in questions.iter().enumerate().take(room) {
            waiting.push((position, Box::pin(answer(&*self.resolver, question))));
        }
        let mut answers: Vec<Answer> = vec![Answer::Temporary; questions.len()];
        let all = poll_fn(|context| {
            waiting.retain_mut(
                |(position, question)| match question.as_mut().poll(context) {
                    Poll::Ready(answer) => {
                        answers[*position] = answer;
                        false
                    }
                    Poll::Pending => true,
                },
            );
            if waiting.is_empty() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        // Whoever has not answered by then has given no answer.
        let _ = timeout_at(self.deadline, all).await;
        drop(waiting);
        for (question, answer) in questions.into_iter().zip(answers) {
            self.answers.insert(question, answer);
        }
    }
}

async fn answer(resolver: &dyn Resolver, question: &Question) -> Answer {
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
        assert_eq!(ask(&mut lookups, &["f.test SILENT"]).await.len(), 1);
        assert_eq!(begin.elapsed(), LIMIT);
        lookups.extend_until(begin + LIMIT * 2);
        let again = ask(&mut lookups, &["g.test"]).await;
        assert_eq!(again, [Answer::NoName]);
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
