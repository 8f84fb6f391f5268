//! Chains on disk: each finished slice is kept, so that an interrupted experiment goes on where it was.
//!
//! In the output folder's `work`, `MODEL-CAMERA-METHODOLOGY-SEED.json` holds the state; weights lie beside it under the number of the iteration that made them. Weights
//! are written first and named by the state, so a kill between the two leaves the state before.

use crate::error::HostError;
use crate::experiment::chain::ChainState;
use crate::train::checkpoint::replace;
use std::fs;
use std::path::{Path, PathBuf};

/// A chain's state, and the weights that it goes on with; none once it is finished.
pub type Kept = (ChainState, Option<Vec<u8>>);

/// Where a cell's chain is kept.
#[derive(Clone, Debug)]
pub struct Place {
    folder: PathBuf,
    name: String,
}

impl Place {
    /// The place of a cell; its folder is made.
    ///
    /// # Errors
    /// [`HostError::File`].
    pub fn new(out: &Path, model: &str, camera: &str, methodology: &str, seed: u64) -> Result<Self, HostError> {
        let folder = out.join("work");
        fs::create_dir_all(&folder).map_err(HostError::file(&folder))?;
        Ok(Self { folder, name: format!("{model}-{camera}-{methodology}-seed{seed}") })
    }

    fn state(&self) -> PathBuf {
        self.folder.join(format!("{}.json", self.name))
    }

    fn weights(&self, iterations: usize) -> PathBuf {
        self.folder.join(format!("{}.{iterations}.safetensors", self.name))
    }

    /// The state and weights after the latest finished iteration; no weights after the last of `length` iterations.
    ///
    /// # Errors
    /// [`HostError`] when a file is unreadable or not of this build.
    pub fn load(&self, length: usize) -> Result<Option<Kept>, HostError> {
        let path = self.state();
        if !path.is_file() {
            return Ok(None);
        }
        let text = fs::read(&path).map_err(HostError::file(&path))?;
        let state: ChainState = serde_json::from_slice(&text)
            .map_err(|error| HostError::data(&path, error, "it is from another build: remove it, and this cell starts anew"))?;
        if state.steps.len() >= length {
            return Ok(Some((state, None)));
        }
        let path = self.weights(state.steps.len());
        let weights = fs::read(&path).map_err(HostError::file(&path))?;
        Ok(Some((state, Some(weights))))
    }

    /// Keeps an iteration, and removes the weights before it; after the last of `length` iterations the weights go too.
    ///
    /// # Errors
    /// [`HostError::File`].
    pub fn keep(&self, state: &ChainState, weights: &[u8], length: usize) -> Result<(), HostError> {
        let done = state.steps.len();
        if done < length {
            replace(&self.weights(done), weights)?;
        }
        let path = self.state();
        let text = serde_json::to_vec(state).map_err(|error| HostError::data(&path, error, "please report this"))?;
        replace(&path, &text)?;
        if done > 0 {
            // Gone already after an earlier kill: nothing to do.
            let _ = fs::remove_file(self.weights(done - 1));
        }
        Ok(())
    }
}
