//! What the operator sees of an import or export: a bar on a terminal while it goes on, and a
//! summary at the end.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::source::{Progress, Skipped};
use crate::control::Failure;

/// Letters that were not taken and are named; more are only counted.
const NAMED_MAX: usize = 1_000;

/// Counts, and shows it.
pub struct Report {
    summary: Summary,
    bar: ProgressBar,
}

/// What became of an import or export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Letters that are on the disk now.
    pub letters: u64,
    /// Letters that were there already.
    pub there: u64,
    /// Letters that were not taken.
    pub skipped: u64,
    /// The first of these.
    pub named: Vec<Skipped>,
}

impl Report {
    /// Shows a bar on stderr if that is a terminal and `shown`.
    #[must_use]
    pub fn new(shown: bool) -> Self {
        let target = if shown {
            // Draws nothing where stderr is no terminal.
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self {
            summary: Summary::default(),
            bar,
        }
    }

    /// So many letters more are on the disk.
    pub fn stored(&mut self, letters: u64, progress: Progress) {
        self.summary.letters += letters;
        self.show(progress);
    }

    /// So many letters are there already.
    pub fn there(&mut self, letters: u64) {
        self.summary.there += letters;
    }

    /// A letter was not taken.
    pub fn skipped(&mut self, skipped: Skipped) {
        self.summary.skipped += 1;
        if self.summary.named.len() < NAMED_MAX {
            self.summary.named.push(skipped);
        }
    }

    fn show(&self, progress: Progress) {
        if progress.total > 0 && self.bar.length() != Some(progress.total) {
            self.bar.set_length(progress.total);
            let style = "{bar:30} {percent:>3} %  {msg}  {eta} left";
            if let Ok(style) = ProgressStyle::with_template(style) {
                self.bar.set_style(style);
            }
        }
        self.bar.set_position(progress.done);
        let seconds = self.bar.elapsed().as_secs().max(1);
        let Summary {
            letters, skipped, ..
        } = self.summary;
        let mut text = format!("{letters} letters, {}/s", letters / seconds);
        if skipped > 0 {
            text.push_str(&format!(", {skipped} skipped"));
        }
        self.bar.set_message(text);
    }

    /// Takes the bar away.
    #[must_use]
    pub fn finish(self) -> Summary {
        self.bar.finish_and_clear();
        self.summary
    }
}

impl Summary {
    /// As `--json` prints it; the names stay.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "letters": self.letters,
            "there": self.there,
            "skipped": self.skipped,
            "skipped_letters": self.named,
        })
    }

    /// For people: what was not taken, a line each, and the sum.
    #[must_use]
    pub fn text(&self, done: &str) -> String {
        let clean = |text: &str| text.replace(char::is_control, "\u{FFFD}");
        let mut text = String::new();
        for skipped in &self.named {
            text.push_str(&format!(
                "skipped: {}: {}\n",
                clean(&skipped.name),
                clean(&skipped.reason)
            ));
        }
        let more = self.skipped - self.named.len() as u64;
        if more > 0 {
            text.push_str(&format!("skipped: {more} more\n"));
        }
        text.push_str(&format!("{} letters {done}", self.letters));
        if self.there > 0 {
            text.push_str(&format!(", {} were there already", self.there));
        }
        if self.skipped > 0 {
            text.push_str(&format!(", {} skipped", self.skipped));
        }
        text
    }

    /// A failure that says what was done before it.
    #[must_use]
    pub fn with(&self, failure: Failure) -> Failure {
        if self.letters == 0 {
            return failure;
        }
        Failure {
            text: format!("{} (after {} letters)", failure.text, self.letters),
            ..failure
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_for_people() {
        let mut report = Report::new(false);
        report.stored(7, Progress { done: 1, total: 2 });
        report.there(2);
        for number in 0..1_001 {
            report.skipped(Skipped {
                name: format!("a\u{1b}{number}"),
                reason: "too large".to_owned(),
            });
        }
        let summary = report.finish();
        let text = summary.text("imported");
        assert!(text.starts_with("skipped: a\u{FFFD}0: too large\n"));
        assert!(
            text.ends_with(
                "skipped: 1 more\n7 letters imported, 2 were there already, 1001 skipped"
            )
        );
        assert_eq!(summary.json()["skipped"], 1_001);
        let failure = summary.with(Failure::invalid("no"));
        assert_eq!(failure.text, "no (after 7 letters)");
    }
}
