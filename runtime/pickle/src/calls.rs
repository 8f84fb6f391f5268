//! What the owners of the known names mean by calling them, as data.

use crate::array::{Array, NumberType, RANK_MAX};
use crate::machine::{Fault, Machine, WRONG_VALUE, index32};
use crate::pickle::clip;
use crate::value::{ArrayIndex, Id, Name, Span, Value};

impl Machine<'_> {
    /// `REDUCE` and `NEWOBJ`: a name and the tuple of its arguments.
    pub(crate) fn call(&mut self) -> Result<(), Fault> {
        let (arguments, name) = (self.pop()?, self.pop()?);
        let (Value::Tuple(items), Value::Name(name)) = (self.pickle.get(arguments), self.pickle.get(name)) else { return Err(WRONG_VALUE) };
        let mut values = [Value::Null; 5];
        let count = self.pickle.collection(items).len();
        for (value, id) in values.iter_mut().zip(self.pickle.collection(items)) {
            *value = self.pickle.get(*id);
        }
        match (name, count, values) {
            (Name::RebuildTensor, ..) => self.push(Value::Tensor(arguments)),
            (Name::OrderedDict, 0, _) | (Name::DefaultDict, 0, _) => self.push_dict(),
            (Name::DefaultDict, 1, [Value::Null | Value::Name(Name::Factory), ..]) => self.push_dict(),
            (Name::Namespace, 0, _) => self.push(Value::Namespace(None)),
            (Name::Encode, 2, [text, coding, ..]) => self.encode(text, coding),
            (Name::Bytes, 0, _) => self.push(Value::Bytes(Span { start: 0, length: 0 })),
            (Name::DataType, 1..=3, [name, ..]) => {
                let name = self.pickle.text(name).ok_or(WRONG_VALUE)?;
                let number_type = NumberType::of(name).ok_or_else(|| unread(&format!("numpy type {}", clip(name))))?;
                self.push(Value::DataType(number_type))
            }
            (Name::Scalar, 2, [Value::DataType(number_type), bytes, ..]) => {
                let number = self.pickle.bytes(bytes).and_then(|bytes| number_type.value(bytes)).ok_or(WRONG_VALUE)?;
                self.push(number)
            }
            (Name::Reconstruct, 3, [Value::Name(Name::ArrayClass), ..]) => self.push_array(Array::EMPTY),
            (Name::FromBuffer, 4 | 5, [bytes, data_type, shape, order, Value::Null]) => {
                let is_fortran = match self.pickle.text(order) {
                    Some("C") => false,
                    Some("F") => true,
                    _ => return Err(unread("a numpy array in a mixed order of its axes")),
                };
                let array = self.array_of(data_type, shape, is_fortran, bytes)?;
                self.push_array(array)
            }
            _ => Err(WRONG_VALUE),
        }
    }

    /// `BUILD`: attributes or contents for the value below.
    pub(crate) fn build(&mut self) -> Result<(), Fault> {
        let state = self.pop()?;
        match (self.top_value()?, self.pickle.get(state)) {
            (Value::Namespace(_), Value::Dict(_)) => self.replace_top(Value::Namespace(Some(state))),
            // Attributes of an `OrderedDict` (`_metadata`) are not its items, and are dropped.
            (Value::Dict(_), Value::Dict(_)) => Ok(()),
            (Value::DataType(number_type), Value::Tuple(_)) => self.check_byte_order(number_type, state),
            (Value::Array(index), Value::Tuple(fields)) => {
                let &[_version, shape, data_type, is_fortran, bytes] = self.pickle.collection(fields) else { return Err(WRONG_VALUE) };
                let Value::Bool(is_fortran) = self.pickle.get(is_fortran) else { return Err(WRONG_VALUE) };
                let get = |id: Id| self.pickle.get(id);
                let array = self.array_of(get(data_type), get(shape), is_fortran, get(bytes))?;
                *self.pickle.arrays.get_mut(index.0 as usize).ok_or(WRONG_VALUE)? = array;
                Ok(())
            }
            _ => Err(WRONG_VALUE),
        }
    }

    /// A dtype's state: `(version, byte order, ...)`.
    fn check_byte_order(&self, number_type: NumberType, state: Id) -> Result<(), Fault> {
        let order = self.pickle.items(self.pickle.get(state)).and_then(|fields| fields.get(1)).map(|id| self.pickle.get(*id));
        match order.and_then(|order| self.pickle.text(order)) {
            Some("<" | "|" | "=") => Ok(()),
            Some(_) if number_type.bytes() == 1 => Ok(()),
            Some(_) => Err(unread("a big-endian numpy array")),
            None => Err(WRONG_VALUE),
        }
    }

    fn push_array(&mut self, array: Array) -> Result<(), Fault> {
        self.spend(2 * size_of::<Array>())?;
        let index = ArrayIndex(index32(self.pickle.arrays.len())?);
        self.pickle.arrays.push(array);
        self.push(Value::Array(index))
    }

    /// Checks an array's shape against its bytes.
    fn array_of(&self, data_type: Value, shape: Value, is_fortran: bool, data: Value) -> Result<Array, Fault> {
        let (Value::DataType(number_type), Value::Tuple(axes)) = (data_type, shape) else { return Err(WRONG_VALUE) };
        let axes = self.pickle.collection(axes);
        let mut array = Array { number_type, rank: axes.len() as u8, is_fortran, data, ..Array::EMPTY };
        if axes.len() > RANK_MAX {
            return Err(unread(&format!("a numpy array of more than {RANK_MAX} axes")));
        }
        let mut bytes = number_type.bytes();
        for (size, id) in array.shape.iter_mut().zip(axes) {
            let Value::Integer(length) = self.pickle.get(*id) else { return Err(WRONG_VALUE) };
            *size = u32::try_from(length).map_err(|_| WRONG_VALUE)?;
            bytes = bytes.checked_mul(*size as usize).ok_or(WRONG_VALUE)?;
        }
        let held = self.pickle.bytes(data).ok_or(WRONG_VALUE)?.len();
        if held == bytes { Ok(array) } else { Err(Fault::Damaged("a numpy array's shape and bytes contradict each other")) }
    }

    /// `_codecs.encode(text, "latin1")`.
    fn encode(&mut self, text: Value, coding: Value) -> Result<(), Fault> {
        let (Some(text), Some("latin1" | "latin-1")) = (self.pickle.text(text), self.pickle.text(coding)) else { return Err(WRONG_VALUE) };
        // Charged before it is done, at what it can take at most: a text may be named again and again.
        self.spend(text.len())?;
        let start = self.pickle.decoded.len();
        for letter in text.chars() {
            self.pickle.decoded.push(u8::try_from(letter).map_err(|_| WRONG_VALUE)?);
        }
        let span = Span { start: index32(start)?, length: index32(self.pickle.decoded.len() - start)? };
        self.push(Value::DecodedBytes(span))
    }
}

fn unread(what: &str) -> Fault {
    Fault::Foreign(format!("it holds {what}, which is not read (numpy.ascontiguousarray(x, dtype='<f4') is)"))
}
