//! The page's files, as the build found them in `page/`, and the API's description.

use super::answer::Answer;
use axum::body::Body;
use axum::http::{HeaderName, Method, Response, StatusCode, Uri, header};
use axum::response::IntoResponse;

/// Path, type, content.
type File = (&'static str, &'static str, &'static [u8]);

static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/page.rs"));
static OPENAPI: &str = include_str!("../../openapi.json");

/// The API's description.
pub(crate) async fn openapi() -> ([(HeaderName, &'static str); 1], &'static str) {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

/// A file of the page, by its whole path: there is no folder that a path could leave.
pub(crate) async fn file(method: Method, uri: Uri) -> Response<Body> {
    let path = if uri.path() == "/" { "/index.html" } else { uri.path() };
    match FILES.iter().find(|(name, ..)| *name == path) {
        Some((_, kind, content)) if method.is_safe() => ([(header::CONTENT_TYPE, *kind)], *content).into_response(),
        _ => Answer::refuse(StatusCode::NOT_FOUND, "there is nothing here; /api/openapi.json lists what there is").into_response(),
    }
}

/// A path that is there, asked for in a way that is not.
pub(crate) async fn wrong_method() -> Answer {
    Answer::refuse(StatusCode::METHOD_NOT_ALLOWED, "another method is needed here; /api/openapi.json lists them")
}
