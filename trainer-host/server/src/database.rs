//! The database for many tasks: one connection writes, one reads, each under a lock, on threads that may wait.

use alfred_store::{Store, StoreError};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::spawn_blocking;

/// Handles on the database; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    writer: Arc<Mutex<Store>>,
    reader: Arc<Mutex<Store>>,
}

impl Database {
    /// Opens the file twice.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { writer: Arc::new(Mutex::new(Store::open(path)?)), reader: Arc::new(Mutex::new(Store::open(path)?)) })
    }

    /// Runs what writes. A transaction that did not commit was rolled back, so a panic in the middle of another one harms nobody.
    pub(crate) fn write_now<T>(&self, work: impl FnOnce(&mut Store) -> Result<T, StoreError>) -> Result<T, StoreError> {
        work(&mut self.writer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs what reads.
    pub(crate) fn read_now<T>(&self, work: impl FnOnce(&Store) -> Result<T, StoreError>) -> Result<T, StoreError> {
        work(&self.reader.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// As [`Self::write_now`], from a task; it is finished even when the task goes away. `None`: it panicked.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Option<Result<T, StoreError>> {
        let database = self.clone();
        spawn_blocking(move || database.write_now(work)).await.ok()
    }

    /// As [`Self::read_now`], from a task. `None`: it panicked.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Option<Result<T, StoreError>> {
        let database = self.clone();
        spawn_blocking(move || database.read_now(work)).await.ok()
    }
}
