//! Answers: JSON, or a refusal with a reason; faults of the host are logged here and told without details.

use alfred_store::StoreError;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, Request};
use axum::http::{Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::json;

/// A body in JSON, of a request or an answer.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Answer;

    /// Refuses other types than JSON: forms of other origins cannot send it.
    async fn from_request(request: Request, state: &S) -> Result<Self, Answer> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(Answer::refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send JSON, with the content type application/json"));
        }
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|rejection| Answer { status: rejection.status(), reason: rejection.body_text() })?;
        serde_json::from_slice(&body).map(Self).map_err(|error| {
            let status = if error.classify() == Category::Data { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST };
            Answer { status, reason: format!("the body: {error}") }
        })
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response<Body> {
        match serde_json::to_vec(&self.0) {
            Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
            Err(error) => Answer::fault(&error.to_string()).into_response(),
        }
    }
}

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

impl From<QueryRejection> for Answer {
    fn from(rejection: QueryRejection) -> Self {
        Self { status: rejection.status(), reason: rejection.body_text() }
    }
}

impl From<BytesRejection> for Answer {
    fn from(rejection: BytesRejection) -> Self {
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
