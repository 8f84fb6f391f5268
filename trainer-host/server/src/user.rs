//! Reviewers: each has a token that is shown once.

use crate::clock::now_ms;
use crate::error::ServeError;
use crate::secret::{hash, new_secret};
use alfred_store::Store;
use alfred_store::user::Role;

/// Adds a reviewer and returns the token to log in with; it is kept as a hash only and cannot be shown again.
///
/// # Errors
/// [`ServeError::Store`] when the name is taken or no name.
pub fn add(store: &mut Store, reviewer: &str, role: Role) -> Result<String, ServeError> {
    let token = new_secret()?;
    store.add_reviewer(reviewer, role, &hash(&token), now_ms())?;
    Ok(token)
}

/// Gives a reviewer a new token; the old one and all sessions end.
///
/// # Errors
/// [`ServeError::Store`] for an unknown reviewer.
pub fn renew(store: &mut Store, reviewer: &str) -> Result<String, ServeError> {
    let token = new_secret()?;
    store.set_token(reviewer, Some(&hash(&token)), now_ms())?;
    Ok(token)
}

/// Ends a reviewer's access; what was said stays.
///
/// # Errors
/// [`ServeError::Store`] for an unknown reviewer.
pub fn revoke(store: &mut Store, reviewer: &str) -> Result<(), ServeError> {
    Ok(store.set_token(reviewer, None, now_ms())?)
}
