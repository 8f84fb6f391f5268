//! A reader of the pickles inside PyTorch checkpoints that builds data and never runs anything.
//!
//! A pickle is a program for a stack machine that may name any Python function and call it. This machine knows the few names of
//! [`Name`] and what PyTorch means by them; any other name is refused where it stands, called or not. `argparse.Namespace`, in which
//! training scripts keep their arguments, is only ever a list of names and values here.
//!
//! Why our own: the crate `pytorch-reader` (of the burn project; safe and well kept) skips names it does not know instead of refusing
//! them, drops the attributes of a Namespace, where R and the hop limit stand, and brings tar and deflate along; `candle-core` and
//! `burn-store` are whole frameworks; `serde-pickle` knows no persistent ids. Values live in one list and refer to each other by number,
//! so that cycles, repeated references and deep nesting cost nothing: no recursion, no copies.

use super::values::{Id, Name, Value};
use std::collections::HashMap;
use std::fmt;

/// Largest pickle, bytes. A published one has 55 kB.
pub const PICKLE_BYTES_MAX: usize = 16 << 20;
/// Instructions of one pickle at most; also bounds its values. A published one has 15 000.
const INSTRUCTIONS_MAX: usize = 2_000_000;
/// Collections open at once at most.
const OPEN_COLLECTIONS_MAX: usize = 256;
/// Longest key of a storage, bytes; PyTorch writes short numbers.
const STORAGE_KEY_BYTES_MAX: usize = 64;
/// Pickle protocols: PyTorch writes 2.
const PROTOCOLS: std::ops::RangeInclusive<u8> = 2..=5;

/// Why a pickle is refused; at which byte.
#[derive(Debug, PartialEq, Eq)]
pub struct PickleFault {
    /// Byte of the instruction.
    pub at: usize,
    /// What is wrong there.
    pub what: String,
    /// What to do about it.
    pub mend: &'static str,
}

impl fmt::Display for PickleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: {}: {}", self.at, self.what, self.mend)
    }
}

const MEND_DAMAGED: &str = "the file is damaged: copy or save it again";
const MEND_FOREIGN: &str = "save only plain values and the state_dict, with torch.save({\"state_dict\": model.state_dict()}, FILE)";
const MEND_PROTOCOL: &str = "save it with torch.save and its default protocol";

/// A read pickle.
#[derive(Debug)]
pub struct Pickle {
    values: Vec<Value>,
    root: Id,
}

impl Pickle {
    /// Reads a pickle; what follows its end is ignored.
    ///
    /// # Errors
    /// [`PickleFault`] when it is damaged, too large, or names anything but the names of [`Name`].
    pub fn read(bytes: &[u8]) -> Result<Self, PickleFault> {
        let mut machine = Machine { bytes, at: 0, values: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
        let fault = |at, what: String, mend| Err(PickleFault { at, what, mend });
        if bytes.len() > PICKLE_BYTES_MAX {
            return fault(0, format!("{} bytes are more than the {PICKLE_BYTES_MAX} allowed", bytes.len()), MEND_FOREIGN);
        }
        for _ in 0..INSTRUCTIONS_MAX {
            let at = machine.at;
            match machine.step() {
                Ok(None) => {}
                Ok(Some(root)) => return Ok(Self { values: machine.values, root }),
                Err(Fault::Damaged(what)) => return fault(at, what.into(), MEND_DAMAGED),
                Err(Fault::Foreign(what)) => return fault(at, what, MEND_FOREIGN),
                Err(Fault::Protocol(what)) => return fault(at, what, MEND_PROTOCOL),
            }
        }
        fault(machine.at, format!("more than {INSTRUCTIONS_MAX} instructions"), MEND_FOREIGN)
    }

    /// The outermost value.
    #[must_use]
    pub fn root(&self) -> &Value {
        self.get(self.root)
    }

    /// A value by number.
    #[must_use]
    pub fn get(&self, id: Id) -> &Value {
        // Ids only come from this pickle; another one's is our bug, and answers None rather than panic.
        self.values.get(id.0).unwrap_or(&Value::Null)
    }

    /// The pairs of a dictionary or Namespace whose keys are texts, in order; none for other values.
    pub fn entries<'p>(&'p self, value: &'p Value) -> impl Iterator<Item = (&'p str, &'p Value)> {
        let value = if let Value::Namespace(Some(attributes)) = value { self.get(*attributes) } else { value };
        let pairs = if let Value::Dict(pairs) = value { pairs.as_slice() } else { &[] };
        pairs.iter().filter_map(|&(key, value)| match self.get(key) {
            Value::Text(key) => Some((key.as_str(), self.get(value))),
            _ => None,
        })
    }

    /// A dictionary's value; the last one, as in Python, where a key occurs again.
    #[must_use]
    pub fn entry<'p>(&'p self, value: &'p Value, key: &str) -> Option<&'p Value> {
        self.entries(value).filter(|(name, _)| *name == key).last().map(|(_, value)| value)
    }
}

enum Fault {
    Damaged(&'static str),
    Foreign(String),
    Protocol(String),
}

const CUT_SHORT: Fault = Fault::Damaged("the pickle ends early");
const STACK_EMPTY: Fault = Fault::Damaged("an instruction finds no value");
const WRONG_VALUE: Fault = Fault::Damaged("an instruction finds a value of another kind");

struct Machine<'b> {
    bytes: &'b [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack where a collection began.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'b> Machine<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], Fault> {
        let end = self.at.checked_add(count).ok_or(CUT_SHORT)?;
        let bytes = self.bytes.get(self.at..end).ok_or(CUT_SHORT)?;
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.take(N)?.try_into().map_err(|_| CUT_SHORT)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn length32(&mut self) -> Result<usize, Fault> {
        usize::try_from(u32::from_le_bytes(self.array()?)).map_err(|_| CUT_SHORT)
    }

    fn length64(&mut self) -> Result<usize, Fault> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| CUT_SHORT)
    }

    fn text(&mut self, length: usize) -> Result<&'b str, Fault> {
        std::str::from_utf8(self.take(length)?).map_err(|_| Fault::Damaged("a text is not UTF-8"))
    }

    fn line(&mut self) -> Result<&'b str, Fault> {
        let rest = self.bytes.get(self.at..).ok_or(CUT_SHORT)?;
        let length = rest.iter().position(|&byte| byte == b'\n').ok_or(CUT_SHORT)?;
        let line = self.text(length)?;
        self.at += 1;
        Ok(line)
    }

    fn push(&mut self, value: Value) {
        self.stack.push(Id(self.values.len()));
        self.values.push(value);
    }

    fn pop(&mut self) -> Result<Id, Fault> {
        // Values below an open collection's beginning belong to the outside.
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor { Err(STACK_EMPTY) } else { self.stack.pop().ok_or(STACK_EMPTY) }
    }

    fn top(&self) -> Result<Id, Fault> {
        self.stack.last().copied().ok_or(STACK_EMPTY)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, Fault> {
        let mark = self.marks.pop().ok_or(Fault::Damaged("a collection ends that never began"))?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn value(&self, id: Id) -> &Value {
        self.values.get(id.0).unwrap_or(&Value::Null)
    }

    fn remember(&mut self, key: u32) -> Result<(), Fault> {
        self.memo.insert(key, self.top()?);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<(), Fault> {
        let id = self.memo.get(&key).copied().ok_or(Fault::Damaged("a value is recalled that was never remembered"))?;
        self.stack.push(id);
        Ok(())
    }

    /// Runs one instruction; the root when it is the last.
    fn step(&mut self) -> Result<Option<Id>, Fault> {
        let code = self.byte()?;
        match code {
            b'.' => return self.pop().map(Some),
            0x80 => {
                let protocol = self.byte()?;
                if !PROTOCOLS.contains(&protocol) {
                    return Err(Fault::Protocol(format!("pickle protocol {protocol}")));
                }
            }
            // A frame's length helps buffered readers only.
            0x95 => drop(self.array::<8>()?),
            b'(' => {
                if self.marks.len() >= OPEN_COLLECTIONS_MAX {
                    return Err(Fault::Foreign(format!("more than {OPEN_COLLECTIONS_MAX} nested collections")));
                }
                self.marks.push(self.stack.len());
            }
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => self.stack.push(self.top()?),
            b'N' => self.push(Value::Null),
            0x88 | 0x89 => self.push(Value::Bool(code == 0x88)),
            b'J' | b'K' | b'M' | 0x8a | b'G' => self.number(code)?,
            b'X' | 0x8c | 0x8d | b'U' | b'T' | b'B' | b'C' | 0x8e => self.string(code)?,
            b')' | b't' | 0x85..=0x87 | b']' | b'l' | b'a' | b'e' | b'}' | b'd' | b's' | b'u' => self.collection(code)?,
            b'q' => {
                let key = self.byte()?;
                self.remember(u32::from(key))?;
            }
            b'r' => {
                let key = u32::from_le_bytes(self.array()?);
                self.remember(key)?;
            }
            0x94 => self.remember(u32::try_from(self.memo.len()).map_err(|_| CUT_SHORT)?)?,
            b'h' => {
                let key = self.byte()?;
                self.recall(u32::from(key))?;
            }
            b'j' => {
                let key = u32::from_le_bytes(self.array()?);
                self.recall(key)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Name(known_name(module, name)?));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (self.value(module), self.value(name)) else { return Err(WRONG_VALUE) };
                let name = known_name(module, name)?;
                self.push(Value::Name(name));
            }
            b'Q' => self.storage()?,
            b'R' | 0x81 => self.call()?,
            b'b' => self.build()?,
            _ => return Err(Fault::Protocol(format!("instruction 0x{code:02x}, which checkpoints do not need"))),
        }
        Ok(None)
    }

    fn number(&mut self, code: u8) -> Result<(), Fault> {
        let value = match code {
            b'J' => Value::Integer(i64::from(i32::from_le_bytes(self.array()?))),
            b'K' => Value::Integer(i64::from(self.byte()?)),
            b'M' => Value::Integer(i64::from(u16::from_le_bytes(self.array()?))),
            b'G' => Value::Float(f64::from_be_bytes(self.array()?)),
            // LONG1: little-endian two's complement.
            _ => {
                let length = usize::from(self.byte()?);
                let bytes = self.take(length)?;
                if length > 8 {
                    Value::LongInteger
                } else {
                    let filler = if bytes.last().is_some_and(|&last| last >= 0x80) { 0xff } else { 0 };
                    let mut wide = [filler; 8];
                    wide[..length].copy_from_slice(bytes);
                    Value::Integer(i64::from_le_bytes(wide))
                }
            }
        };
        self.push(value);
        Ok(())
    }

    fn string(&mut self, code: u8) -> Result<(), Fault> {
        let length = match code {
            0x8c | b'U' | b'C' => usize::from(self.byte()?),
            0x8d | 0x8e => self.length64()?,
            _ => self.length32()?,
        };
        let value = if matches!(code, b'B' | b'C' | 0x8e) {
            self.take(length)?;
            Value::Bytes
        } else {
            Value::Text(self.text(length)?.to_owned())
        };
        self.push(value);
        Ok(())
    }

    fn collection(&mut self, code: u8) -> Result<(), Fault> {
        match code {
            b')' => self.push(Value::Tuple(Vec::new())),
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Tuple(items));
            }
            0x85..=0x87 => {
                let mut items = Vec::new();
                for _ in 0x84..code {
                    items.insert(0, self.pop()?);
                }
                self.push(Value::Tuple(items));
            }
            b']' => self.push(Value::List(Vec::new())),
            b'l' => {
                let items = self.pop_to_mark()?;
                self.push(Value::List(items));
            }
            b'}' => self.push(Value::Dict(Vec::new())),
            b'd' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Dict(pairs(&items)?));
            }
            b'a' | b'e' => {
                let items = if code == b'a' { vec![self.pop()?] } else { self.pop_to_mark()? };
                let Value::List(list) = self.top_value()? else { return Err(WRONG_VALUE) };
                list.extend(items);
            }
            _ => {
                let items = if code == b's' {
                    let value = self.pop()?;
                    vec![self.pop()?, value]
                } else {
                    self.pop_to_mark()?
                };
                let items = pairs(&items)?;
                let Value::Dict(dict) = self.top_value()? else { return Err(WRONG_VALUE) };
                dict.extend(items);
            }
        }
        Ok(())
    }

    fn top_value(&mut self) -> Result<&mut Value, Fault> {
        let top = self.top()?;
        self.values.get_mut(top.0).ok_or(STACK_EMPTY)
    }

    /// A persistent id: `("storage", torch.FloatStorage, key, device, elements)`.
    fn storage(&mut self) -> Result<(), Fault> {
        let fields = self.pop()?;
        let Value::Tuple(fields) = self.value(fields) else { return Err(WRONG_VALUE) };
        let &[tag, element, key, _device, elements] = fields.as_slice() else { return Err(WRONG_VALUE) };
        let value = match (self.value(tag), self.value(element), self.value(key), self.value(elements)) {
            (Value::Text(tag), Value::Name(Name::Storage(element)), Value::Text(key), Value::Integer(elements))
                if tag == "storage" && key.len() <= STORAGE_KEY_BYTES_MAX =>
            {
                Value::Storage(*element, key.clone(), *elements)
            }
            _ => return Err(WRONG_VALUE),
        };
        self.push(value);
        Ok(())
    }

    /// What PyTorch means by calling a name, as data.
    fn call(&mut self) -> Result<(), Fault> {
        let (arguments, name) = (self.pop()?, self.pop()?);
        let (Value::Tuple(values), &Value::Name(name)) = (self.value(arguments), self.value(name)) else { return Err(WRONG_VALUE) };
        let value = match name {
            Name::RebuildTensor => Value::Tensor(arguments),
            Name::OrderedDict if values.is_empty() => Value::Dict(Vec::new()),
            Name::Namespace if values.is_empty() => Value::Namespace(None),
            _ => return Err(WRONG_VALUE),
        };
        self.push(value);
        Ok(())
    }

    /// Attributes for the value below. Those of an `OrderedDict` (`_metadata`) are not its items, and are dropped.
    fn build(&mut self) -> Result<(), Fault> {
        let state = self.pop()?;
        if !matches!(self.value(state), Value::Dict(_)) {
            return Err(WRONG_VALUE);
        }
        match self.top_value()? {
            Value::Namespace(attributes) => *attributes = Some(state),
            Value::Dict(_) => {}
            _ => return Err(WRONG_VALUE),
        }
        Ok(())
    }
}

fn known_name(module: &str, name: &str) -> Result<Name, Fault> {
    Name::of(module, name).ok_or_else(|| Fault::Foreign(format!("it names {}.{}, which is refused", clip(module), clip(name))))
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, Fault> {
    let (pairs, rest) = items.as_chunks::<2>();
    if rest.is_empty() { Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()) } else { Err(WRONG_VALUE) }
}

/// A text from outside, cut to what fits a message.
#[must_use]
pub fn clip(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(80).collect()
}
