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
    if !is_plausible(bytes) {
        return Err("no npy array, or one that claims more than the file holds: save it again with numpy.save".into());
    }
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

/// Whether header and data can be as long as the file says: the library reserves what a header claims before it looks at the bytes.
fn is_plausible(bytes: &[u8]) -> bool {
    let Some(rest) = bytes.strip_prefix(b"\x93NUMPY") else { return false };
    let (header_bytes, start) = match *rest {
        [1, _, low, high, ..] => (usize::from(u16::from_le_bytes([low, high])), 4),
        [_, _, a, b, c, d, ..] => (u32::from_le_bytes([a, b, c, d]) as usize, 6),
        _ => return false,
    };
    let Some(header) = rest[start..].get(..header_bytes) else { return false };
    let held = rest.len() - start - header_bytes;
    // One axis: the runs of digits in the header are the element size and the length; an element has at least one byte.
    let numbers = || header.split(|byte| !byte.is_ascii_digit()).filter(|digits| !digits.is_empty());
    numbers().count() <= 2
        && numbers().all(|digits| {
            let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<usize>().ok());
            number.is_some_and(|number| number <= held.max(ELEMENT_BYTES_MAX))
        })
}

/// Bytes of the largest element type that is read.
const ELEMENT_BYTES_MAX: usize = 8;

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
        assert_eq!(parse(&npy(vec![1_u8; 1000])).map(|mask| mask.len()), Ok(1000));
    }

    #[test]
    fn a_header_that_claims_more_than_the_file_holds_is_refused() {
        let mut long = npy(vec![0_u8; 10]);
        let text = b"(10,)";
        let at = long.windows(text.len()).position(|part| part == text).expect("a shape");
        long.splice(at..at + text.len() + 10, *b"(99999999999,),");
        assert!(parse(&long).is_err());
        assert!(parse(b"\x93NUMPY\x02\x00\x8a\xff\x84\xd8{'descr'").is_err());
        assert!(parse(b"\x93NUMPY\x01").is_err());
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
