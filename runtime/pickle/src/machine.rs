//! The stack machine: instructions of protocols 2 to 5 that data needs.

use crate::dialect::Dialect;
use crate::pickle::{Pickle, clip};
use crate::value::{Id, Items, Span, Value};

/// Collections open at once at most.
const OPEN_COLLECTIONS_MAX: usize = 256;
/// Pickle protocols: PyTorch writes 2, Python's own default is 4 or 5.
const PROTOCOLS: std::ops::RangeInclusive<u8> = 2..=5;

/// What an instruction is charged, bytes: a place on the stack or in a collection, both counted at twice their size, since vectors grow
/// by doubling.
const REFERENCE_BYTES: usize = 8;
/// What a value is charged, bytes.
const VALUE_BYTES: usize = size_of::<Value>();
/// What a collection is charged beside its items, bytes: its vector and the allocator's own.
const COLLECTION_BYTES: usize = 48;

/// A place of the memo where nothing was remembered.
const FORGOTTEN: Id = Id(u32::MAX);
/// How far beyond the number of values a memo's key may lie: Python numbers them from 0 on.
const MEMO_GAP_MAX: usize = 256;

pub(crate) enum Fault {
    Damaged(&'static str),
    Foreign(String),
    Protocol(String),
    Limit(String),
}

const CUT_SHORT: Fault = Fault::Damaged("the pickle ends early");
const STACK_EMPTY: Fault = Fault::Damaged("an instruction finds no value");
pub(crate) const WRONG_VALUE: Fault = Fault::Damaged("an instruction finds a value of another kind");

pub(crate) struct Machine<'b> {
    pub(crate) pickle: Pickle<'b>,
    dialect: Dialect,
    at: usize,
    stack: Vec<Id>,
    /// Heights of the stack where a collection began.
    marks: Vec<usize>,
    memo: Vec<Id>,
    memo_entries: usize,
    memory_bytes_left: u64,
}

impl<'b> Machine<'b> {
    pub(crate) const fn new(bytes: &'b [u8], dialect: Dialect, memory_bytes_max: u64) -> Self {
        Self {
            pickle: Pickle::new(bytes),
            dialect,
            at: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
            memo_entries: 0,
            memory_bytes_left: memory_bytes_max,
        }
    }

    /// Byte of the next instruction.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn finish(self, root: Id) -> Pickle<'b> {
        self.pickle.with_root(root)
    }

    /// Charges memory; nothing is ever given back.
    pub(crate) fn spend(&mut self, bytes: usize) -> Result<(), Fault> {
        let left = self.memory_bytes_left.checked_sub(bytes as u64);
        self.memory_bytes_left = left.ok_or_else(|| Fault::Limit("its values take more memory than allowed".into()))?;
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8], Fault> {
        let end = self.at.checked_add(count).ok_or(CUT_SHORT)?;
        let bytes = self.pickle.bytes.get(self.at..end).ok_or(CUT_SHORT)?;
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
        let rest = self.pickle.bytes.get(self.at..).ok_or(CUT_SHORT)?;
        let length = rest.iter().position(|&byte| byte == b'\n').ok_or(CUT_SHORT)?;
        let line = self.text(length)?;
        self.at += 1;
        Ok(line)
    }

    pub(crate) fn push(&mut self, value: Value) -> Result<(), Fault> {
        self.spend(VALUE_BYTES)?;
        let id = Id(index32(self.pickle.values.len())?);
        self.pickle.values.push(value);
        self.push_id(id)
    }

    fn push_id(&mut self, id: Id) -> Result<(), Fault> {
        self.spend(REFERENCE_BYTES)?;
        self.stack.push(id);
        Ok(())
    }

    fn push_collection(&mut self, items: Vec<Id>, value: impl FnOnce(Items) -> Value) -> Result<(), Fault> {
        self.spend(COLLECTION_BYTES + items.len() * REFERENCE_BYTES)?;
        let index = Items(index32(self.pickle.collections.len())?);
        self.pickle.collections.push(items);
        self.push(value(index))
    }

    /// An empty dictionary.
    pub(crate) fn push_dict(&mut self) -> Result<(), Fault> {
        self.push_collection(Vec::new(), Value::Dict)
    }

    pub(crate) fn pop(&mut self) -> Result<Id, Fault> {
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

    fn remember(&mut self, key: usize) -> Result<(), Fault> {
        let id = self.top()?;
        if key > self.pickle.values.len() + MEMO_GAP_MAX {
            return Err(Fault::Damaged("a value is remembered under a number out of order"));
        }
        if key >= self.memo.len() {
            self.spend((key + 1 - self.memo.len()) * REFERENCE_BYTES)?;
            self.memo.resize(key + 1, FORGOTTEN);
        }
        if let Some(place) = self.memo.get_mut(key) {
            self.memo_entries += usize::from(*place == FORGOTTEN);
            *place = id;
        }
        Ok(())
    }

    fn recall(&mut self, key: usize) -> Result<(), Fault> {
        let id = self.memo.get(key).copied().filter(|id| *id != FORGOTTEN);
        self.push_id(id.ok_or(Fault::Damaged("a value is recalled that was never remembered"))?)
    }

    /// Runs one instruction; the root when it is the last.
    pub(crate) fn step(&mut self) -> Result<Option<Id>, Fault> {
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
            b'2' => self.push_id(self.top()?)?,
            b'N' => self.push(Value::Null)?,
            0x88 | 0x89 => self.push(Value::Bool(code == 0x88))?,
            b'J' | b'K' | b'M' | 0x8a | b'G' => self.number(code)?,
            b'X' | 0x8c | 0x8d | b'U' | b'T' | b'B' | b'C' | 0x8e | 0x96 => self.string(code)?,
            b')' | b't' | 0x85..=0x87 | b']' | b'l' | b'a' | b'e' | b'}' | b'd' | b's' | b'u' => self.collection(code)?,
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memo(code)?,
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.name(module, name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id| self.pickle.text(self.pickle.get(id)).ok_or(WRONG_VALUE);
                let (module, name) = (text(module)?, text(name)?);
                self.name(module, name)?;
            }
            b'Q' if self.dialect == Dialect::Checkpoint => {
                let fields = self.pop()?;
                self.pickle.storage_fields(fields).ok_or(WRONG_VALUE)?;
                self.push(Value::Storage(fields))?;
            }
            b'R' | 0x81 => self.call()?,
            b'b' => self.build()?,
            _ => return Err(Fault::Protocol(format!("instruction 0x{code:02x}, which such files do not need"))),
        }
        Ok(None)
    }

    fn memo(&mut self, code: u8) -> Result<(), Fault> {
        let key = match code {
            b'q' | b'h' => usize::from(self.byte()?),
            b'r' | b'j' => self.length32()?,
            _ => self.memo_entries,
        };
        if matches!(code, b'h' | b'j') { self.recall(key) } else { self.remember(key) }
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
        self.push(value)
    }

    fn string(&mut self, code: u8) -> Result<(), Fault> {
        let length = match code {
            0x8c | b'U' | b'C' => usize::from(self.byte()?),
            0x8d | 0x8e | 0x96 => self.length64()?,
            _ => self.length32()?,
        };
        let start = index32(self.at)?;
        let is_bytes = matches!(code, b'B' | b'C' | 0x8e | 0x96);
        if is_bytes {
            self.take(length)?;
        } else {
            self.text(length)?;
        }
        let span = Span { start, length: index32(length)? };
        self.push(if is_bytes { Value::Bytes(span) } else { Value::Text(span) })
    }

    fn collection(&mut self, code: u8) -> Result<(), Fault> {
        match code {
            b')' => self.push_collection(Vec::new(), Value::Tuple),
            b't' => {
                let items = self.pop_to_mark()?;
                self.push_collection(items, Value::Tuple)
            }
            0x85..=0x87 => {
                let mut items = Vec::with_capacity(3);
                for _ in 0x84..code {
                    items.insert(0, self.pop()?);
                }
                self.push_collection(items, Value::Tuple)
            }
            b']' => self.push_collection(Vec::new(), Value::List),
            b'l' => {
                let items = self.pop_to_mark()?;
                self.push_collection(items, Value::List)
            }
            b'}' => self.push_dict(),
            b'd' => {
                let items = whole_pairs(self.pop_to_mark()?)?;
                self.push_collection(items, Value::Dict)
            }
            b'a' | b'e' => {
                let items = if code == b'a' { vec![self.pop()?] } else { self.pop_to_mark()? };
                let Value::List(list) = self.top_value()? else { return Err(WRONG_VALUE) };
                self.extend(list, &items)
            }
            _ => {
                let items = if code == b's' {
                    let value = self.pop()?;
                    vec![self.pop()?, value]
                } else {
                    whole_pairs(self.pop_to_mark()?)?
                };
                let Value::Dict(dict) = self.top_value()? else { return Err(WRONG_VALUE) };
                self.extend(dict, &items)
            }
        }
    }

    fn extend(&mut self, collection: Items, items: &[Id]) -> Result<(), Fault> {
        self.spend(items.len() * REFERENCE_BYTES)?;
        self.pickle.collections.get_mut(collection.0 as usize).ok_or(WRONG_VALUE)?.extend_from_slice(items);
        Ok(())
    }

    pub(crate) fn top_value(&self) -> Result<Value, Fault> {
        self.top().map(|id| self.pickle.get(id))
    }

    /// Replaces the value on top, for everybody who refers to it.
    pub(crate) fn replace_top(&mut self, value: Value) -> Result<(), Fault> {
        let top = self.top()?;
        *self.pickle.values.get_mut(top.0 as usize).ok_or(STACK_EMPTY)? = value;
        Ok(())
    }

    fn name(&mut self, module: &str, name: &str) -> Result<(), Fault> {
        let known = self.dialect.name(module, name);
        let known = known.ok_or_else(|| Fault::Foreign(format!("it names {}.{}, which is refused", clip(module), clip(name))))?;
        self.push(Value::Name(known))
    }
}

fn whole_pairs(items: Vec<Id>) -> Result<Vec<Id>, Fault> {
    if items.len().is_multiple_of(2) { Ok(items) } else { Err(WRONG_VALUE) }
}

/// Numbers are 32 bits: the limits keep them far below.
pub(crate) fn index32(index: usize) -> Result<u32, Fault> {
    u32::try_from(index).map_err(|_| Fault::Limit("more than 4 GiB".into()))
}
