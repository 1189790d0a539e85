//! The pages by which people leave mailing lists (RFC 8058).
//!
//! Only POST changes anything: programs that look at links in letters use GET.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base::EmailAddress;
use store::{Store, StoreError};
use tracing::{info, warn};
use transport::lists::{LINK_PATH, is_link, unsubscribe_by_link};

/// A form with one field; nobody has to send more.
const FORM_BYTES_MAX: usize = 4 * 1024;

/// The pages.
pub(super) fn routes() -> Router<Store> {
    let path = format!("{LINK_PATH}/{{list}}/{{tag}}");
    Router::new()
        .route(&path, get(show).post(leave))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
}

/// Asks, and changes nothing.
async fn show(State(store): State<Store>, Path((list, tag)): Path<(String, String)>) -> Response {
    let Ok(address) = EmailAddress::parse(&list) else {
        return no_link();
    };
    match is_link(&store, &address, &tag).await {
        Ok(true) => page(
            StatusCode::OK,
            &format!(
                "<p>Do you want to leave the mailing list {}?</p>\n\
                 <form method=\"post\"><button name=\"List-Unsubscribe\" value=\"One-Click\">\
                 Leave</button></form>",
                escaped(&address.to_string())
            ),
        ),
        Ok(false) => no_link(),
        Err(error) => failed(&error),
    }
}

/// RFC 8058 §3.2: without a question, a log-in or a cookie. The body says nothing that the address does
/// not say.
async fn leave(State(store): State<Store>, Path((list, tag)): Path<(String, String)>) -> Response {
    let Ok(address) = EmailAddress::parse(&list) else {
        return no_link();
    };
    match unsubscribe_by_link(&store, &address, &tag).await {
        Ok(Some(gone)) => {
            info!(list = %address, gone, "a member has left by a link");
            let text = format!(
                "<p>You are not on the mailing list {} any more.</p>",
                escaped(&address.to_string())
            );
            page(StatusCode::OK, &text)
        }
        Ok(None) => no_link(),
        Err(error) => failed(&error),
    }
}

fn no_link() -> Response {
    page(
        StatusCode::NOT_FOUND,
        "<p>This link is not one of this server.</p>",
    )
}

fn failed(error: &StoreError) -> Response {
    warn!(%error, "the store does not answer");
    let text = "<p>Not now; please try again later.</p>";
    page(StatusCode::SERVICE_UNAVAILABLE, text)
}

fn page(status: StatusCode, content: &str) -> Response {
    let body = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Mailing list</title>\n\
         {content}\n</html>\n"
    );
    let mut response = (status, body).into_response();
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in headers {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
