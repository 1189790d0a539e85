//! What an operator asks about app passwords.

use serde_json::json;
use store::{AppPasswordInfo, MailProtocol, Store, StoreError};

use super::operate::{Answer, account_id};
use super::{Failure, FailureKind, Protocol, Request};

/// Does what is asked.
///
/// # Errors
/// In words for the operator.
pub(super) async fn operate(store: &Store, request: Request) -> Result<Answer, Failure> {
    match request {
        Request::AppPasswordAdd {
            address,
            name,
            protocols,
        } => {
            let id = account_id(store, &address).await?;
            let protocols: Vec<MailProtocol> = protocols.into_iter().map(protocol).collect();
            let made = store.add_app_password(id, &name, &protocols).await;
            let password = made.map_err(|error| match error {
                StoreError::Exists(_) => Failure {
                    kind: FailureKind::Exists,
                    text: format!("{address} has an app password named {name}"),
                },
                other => other.into(),
            })?;
            Ok(Answer {
                rows: vec![json!({ "name": name, "password": password.expose_str() })],
                done: format!("the app password {name} of {address} is made"),
            })
        }
        Request::AppPasswordList { address } => {
            let id = account_id(store, &address).await?;
            let (list, own) = store.app_passwords(id).await?;
            Ok(Answer {
                rows: list.iter().map(row).collect(),
                done: match own {
                    true => String::new(),
                    false => format!("only these are good for mail programs of {address}"),
                },
            })
        }
        Request::AppPasswordRemove { address, name } => {
            let id = account_id(store, &address).await?;
            let removed = store.remove_app_password(id, &name).await;
            removed.map_err(|error| match error {
                StoreError::NotFound(_) => {
                    Failure::not_found(format!("{address} has no app password named {name}"))
                }
                other => other.into(),
            })?;
            Ok(Answer::done(format!(
                "the app password {name} of {address} is taken back"
            )))
        }
        Request::AppPasswordOnly { address, only } => {
            let id = account_id(store, &address).await?;
            store.set_mail_password(id, !only).await?;
            Ok(Answer::done(match only {
                true => format!("only app passwords are good for mail programs of {address}"),
                false => format!("the password of {address} is good for mail programs, too"),
            }))
        }
        _ => Err(Failure::invalid("not about app passwords")),
    }
}

const fn protocol(protocol: Protocol) -> MailProtocol {
    match protocol {
        Protocol::Smtp => MailProtocol::Smtp,
        Protocol::Imap => MailProtocol::Imap,
    }
}

fn row(info: &AppPasswordInfo) -> serde_json::Value {
    let protocols: Vec<&str> = info.protocols.iter().map(|one| one.name()).collect();
    let used = info.used.as_ref();
    json!({
        "name": info.name,
        "protocols": protocols,
        "created_at": info.created_at.to_string(),
        "used_at": used.map(|(at, _, _)| at.to_string()),
        "used_by": used.map(|(_, protocol, _)| protocol),
        "used_from": used.map(|(_, _, address)| address),
    })
}
