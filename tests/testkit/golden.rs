//! Golden data: what the published code computes with the published weights. Not part of the repository (licences), so that tests
//! look for it beside the repository and say loudly that they were skipped when it is not there.

use alfred_core::limits::{CHANNELS, JOINTS};
use alfred_core::scorer::Window;
use safetensors::{Dtype, SafeTensors};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Environment variable that names the folder with `golden/`; without it, `shared` beside the repository is meant.
pub const SHARED_FOLDER_VARIABLE: &str = "ALFRED_SHARED";

/// Prints a line to the terminal, past the capture of test harnesses.
pub fn announce(text: &str) {
    // A closed terminal is no reason to fail.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Path of a golden file such as `vectors/stgnf_shanghaitech.safetensors`; `None`, and a loud line, when it is not here.
#[must_use]
pub fn golden_path(file: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folder = std::env::var_os(SHARED_FOLDER_VARIABLE).map_or_else(beside, PathBuf::from);
    let path = folder.join("golden").join(file);
    if path.exists() {
        return Some(path);
    }
    announce(&format!("SKIPPED: no golden data at {}; set {SHARED_FOLDER_VARIABLE} to the folder that holds golden/", path.display()));
    None
}

/// A tensor as f64 (exact for f32 too, and for integers up to 2^53), row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct GoldenTensor {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, as many as the shape says.
    pub values: Vec<f64>,
}

impl GoldenTensor {
    /// The rows of the first axis, each as a slice.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        let row = self.shape.iter().skip(1).product::<usize>().max(1);
        self.values.chunks_exact(row)
    }

    /// Windows from a tensor (N, C, T, 18) with at least two channels, of which x and y are taken and rounded to f32.
    ///
    /// # Panics
    /// When the shape is another one: golden data is ours.
    #[must_use]
    pub fn windows(&self) -> Vec<Window> {
        let [_, channels, frames, JOINTS] = self.shape[..] else { panic!("{:?} is not (N, C, T, {JOINTS})", self.shape) };
        assert!(channels >= CHANNELS, "{:?} has no x and y", self.shape);
        let to_window = |row: &[f64]| {
            let values: Vec<f32> = row[..CHANNELS * frames * JOINTS].iter().map(|&value| value as f32).collect();
            Window::from_time_major(&values).expect("a window's length")
        };
        self.rows().map(to_window).collect()
    }
}

/// A golden safetensors file.
pub struct GoldenFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl GoldenFile {
    /// Reads a file that [`golden_path`] found; `None`, and a loud line, when it is not here.
    ///
    /// # Panics
    /// When it is here and cannot be read.
    #[must_use]
    pub fn find(file: &str) -> Option<Self> {
        let path = golden_path(file)?;
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Some(Self { path, bytes })
    }

    /// A tensor of type f32, f64 or i64.
    ///
    /// # Panics
    /// When the file has no such tensor: golden data is ours.
    #[must_use]
    pub fn tensor(&self, name: &str) -> GoldenTensor {
        let complain = |what: &dyn std::fmt::Display| -> ! { panic!("{}: tensor {name}: {what}", self.path.display()) };
        let file = SafeTensors::deserialize(&self.bytes).unwrap_or_else(|error| complain(&error));
        let view = file.tensor(name).unwrap_or_else(|error| complain(&error));
        let data = view.data();
        let values = match view.dtype() {
            Dtype::F32 => data.as_chunks().0.iter().map(|&bytes| f64::from(f32::from_le_bytes(bytes))).collect(),
            Dtype::F64 => data.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect(),
            Dtype::I64 => data.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as f64).collect(),
            other => complain(&format!("{other:?} is not supported")),
        };
        GoldenTensor { shape: view.shape().to_vec(), values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::{TensorView, serialize};

    #[test]
    fn tensors_are_read_as_f64_and_windows_take_x_and_y() {
        let values: Vec<u8> = (0..3 * 4 * 18).flat_map(|value| (value as f32).to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, vec![1, 3, 4, 18], &values).expect("valid");
        let file = GoldenFile { path: PathBuf::new(), bytes: serialize([("x", view)], None).expect("valid") };
        let tensor = file.tensor("x");
        assert_eq!((tensor.shape.as_slice(), tensor.values.len(), tensor.rows().len()), (&[1, 3, 4, 18][..], 216, 1));
        let windows = tensor.windows();
        // Channel 1, joint 5, frame 2.
        assert_eq!(windows[0].values()[(18 + 5) * 4 + 2], ((4 + 2) * 18 + 5) as f32);
    }
}
