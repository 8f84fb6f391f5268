//! Who calls: a session by its cookie; whatever changes something must also repeat the session's guard in a header, which no page of
//! another origin can.

use super::answer::{Answer, done};
use super::{App, now};
use crate::secret::{SECRET_LETTERS, hash, is_same};
use alfred_store::device::Sha256;
use alfred_store::user::{Reviewer, Role};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};

/// The session's cookie.
pub(crate) const COOKIE: &str = "alfred_session";
/// The header with the session's guard.
pub(crate) const GUARD: &str = "x-alfred-guard";

/// Somebody who is logged in.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) reviewer: Reviewer,
    pub(crate) guard: String,
    pub(crate) secret: Sha256,
}

impl Caller {
    /// Refuses whoever is no operator.
    pub(crate) fn need_operator(&self) -> Result<&str, Answer> {
        if self.reviewer.role == Role::Operator {
            Ok(&self.reviewer.name)
        } else {
            Err(Answer::refuse(StatusCode::FORBIDDEN, "only operators may do this; ask one, or have your role changed"))
        }
    }
}

/// The secret of the session's cookie.
fn secret_of(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, secret)| secret).filter(|secret| secret.len() == SECRET_LETTERS)
}

impl FromRequestParts<App> for Caller {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Answer> {
        let stranger = || Answer::refuse(StatusCode::UNAUTHORIZED, "log in first");
        let secret = hash(secret_of(&parts.headers).ok_or_else(stranger)?);
        let now_ms = now();
        let session = done(app.database.read(move |store| store.session(&secret, now_ms)).await)?.ok_or_else(stranger)?;
        if !parts.method.is_safe() {
            let guard = parts.headers.get(GUARD).map_or(&b""[..], |guard| guard.as_bytes());
            if !is_same(guard, session.guard.as_bytes()) {
                return Err(Answer::refuse(StatusCode::FORBIDDEN, "the header x-alfred-guard must hold the guard that the login gave"));
            }
        }
        Ok(Self { reviewer: session.reviewer, guard: session.guard, secret })
    }
}
