//! Answers: JSON, or a refusal with a reason; faults of the host are logged here and told without details.

use alfred_store::StoreError;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde_json::json;

/// A refusal.
#[derive(Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    reason: String,
}

impl Answer {
    pub(crate) fn refuse(status: StatusCode, reason: &str) -> Self {
        Self { status, reason: reason.to_owned() }
    }

    fn fault(what: &str) -> Self {
        eprintln!("http: {what}");
        Self::refuse(StatusCode::INTERNAL_SERVER_ERROR, "the host failed; its log says why. Nothing was changed: send the request again")
    }
}

impl From<StoreError> for Answer {
    fn from(error: StoreError) -> Self {
        let status = match &error {
            StoreError::Unknown { .. } => StatusCode::NOT_FOUND,
            StoreError::Range { .. } | StoreError::Name { .. } | StoreError::Import { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            refusal if refusal.is_refusal() => StatusCode::CONFLICT,
            fault => return Self::fault(&fault.to_string()),
        };
        Self { status, reason: error.to_string() }
    }
}

impl From<Answer> for Response<Body> {
    fn from(answer: Answer) -> Self {
        answer.into_response()
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response<Body> {
        (self.status, Json(json!({ "error": self.reason }))).into_response()
    }
}

impl From<JsonRejection> for Answer {
    fn from(rejection: JsonRejection) -> Self {
        Self { status: rejection.status(), reason: rejection.body_text() }
    }
}

impl From<QueryRejection> for Answer {
    fn from(rejection: QueryRejection) -> Self {
        Self { status: rejection.status(), reason: rejection.body_text() }
    }
}

impl From<PathRejection> for Answer {
    fn from(rejection: PathRejection) -> Self {
        Self { status: rejection.status(), reason: rejection.body_text() }
    }
}

/// The outcome of work with the database.
pub(crate) fn done<T>(outcome: Option<Result<T, StoreError>>) -> Result<T, Answer> {
    match outcome {
        Some(outcome) => Ok(outcome?),
        None => Err(Answer::fault("work with the database ended early")),
    }
}
