//! `pennyblack account identity` and `account delegate`: as whom an account may send.

use clap::Subcommand;

use super::Operator;
use super::exit::Exit;
use super::output::{Output, field};
use crate::control::{Request, Right};

#[derive(Subcommand)]
pub(super) enum IdentityCommand {
    /// Lets an account send as another address.
    Add {
        /// The account's address.
        account: String,
        /// The address; `*@domain` for every address of a domain, for programs that send for many.
        identity: String,
        /// Also where the domain is not ours.
        #[arg(long)]
        outside: bool,
    },
    /// Takes that back.
    Remove {
        /// The account's address.
        account: String,
        /// The address, or `*@domain`.
        identity: String,
    },
    /// Lists what an account may send as besides its own addresses and aliases.
    List {
        /// The account's address.
        account: String,
        /// As a JSON array.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
pub(super) enum DelegateCommand {
    /// Lets an account send as another account, with all addresses of that.
    Add {
        /// The account whose name is lent.
        owner: String,
        /// The account that may send.
        delegate: String,
        /// Only where the letter says in Sender who sends it; the server adds the field.
        #[arg(long)]
        on_behalf: bool,
    },
    /// Takes that back.
    Remove {
        /// The account whose name was lent.
        owner: String,
        /// The account that may send.
        delegate: String,
        /// What was allowed was to send on behalf.
        #[arg(long)]
        on_behalf: bool,
    },
}

pub(super) fn identity(operator: &Operator, command: IdentityCommand) -> Result<(), Exit> {
    match command {
        IdentityCommand::Add {
            account,
            identity,
            outside,
        } => operator.act(Request::SendRightAdd {
            address: account,
            right: right(identity),
            outside,
        }),
        IdentityCommand::Remove { account, identity } => operator.act(Request::SendRightRemove {
            address: account,
            right: right(identity),
        }),
        IdentityCommand::List { account, json } => {
            let rows = operator
                .ask(Request::SendRightList { address: account })?
                .rows;
            let mut output = Output::default();
            if json {
                return output.json(&rows);
            }
            let cells: Vec<Vec<String>> = rows
                .iter()
                .map(|row| vec![field(row, "kind"), field(row, "sends_as")])
                .collect();
            output.table(&["kind", "sends as"], &cells)
        }
    }
}

pub(super) fn delegate(operator: &Operator, command: DelegateCommand) -> Result<(), Exit> {
    let lent = |owner, on_behalf| match on_behalf {
        true => Right::OnBehalfOf(owner),
        false => Right::As(owner),
    };
    match command {
        DelegateCommand::Add {
            owner,
            delegate,
            on_behalf,
        } => operator.act(Request::SendRightAdd {
            address: delegate,
            right: lent(owner, on_behalf),
            outside: false,
        }),
        DelegateCommand::Remove {
            owner,
            delegate,
            on_behalf,
        } => operator.act(Request::SendRightRemove {
            address: delegate,
            right: lent(owner, on_behalf),
        }),
    }
}

fn right(identity: String) -> Right {
    match identity.strip_prefix("*@") {
        Some(domain) => Right::Domain(domain.to_owned()),
        None => Right::Address(identity),
    }
}
