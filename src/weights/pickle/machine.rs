//! The stack machine: one function for each step of a pickle's program.

use std::collections::HashMap;

use super::{Id, LONGEST_GLOBAL, Text, Value};

/// Limits of the values, the stack and the memo: a few hundred megabytes at worst, from a pickle of 64.
const MOST_VALUES: usize = 2 << 20;
const MOST_MARKS: usize = 1 << 16;
const NEWEST_PROTOCOL: u8 = 5;

pub(super) struct Machine<'a> {
    pub(super) bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

/// What a step gives, or a sentence about what is wrong.
pub(super) type Step<T = ()> = Result<T, String>;

impl<'a> Machine<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, values: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() }
    }

    /// Where the next opcode is.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    pub(super) fn into_values(self) -> Vec<Value> {
        self.values
    }

    /// Runs one opcode; the root once it was the last. Opcodes as in CPython's `pickletools`.
    pub(super) fn step(&mut self) -> Step<Option<Id>> {
        let opcode = self.byte()?;
        match opcode {
            0x80 => {
                let protocol = self.byte()?;
                if protocol > NEWEST_PROTOCOL {
                    return Err(format!("protocol {protocol} is newer than {NEWEST_PROTOCOL}"));
                }
            }
            0x95 => {
                let length = self.length::<8>()?;
                if length > self.bytes.len() - self.at {
                    return Err(format!("a frame of {length} bytes runs past the end"));
                }
            }
            b'.' => return self.pop().map(Some),
            b'(' if self.marks.len() == MOST_MARKS => {
                return Err(format!("it is nested more than {MOST_MARKS} deep"));
            }
            b'(' => self.marks.push(self.stack.len()),
            b'0' => self.pop_or_unmark()?,
            b'1' => drop(self.pop_to_mark()?),
            b'2' => {
                let top = self.top()?;
                self.push_id(top)?;
            }

            b'N' => self.push(Value::None)?,
            0x88 | 0x89 => self.push(Value::Scalar)?,
            b'J' => {
                let n = i32::from_le_bytes(self.array()?);
                self.push(Value::Integer(n.into()))?;
            }
            b'K' | b'M' | 0x8a | 0x8b => self.integer(opcode)?,
            b'G' => {
                self.take(8)?;
                self.push(Value::Scalar)?;
            }
            b'X' => self.string::<4>()?,
            0x8c | b'U' => self.string::<1>()?,
            0x8d => self.string::<8>()?,
            b'T' => self.string::<4>()?,
            b'B' => self.skip::<4>()?,
            b'C' => self.skip::<1>()?,
            0x8e | 0x96 => self.skip::<8>()?,

            b']' => self.push(Value::List(Vec::new()))?,
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b')' => self.push(Value::Tuple(Vec::new()))?,
            0x8f => self.push(Value::Opaque(None))?,
            b'a' => {
                let item = self.pop()?;
                self.extend(&[item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_to_mark()?;
                self.extend(&items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set_items(&items)?;
            }
            0x91 => {
                self.pop_to_mark()?;
                self.push(Value::Opaque(None))?;
            }
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Tuple(items))?;
            }
            0x85..=0x87 => {
                let mut items = vec![0; usize::from(opcode - 0x84)];
                for item in items.iter_mut().rev() {
                    *item = self.pop()?;
                }
                self.push(Value::Tuple(items))?;
            }
            b'l' => {
                let items = self.pop_to_mark()?;
                self.push(Value::List(items))?;
            }
            b'd' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Dict(Vec::new()))?;
                self.set_items(&items)?;
            }

            b'h' | b'q' => {
                let index = self.byte()?.into();
                if opcode == b'h' { self.get(index)? } else { self.put(index)? }
            }
            b'j' | b'r' => {
                let index = u32::from_le_bytes(self.array()?);
                if opcode == b'j' { self.get(index)? } else { self.put(index)? }
            }
            0x94 => {
                let next = u32::try_from(self.memo.len()).map_err(|_| "its memo is too large")?;
                self.put(next)?;
            }

            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global { module, name })?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (self.value(module), self.value(name)) else {
                    return Err("a global's name is not text".into());
                };
                let global = Value::Global { module: *module, name: *name };
                self.push(global)?;
            }
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                let made =
                    if opcode == b'R' { self.call(callable, arguments)? } else { self.opaque(callable) };
                self.push(made)?;
            }
            0x92 => {
                let (_keywords, _arguments, class) = (self.pop()?, self.pop()?, self.pop()?);
                let made = self.opaque(class);
                self.push(made)?;
            }
            b'b' => {
                // The object's own state; on tensors and dictionaries PyTorch sets attributes that do not matter here.
                self.pop()?;
                self.top()?;
            }
            b'o' => {
                let class = self.pop_to_mark()?.first().copied().ok_or("an object without a class")?;
                let made = self.opaque(class);
                self.push(made)?;
            }
            b'i' => {
                self.line()?;
                self.line()?;
                self.pop_to_mark()?;
                self.push(Value::Opaque(None))?;
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(Value::Storage(storage))?;
            }
            _ => return Err(format!("opcode 0x{opcode:02x} is none that PyTorch writes")),
        }
        Ok(None)
    }

    // Bytes of the pickle.

    fn take(&mut self, length: usize) -> Step<&'a [u8]> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| format!("{length} bytes run past the end: is the file complete?"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        self.take(N)?.first_chunk().copied().ok_or_else(|| "it ends too early".into())
    }

    fn byte(&mut self) -> Step<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// An unsigned length of `N` bytes.
    fn length<const N: usize>(&mut self) -> Step<usize> {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(&self.array::<N>()?);
        let length = u64::from_le_bytes(wide);
        usize::try_from(length).map_err(|_| format!("a length of {length} bytes runs past the end"))
    }

    fn integer(&mut self, opcode: u8) -> Step {
        let length = match opcode {
            b'K' => 1,
            b'M' => 2,
            0x8a => self.length::<1>()?,
            _ => self.length::<4>()?,
        };
        let signed = opcode >= 0x80;
        let bytes = self.take(length)?;
        let value = if bytes.len() > 8 {
            Value::Scalar
        } else {
            let negative = signed && bytes.last().is_some_and(|b| b & 0x80 != 0);
            let mut wide = [if negative { 0xff } else { 0 }; 8];
            wide[..bytes.len()].copy_from_slice(bytes);
            Value::Integer(i64::from_le_bytes(wide))
        };
        self.push(value)
    }

    fn string<const N: usize>(&mut self) -> Step {
        let length = self.length::<N>()?;
        let start = self.at;
        // Python allows lone surrogates in text, and text of any encoding in its old strings; no tensor's name has them.
        let is_text = std::str::from_utf8(self.take(length)?).is_ok();
        self.push(if is_text { Value::Text(text_at(start, length)) } else { Value::Scalar })
    }

    fn skip<const N: usize>(&mut self) -> Step {
        let length = self.length::<N>()?;
        self.take(length)?;
        self.push(Value::Scalar)
    }

    fn line(&mut self) -> Step<Text> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().take(LONGEST_GLOBAL).position(|&b| b == b'\n');
        let length = length.ok_or("a global's name does not end")?;
        std::str::from_utf8(&rest[..length]).map_err(|_| "a global's name is not text")?;
        let text = text_at(self.at, length);
        self.at += length + 1;
        Ok(text)
    }

    // The stack, its marks, and the memo.

    fn push(&mut self, value: Value) -> Step {
        if self.values.len() == MOST_VALUES {
            return Err(format!("it holds more than {MOST_VALUES} values"));
        }
        let id = self.values.len() as Id;
        self.values.push(value);
        self.push_id(id)
    }

    fn push_id(&mut self, id: Id) -> Step {
        if self.stack.len() == MOST_VALUES {
            return Err(format!("its stack holds more than {MOST_VALUES} values"));
        }
        self.stack.push(id);
        Ok(())
    }

    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Step<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn top(&self) -> Step<Id> {
        self.stack
            .get(self.floor()..)
            .and_then(<[Id]>::last)
            .copied()
            .ok_or_else(|| "its stack is empty".into())
    }

    fn pop_or_unmark(&mut self) -> Step {
        if self.stack.len() > self.floor() {
            self.stack.pop();
            return Ok(());
        }
        self.marks.pop().map(drop).ok_or_else(|| "its stack is empty".into())
    }

    fn pop_to_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().ok_or("a mark is missing")?;
        if mark > self.stack.len() {
            return Err("a mark is missing".into());
        }
        Ok(self.stack.split_off(mark))
    }

    fn get(&mut self, index: u32) -> Step {
        let id = self.memo.get(&index).copied().ok_or_else(|| format!("memo {index} was never set"))?;
        self.push_id(id)
    }

    fn put(&mut self, index: u32) -> Step {
        let top = self.top()?;
        if self.memo.len() == MOST_VALUES {
            return Err(format!("its memo holds more than {MOST_VALUES} values"));
        }
        self.memo.insert(index, top);
        Ok(())
    }

    // Values.

    pub(super) fn value(&self, id: Id) -> &Value {
        self.values.get(id as usize).unwrap_or(&Value::None)
    }

    fn extend(&mut self, items: &[Id]) -> Step {
        let target = self.top()?;
        match self.values.get_mut(target as usize) {
            Some(Value::List(list)) => list.extend_from_slice(items),
            Some(Value::Opaque(_)) => {}
            _ => return Err("an item is added to something that is not a list".into()),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Step {
        let target = self.top()?;
        let (pairs, odd) = items.as_chunks::<2>();
        if !odd.is_empty() {
            return Err("a key of a dictionary has no value".into());
        }
        match self.values.get_mut(target as usize) {
            Some(Value::Dict(dict)) => dict.extend(pairs.iter().map(|&[key, value]| (key, value))),
            Some(Value::Opaque(_)) => {}
            _ => return Err("an item is set in something that is not a dictionary".into()),
        }
        Ok(())
    }
}

/// Pickles are at most `LONGEST_PICKLE` long, so that offsets fit 32 bits.
fn text_at(start: usize, length: usize) -> Text {
    Text { start: start as u32, length: length as u32 }
}
