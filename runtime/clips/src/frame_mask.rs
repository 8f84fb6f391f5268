//! Reads npy frame masks: one number per frame, 0 = normal, anything else = anomalous (ShanghaiTech's `test_frame_mask`).

use crate::error::ClipError;
use crate::pose_file::CLIP_FRAMES_MAX;
use ndarray::Array1;
use ndarray_npy::{ReadNpyExt, ReadableElement};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

/// Whether each frame of a clip is anomalous.
pub type FrameMask = Vec<bool>;

/// Bytes of the largest mask: eight per frame and the header.
const MASK_BYTES_MAX: u64 = CLIP_FRAMES_MAX * 8 + 4096;

/// Reads every `NAME.npy` of a folder, keyed by NAME.
///
/// # Errors
/// One line that names the folder or file and the mend.
pub fn read_folder(folder: &Path) -> Result<BTreeMap<String, FrameMask>, ClipError> {
    let entries = std::fs::read_dir(folder).map_err(|error| ClipError::new(folder, format!("{error}: a folder of npy masks is needed")))?;
    let mut masks = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(|error| ClipError::new(folder, error))?.path();
        if path.extension().is_some_and(|extension| extension == "npy") {
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            masks.insert(name, read(&path)?);
        }
    }
    if masks.is_empty() {
        return Err(ClipError::new(folder, "no .npy file in it: one mask per clip is needed, named like the clip"));
    }
    Ok(masks)
}

/// Reads one mask.
///
/// # Errors
/// One line that names the file and the mend.
pub fn read(path: &Path) -> Result<FrameMask, ClipError> {
    let size = std::fs::metadata(path).map_err(|error| ClipError::new(path, error))?.len();
    if size > MASK_BYTES_MAX {
        return Err(ClipError::new(path, format!("{size} bytes, at most {MASK_BYTES_MAX} are read: is it a mask of one clip?")));
    }
    let bytes = std::fs::read(path).map_err(|error| ClipError::new(path, error))?;
    parse(&bytes).map_err(|what| ClipError::new(path, what))
}

/// Reads one mask from a file's bytes: any integer, float or bool type, one axis.
///
/// # Errors
/// What is wrong, without the file's name.
pub fn parse(bytes: &[u8]) -> Result<FrameMask, String> {
    type Reader = fn(&[u8]) -> Option<FrameMask>;
    let readers: [Reader; 9] = [
        as_mask::<u8>,
        as_mask::<i64>,
        as_mask::<bool>,
        as_mask::<i32>,
        as_mask::<i8>,
        as_mask::<u16>,
        as_mask::<u32>,
        as_mask::<f64>,
        as_mask::<f32>,
    ];
    readers
        .iter()
        .find_map(|read| read(bytes))
        .ok_or_else(|| "no npy array with one axis of numbers: save it with numpy.save(path, mask.astype('uint8').ravel())".into())
}

fn as_mask<T: ReadableElement + Default + PartialEq>(bytes: &[u8]) -> Option<FrameMask> {
    let array = Array1::<T>::read_npy(Cursor::new(bytes)).ok()?;
    Some(array.iter().map(|value| *value != T::default()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray_npy::WriteNpyExt;
    use proptest::prelude::*;

    fn npy<T: ndarray_npy::WritableElement>(values: Vec<T>) -> Vec<u8> {
        let mut bytes = Vec::new();
        Array1::from_vec(values).write_npy(&mut bytes).expect("in memory");
        bytes
    }

    #[test]
    fn every_usual_type_is_read() {
        let expected = vec![false, true, false];
        assert_eq!(parse(&npy(vec![0_u8, 1, 0])), Ok(expected.clone()));
        assert_eq!(parse(&npy(vec![0_i64, 1, 0])), Ok(expected.clone()));
        assert_eq!(parse(&npy(vec![false, true, false])), Ok(expected.clone()));
        assert_eq!(parse(&npy(vec![0.0_f64, 1.0, 0.0])), Ok(expected));
        assert!(parse(b"no npy").is_err());
        assert!(parse(&npy(vec![0_u8, 1])[..20]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..140) {
            let _ = parse(&bytes);
            let mut file = npy(vec![1_u8; 10]);
            file.truncate(cut);
            let _ = parse(&file);
        }
    }
}
