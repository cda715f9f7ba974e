//! What the globals that PyTorch calls make: tensors over storages. All others make opaque values.

use safetensors::Dtype;

use super::machine::{Machine, Step};
use super::{Id, Storage, Tensor, Value, bytes_in};

impl Machine<'_> {
    pub(super) fn opaque(&self, callable: Id) -> Value {
        Value::Opaque(matches!(self.value(callable), Value::Global { .. }).then_some(callable))
    }

    fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.value(id) {
            Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    fn is_global(&self, id: Id, wanted_module: &str, wanted: &[&str]) -> bool {
        let Value::Global { module, name } = self.value(id) else { return false };
        bytes_in(self.bytes, *module) == wanted_module.as_bytes()
            && wanted.iter().any(|w| w.as_bytes() == bytes_in(self.bytes, *name))
    }

    pub(super) fn call(&self, callable: Id, arguments: Id) -> Step<Value> {
        let items = self.tuple(arguments).unwrap_or_default();
        if self.is_global(callable, "collections", &["OrderedDict"]) && items.is_empty() {
            return Ok(Value::Dict(Vec::new()));
        }
        if self.is_global(callable, "torch._utils", &["_rebuild_parameter", "_rebuild_parameter_with_state"])
            && let Some(Value::Tensor(tensor)) = items.first().map(|&id| self.value(id))
        {
            return Ok(Value::Tensor(*tensor));
        }
        // A tensor with attributes or of a class of its own: (function, class, arguments, state).
        if self.is_global(callable, "torch._tensor", &["_rebuild_from_type_v2"])
            && let &[function, _class, inner, ..] = items
        {
            return self.rebuild(function, inner);
        }
        self.rebuild(callable, arguments)
    }

    fn rebuild(&self, function: Id, arguments: Id) -> Step<Value> {
        const FUNCTIONS: [&str; 3] = ["_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"];
        if !self.is_global(function, "torch._utils", &FUNCTIONS) {
            return Ok(self.opaque(function));
        }
        let Some(&[storage, offset, shape, strides, ref more @ ..]) = self.tuple(arguments) else {
            return Err("a tensor is rebuilt from too few arguments".into());
        };
        let (Value::Storage(storage), Value::Integer(offset)) = (self.value(storage), self.value(offset))
        else {
            return Err("a tensor is rebuilt from something that is not a storage".into());
        };
        let mut storage = *storage;
        // The third version names the element type, and its storage is counted in bytes.
        if self.is_global(function, "torch._utils", &FUNCTIONS[2..]) {
            let Some(&kind) = more.get(2) else {
                return Err("a tensor is rebuilt from too few arguments".into());
            };
            let dtype = self.element_type(kind);
            storage.elements /= dtype.map_or(1, |d| (d.bitsize() as u64 / 8).max(1));
            storage = Storage { dtype, kind, ..storage };
        }
        let offset = u64::try_from(*offset).map_err(|_| "a tensor starts before its storage")?;
        Ok(Value::Tensor(Tensor { storage, offset, shape, strides }))
    }

    /// A persistent id is always `('storage', kind, key, location, elements)`.
    pub(super) fn storage(&self, id: Id) -> Step<Storage> {
        let not_ours = "a persistent id is not one of PyTorch's storages";
        let &[tag, kind, key, _location, elements, ..] = self.tuple(id).ok_or(not_ours)? else {
            return Err(not_ours.into());
        };
        let (Value::Text(tag), Value::Text(key), Value::Integer(elements)) =
            (self.value(tag), self.value(key), self.value(elements))
        else {
            return Err(not_ours.into());
        };
        if bytes_in(self.bytes, *tag) != b"storage" {
            return Err(not_ours.into());
        }
        let elements = u64::try_from(*elements).map_err(|_| "a storage has a negative length")?;
        Ok(Storage { dtype: self.element_type(kind), kind, key: *key, elements })
    }

    /// The element type that `torch.FloatStorage` or `torch.float32` stands for.
    fn element_type(&self, kind: Id) -> Option<Dtype> {
        let Value::Global { module, name } = self.value(kind) else { return None };
        if !matches!(bytes_in(self.bytes, *module), b"torch" | b"torch.storage") {
            return None;
        }
        Some(match bytes_in(self.bytes, *name) {
            b"FloatStorage" | b"float32" => Dtype::F32,
            b"HalfStorage" | b"float16" => Dtype::F16,
            b"BFloat16Storage" | b"bfloat16" => Dtype::BF16,
            b"DoubleStorage" | b"float64" => Dtype::F64,
            b"LongStorage" | b"int64" => Dtype::I64,
            b"IntStorage" | b"int32" => Dtype::I32,
            b"ShortStorage" | b"int16" => Dtype::I16,
            b"CharStorage" | b"int8" => Dtype::I8,
            b"ByteStorage" | b"UntypedStorage" | b"uint8" => Dtype::U8,
            b"BoolStorage" | b"bool" => Dtype::BOOL,
            b"uint16" => Dtype::U16,
            b"uint32" => Dtype::U32,
            b"uint64" => Dtype::U64,
            b"float8_e4m3fn" => Dtype::F8_E4M3,
            b"float8_e5m2" => Dtype::F8_E5M2,
            _ => return None,
        })
    }
}
