//! `pennyblack store move-blobs`: letters' bytes to where new ones are kept, while the node runs.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Operator;
use super::exit::Exit;
use super::output::Output;
use crate::control::Request;
use crate::control::blobs::Progress;

pub(super) fn move_home(operator: &Operator, json: bool) -> Result<(), Exit> {
    let bar = bar(!json);
    let mut progress = Progress::default();
    while !progress.is_done {
        let answer = operator.ask(Request::MoveBlobs { progress })?;
        let row = answer.rows.into_iter().next().unwrap_or_default();
        progress = serde_json::from_value(row)
            .map_err(|error| Exit::Failed(format!("the node answers in another way: {error}")))?;
        // Letters come in meanwhile.
        bar.set_length(progress.total.max(progress.seen));
        bar.set_position(progress.seen);
        let megabytes = progress.bytes >> 20;
        bar.set_message(format!("{} moved, {megabytes} MB", progress.moved));
    }
    bar.finish_and_clear();
    let Progress {
        seen,
        moved,
        bytes,
        left,
        ..
    } = progress;
    Output::default().line(&if json {
        serde_json::json!({ "letters": seen, "moved": moved, "bytes": bytes, "left": left })
            .to_string()
    } else {
        format!(
            "{moved} letters moved, {} were in their place already",
            seen - moved - left
        )
    })?;
    match left {
        0 => Ok(()),
        left => Err(Exit::Skipped(format!(
            "{left} letters cannot be read and stay where they are; the node's log says why"
        ))),
    }
}

/// A bar on stderr if that is a terminal and `shown`.
fn bar(shown: bool) -> ProgressBar {
    let target = if shown {
        // Draws nothing where stderr is no terminal.
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}  {eta} left") {
        bar.set_style(style);
    }
    bar
}
