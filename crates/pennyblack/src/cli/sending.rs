//! How much accounts may send, have sent, and the end of a hold.

use clap::Args;

use super::Operator;
use super::exit::Exit;
use super::output::{Output, field};
use crate::control::{Limit, Limits, Request};

/// Limits as they are given; those that are not stay as they are.
#[derive(Args)]
#[group(required = true, multiple = true)]
pub(super) struct LimitArgs {
    /// Letters in a clock hour: a number, `none` for no limit, `usual` for what the settings say.
    #[arg(long, value_name = "NUMBER", value_parser = limit)]
    letters_per_hour: Option<Limit>,
    /// Letters in a day.
    #[arg(long, value_name = "NUMBER", value_parser = limit)]
    letters_per_day: Option<Limit>,
    /// Recipients in a clock hour.
    #[arg(long, value_name = "NUMBER", value_parser = limit)]
    recipients_per_hour: Option<Limit>,
    /// Recipients in a day.
    #[arg(long, value_name = "NUMBER", value_parser = limit)]
    recipients_per_day: Option<Limit>,
}

impl From<LimitArgs> for Limits {
    fn from(args: LimitArgs) -> Self {
        Self {
            letters_per_hour: args.letters_per_hour,
            letters_per_day: args.letters_per_day,
            recipients_per_hour: args.recipients_per_hour,
            recipients_per_day: args.recipients_per_day,
        }
    }
}

fn limit(text: &str) -> Result<Limit, String> {
    match text {
        "none" => Ok(Limit::None),
        "usual" => Ok(Limit::Usual),
        number => match number.parse() {
            Ok(most) if most > 0 => Ok(Limit::AtMost(most)),
            _ => Err("a whole number such as 1000, `none` or `usual`".to_owned()),
        },
    }
}

/// What an account has sent.
pub(super) fn show(operator: &Operator, address: String, json: bool) -> Result<(), Exit> {
    let rows = operator.ask(Request::AccountSending { address })?.rows;
    let mut output = Output::default();
    if json {
        return output.json(&rows);
    }
    let names = [
        "letters_this_hour",
        "recipients_this_hour",
        "letters_in_a_day",
        "recipients_in_a_day",
        "failed_in_a_day",
        "limits",
        "held_since",
        "held_why",
    ];
    for row in &rows {
        for name in names {
            output.line(&format!("{}: {}", name.replace('_', " "), field(row, name)))?;
        }
    }
    Ok(())
}
