//! The machine by itself: dialects, limits, orders of axes.

use crate::dialect::{Dialect, Limits};
use crate::pickle::Pickle;
use crate::value::{Name, Value};
use proptest::prelude::*;

fn refusal(bytes: &[u8], dialect: Dialect) -> String {
    Pickle::read(bytes, dialect).expect_err("refused").to_string()
}

fn global(module: &str, name: &str) -> Vec<u8> {
    [b"\x80\x02c".as_slice(), module.as_bytes(), b"\n", name.as_bytes(), b"\n."].concat()
}

#[test]
fn a_name_of_one_dialect_is_refused_in_the_other() {
    let checkpoint = [("torch", "FloatStorage"), ("torch._utils", "_rebuild_tensor_v2"), ("argparse", "Namespace")];
    let poses = [
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy._core.numeric", "_frombuffer"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
        ("builtins", "bytes"),
        ("builtins", "dict"),
        ("collections", "defaultdict"),
    ];
    let cases = checkpoint.map(|name| (name, Dialect::Checkpoint, Dialect::Poses)).into_iter();
    for ((module, name), yes, no) in cases.chain(poses.map(|name| (name, Dialect::Poses, Dialect::Checkpoint))) {
        let bytes = global(module, name);
        assert!(matches!(Pickle::read(&bytes, yes).expect("known").root(), Value::Name(_)), "{module}.{name}");
        assert!(refusal(&bytes, no).contains(&format!("it names {module}.{name}, which is refused")), "{module}.{name}");
    }
    let both = global("collections", "OrderedDict");
    for dialect in [Dialect::Checkpoint, Dialect::Poses] {
        assert_eq!(Pickle::read(&both, dialect).expect("known").root(), Value::Name(Name::OrderedDict));
        for (module, name) in [("os", "system"), ("builtins", "eval"), ("numpy", "load"), ("torch", "load"), ("builtins", "bytes.fromhex")]
        {
            assert!(refusal(&global(module, name), dialect).contains("which is refused"), "{module}.{name}");
        }
    }
}

#[test]
fn memory_is_counted_whatever_asks_for_it() {
    let limits = Limits { bytes_max: 1 << 20, instructions_max: 100_000, memory_bytes_max: 1 << 19 };
    let within = |bytes: &[u8]| Pickle::read_within(bytes, Dialect::Poses, limits).map(|_| ()).map_err(|fault| fault.to_string());
    // A text of 64 kB, decoded as bytes over and over.
    let mut decoded = b"\x80\x02c_codecs\nencode\nq\x00X\x00\x00\x01\x00".to_vec();
    decoded.extend(vec![b'a'; 1 << 16]);
    decoded.extend(b"q\x01X\x06\x00\x00\x00latin1q\x02");
    let call = b"h\x00h\x01h\x02\x86R";
    for (repeated, is_read) in [(5, true), (20, false)] {
        let result = within(&[decoded.as_slice(), &call.repeat(repeated), b"."].concat());
        assert_eq!(result.is_ok(), is_read, "{result:?}");
    }
    for bomb in [b"]\x94".as_slice(), b"N", b"N2222", b"}", b")", b"(t", b"](NNNNNNNNe"] {
        let message = within(&[b"\x80\x04".as_slice(), &bomb.repeat(60_000 / bomb.len()), b"."].concat()).expect_err("refused");
        assert!(message.contains("take more memory than allowed: split the video"), "{bomb:?}: {message}");
    }
    assert!(refusal(&b"N".repeat(3_000_000), Dialect::Checkpoint).contains("more than 2000000 instructions"));
    assert!(refusal(b"\x80\x02Nr\xff\xff\xff\x7f.", Dialect::Poses).contains("out of order"));
    assert!(refusal(&vec![b'N'; (16 << 20) + 1], Dialect::Checkpoint).contains("bytes are more than"));
    let list = [b"\x80\x04](".as_slice(), &b"K\x01".repeat(1000), b"e."].concat();
    let pickle = Pickle::read(&list, Dialect::Poses).expect("small");
    assert_eq!(pickle.items(pickle.root()).map(<[_]>::len), Some(1000));
}

/// `_frombuffer(bytes, dtype, shape, order)` in protocol 5.
fn array(data: &[u8], data_type: &str, shape: &[u8], order: u8) -> Vec<u8> {
    let mut out = b"\x80\x05cnumpy._core.numeric\n_frombuffer\n(\x96".to_vec();
    out.extend((data.len() as u64).to_le_bytes());
    out.extend(data);
    out.extend(b"cnumpy\ndtype\n\x8c");
    out.push(data_type.len() as u8);
    out.extend(data_type.as_bytes());
    out.extend(b"\x89\x88\x87R(");
    out.extend(shape.iter().flat_map(|&size| [b'K', size]));
    out.extend(b"t\x8c\x01");
    out.push(order);
    out.extend(b"tR.");
    out
}

#[test]
fn numbers_are_found_in_both_orders_of_axes() {
    let data: Vec<u8> = (0..24).collect();
    for (order, wanted) in [(b'C', [0.0, 1.0, 4.0, 12.0]), (b'F', [0.0, 6.0, 2.0, 1.0])] {
        let bytes = array(&data, "u1", &[2, 3, 4], order);
        let pickle = Pickle::read(&bytes, Dialect::Poses).expect("an array");
        let view = pickle.array(pickle.root()).expect("an array");
        assert_eq!((view.shape(), view.len()), ([2, 3, 4].as_slice(), 24));
        // Elements [0,0,0], [0,0,1], [0,1,0], [1,0,0].
        assert_eq!([0, 1, 4, 12].map(|place| view.number(place)), wanted.map(Some));
        assert_eq!((view.number(23), view.number(24)), (Some(23.0), None));
    }
}

#[test]
fn arrays_whose_shape_and_bytes_contradict_each_other_are_refused() {
    assert!(refusal(&array(&[0; 8], "f4", &[3], b'C'), Dialect::Poses).contains("contradict"));
    assert!(refusal(&array(&[0; 8], "f4", &[255; 4], b'C'), Dialect::Poses).contains("contradict"));
    assert!(refusal(&array(&[0; 8], "f4", &[1, 1, 1, 1, 2], b'C'), Dialect::Poses).contains("more than 4 axes"));
    assert!(refusal(&array(&[0; 8], "f4", &[2], b'K'), Dialect::Poses).contains("mixed order"));
    assert!(refusal(&array(&[0; 8], "M8[ns]", &[1], b'C'), Dialect::Poses).contains("numpy type M8[ns]"));
    let empty = array(&[], "f4", &[0, 3], b'F');
    let pickle = Pickle::read(&empty, Dialect::Poses).expect("an empty array");
    assert!(pickle.array(pickle.root()).is_some_and(|view| view.is_empty() && view.number(0).is_none()));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for dialect in [Dialect::Checkpoint, Dialect::Poses] {
            if let Err(fault) = Pickle::read(&bytes, dialect) {
                prop_assert!(!fault.to_string().contains('\n'));
            }
        }
    }
}
