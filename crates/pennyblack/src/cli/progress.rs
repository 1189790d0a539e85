//! A bar of progress on a terminal; nothing where stderr is no terminal.

use std::io::IsTerminal as _;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use store::backup::{Progress, Watcher};

/// A bar that follows what it is told.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner();
        let form = "{spinner} {msg} {human_pos}/{human_len} {wide_bar} {eta}";
        if let Ok(style) = ProgressStyle::with_template(form) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// What the work tells.
    pub(super) fn watcher(&self) -> Watcher {
        let bar = self.0.clone();
        Arc::new(move |progress: Progress| {
            bar.set_message(progress.step);
            bar.set_length(progress.total.max(progress.done));
            bar.set_position(progress.done);
        })
    }

    /// Takes it off the screen.
    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}
