//! What torch's rebuild functions would do, told from their arguments (`torch/_utils.py`, `torch/_tensor.py`).

use std::sync::Arc;

use serde_json::Value as Json;

use crate::facts::{Dtype, Id, Op, Recipe, Tensor, recipe};
use crate::formats::pickle::{Global, Node, Object, Pickle, Value};

use super::tensor::{self, Reason, View};
use super::walk::{Key, Walk};
use super::{describe, numpy};

/// How deep `_rebuild_from_type_v2` may stand within itself.
const WRAPPED: usize = 8;

impl<'p> Walk<'p, '_> {
    /// Does what a call stands for; says whether the function is one of those known here.
    pub(super) fn call(
        &mut self,
        node: Node,
        object: &'p Object,
        function: &'p Global<'_>,
        args: &'p [Node],
    ) -> Result<bool, Reason> {
        match (function.module3(), &*function.name) {
            ("torch._utils" | "torch._tensor", _) => self.rebuild(node, function, args),
            ("collections" | "builtins", "OrderedDict" | "dict" | "defaultdict" | "Counter") => {
                self.dictionary(node, object, args);
                Ok(true)
            }
            ("torch", "Size") | ("builtins", "list" | "tuple") => match args.first() {
                Some(items) => {
                    self.parts(node, vec![(Key::Here, *items)]);
                    Ok(true)
                }
                None => Ok(false),
            },
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => {
                self.array(node, numpy::array(self.pickle, object))
            }
            ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => {
                self.array(node, numpy::from_buffer(self.pickle, args))
            }
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => {
                let number = numpy::scalar(self.pickle, args).unwrap_or_else(|| Json::from("<numpy scalar>"));
                self.object(number);
                Ok(true)
            }
            ("numpy", "dtype") => {
                let name = args.first().map(|name| describe::key(self.pickle, *name)).unwrap_or_default();
                self.object(Json::from(format!("<numpy.dtype {name}>")));
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn dictionary(&mut self, node: Node, object: &'p Object, args: &'p [Node]) {
        // Python 2 gave an OrderedDict its items as a list of pairs.
        let given = args.iter().filter_map(|arg| match self.pickle.get(*arg) {
            Value::Dict(items) => Some(items.clone()),
            Value::List(pairs) => pairs
                .iter()
                .map(|pair| self.pickle.sequence(*pair)?.first_chunk().map(|&[key, value]| (key, value)))
                .collect(),
            _ => None,
        });
        let mut items: Vec<(Node, Node)> = given.flatten().collect();
        items.extend(&object.items);
        if items.is_empty() {
            return self.object(Json::from("<dict of 0>"));
        }
        // Its state is `_metadata`, an attribute that says which version each module has.
        self.parts(node, items.into_iter().map(|(key, value)| (Key::At(key), value)).collect());
    }

    fn rebuild(&mut self, node: Node, function: &'p Global<'_>, args: &'p [Node]) -> Result<bool, Reason> {
        let mut extra = Vec::new();
        let (mut function, mut args) = (function, args);
        let mut class = None;
        // A subclass wraps the call that makes its data: unwrap until the call itself.
        for _ in 0..WRAPPED {
            if function.name != "_rebuild_from_type_v2" {
                break;
            }
            let [inner, subclass, inner_args, state, ..] = args else { return Err(reason("it has too few arguments")) };
            let inner = self.pickle.global(*inner).ok_or_else(|| reason("it is made by something unnamed"))?;
            let inner_args = self.pickle.sequence(*inner_args).ok_or_else(|| reason("it has no arguments"))?;
            if inner.name == "_rebuild_wrapper_subclass" && self.dtensor(node, *subclass, inner_args, *state) {
                return Ok(true);
            }
            extra.extend(self.state(*state));
            if inner.name == "_rebuild_wrapper_subclass" {
                self.wrapper(*subclass, inner_args);
                self.parts(node, extra);
                return Ok(true);
            }
            class = Some(*subclass);
            (function, args) = (inner, inner_args);
        }
        if self.simple(&function.name, args, &mut extra)? {
            self.parts(node, extra);
            return Ok(true);
        }
        // Made by the subclass's own function: its parts are in its state, or else in the arguments.
        let Some(class) = class else { return Ok(false) };
        self.object(Json::from(describe::class(self.pickle, class)));
        if extra.is_empty() {
            extra = args.iter().enumerate().map(|(index, arg)| (Key::Index(index), *arg)).collect();
        }
        self.parts(node, extra);
        Ok(true)
    }

    /// A call that is not wrapped in another. What it leaves to visit is put into `extra`.
    fn simple(&mut self, name: &str, args: &'p [Node], extra: &mut Vec<(Key, Node)>) -> Result<bool, Reason> {
        let few = || reason("it has too few or too many arguments");
        match (name, args) {
            ("_rebuild_tensor", [storage, start, shape, strides]) => {
                let view = self.view(*storage, *start, *shape, *strides, None, None)?;
                self.stored(view)?;
            }
            ("_rebuild_tensor_v2", [storage, start, shape, strides, grad, _, rest @ ..]) if rest.len() <= 1 => {
                self.truth(*grad)?;
                let view = self.view(*storage, *start, *shape, *strides, None, rest.first())?;
                self.stored(view)?;
            }
            ("_rebuild_tensor_v3", [storage, start, shape, strides, grad, _, dtype, rest @ ..]) if rest.len() <= 1 => {
                self.truth(*grad)?;
                let view = self.view(*storage, *start, *shape, *strides, Some(*dtype), rest.first())?;
                self.stored(view)?;
            }
            ("_rebuild_qtensor", [storage, start, shape, strides, quantizer, ..]) => {
                let view = self.view(*storage, *start, *shape, *strides, None, None)?;
                self.stored(view)?;
                let names: &[&'static str] = match self.pickle.sequence(*quantizer).map_or(0, <[Node]>::len) {
                    3 => &["@scheme", "scale", "zero_point"],
                    _ => &["@scheme", "scales", "zero_points", "axis"],
                };
                let values = self.pickle.sequence(*quantizer).unwrap_or_default();
                extra.extend(names.iter().zip(values).map(|(name, value)| (Key::Name(name), *value)));
            }
            ("_rebuild_parameter" | "_rebuild_device_tensor_from_cpu_tensor", [data, ..]) => {
                extra.insert(0, (Key::Here, *data));
            }
            ("_rebuild_parameter_with_state", [data, rest @ ..]) => {
                extra.insert(0, (Key::Here, *data));
                extra.extend(rest.get(2).map(|state| self.state(*state)).unwrap_or_default());
            }
            ("_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor", [layout, data, ..]) => {
                self.sparse(*layout, *data, extra)?;
            }
            ("_rebuild_nested_tensor", [..]) => {
                const PARTS: [&str; 4] = ["buffer", "sizes", "strides", "offsets"];
                extra.extend(PARTS.iter().zip(args).map(|(name, part)| (Key::Name(name), *part)));
            }
            ("_rebuild_meta_tensor_no_storage", [dtype, shape, ..]) => {
                let dtype = dtype_of(self.pickle, *dtype).ok_or_else(|| reason("its dtype is unknown"))?;
                let shape = numbers(self.pickle, *shape).ok_or_else(|| reason("its shape is none"))?;
                self.absent(dtype, shape, "it was saved on the meta device, without data")?;
            }
            ("_rebuild_wrapper_subclass", [_, dtype, shape, ..]) => {
                let dtype = dtype_of(self.pickle, *dtype).ok_or_else(|| reason("its dtype is unknown"))?;
                let shape = numbers(self.pickle, *shape).ok_or_else(|| reason("its shape is none"))?;
                self.absent(dtype, shape, "it is a wrapper without its parts")?;
            }
            ("_rebuild_device_tensor_from_numpy" | "_rebuild_xla_tensor", [data, dtype, ..]) => {
                self.carried_by_numpy(*data, *dtype)?;
            }
            (
                "_rebuild_tensor"
                | "_rebuild_tensor_v2"
                | "_rebuild_tensor_v3"
                | "_rebuild_qtensor"
                | "_rebuild_parameter"
                | "_rebuild_parameter_with_state"
                | "_rebuild_sparse_tensor"
                | "_rebuild_meta_tensor_no_storage",
                _,
            ) => return Err(few()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether a tensor requires a gradient, which torch takes only from a truth value.
    fn truth(&self, node: Node) -> Result<(), Reason> {
        match self.pickle.get(node) {
            Value::Bool(_) => Ok(()),
            _ => Err(reason("whether it requires a gradient is no truth value")),
        }
    }

    fn view(
        &self,
        storage: Node,
        start: Node,
        shape: Node,
        strides: Node,
        dtype: Option<Node>,
        metadata: Option<&Node>,
    ) -> Result<View, Reason> {
        let pickle = self.pickle;
        let reference = self.storages.get(storage).ok_or_else(|| reason("its storage is none that torch has"))?;
        let dtype = match dtype {
            Some(dtype) => dtype_of(pickle, dtype).ok_or_else(|| reason("its dtype is unknown"))?,
            None => reference.dtype.unwrap_or(Dtype::U8),
        };
        let flag = |name: &str| match metadata.map(|metadata| pickle.get(*metadata)) {
            Some(Value::Dict(items)) => items
                .iter()
                .any(|(key, value)| pickle.str(*key) == Some(name) && matches!(pickle.get(*value), Value::Bool(true))),
            _ => false,
        };
        Ok(View {
            reference,
            dtype,
            start: pickle
                .int(start)
                .and_then(|start| u64::try_from(start).ok())
                .ok_or_else(|| reason("its offset is none"))?,
            shape: numbers(pickle, shape).ok_or_else(|| reason("its shape is none"))?,
            strides: numbers(pickle, strides).ok_or_else(|| reason("its strides are none"))?,
            conj: flag("conj"),
            neg: flag("neg"),
        })
    }

    pub(super) fn stored(&mut self, view: View) -> Result<(), Reason> {
        let name = self.path().to_owned();
        let (tensor, finding) = tensor::tensor(view, &name, &mut self.storages, self.origin)?;
        if tensor.recipe.dtype.bytes_of(tensor.recipe.elements()).is_none() {
            return Err((Id::Unsupported, "its packed elements do not fill whole bytes".to_owned()));
        }
        if let Some(finding) = finding {
            self.findings.push(finding);
        }
        self.tensors.push(tensor);
        Ok(())
    }

    fn absent(&mut self, dtype: Dtype, shape: Vec<u64>, why: &str) -> Result<(), Reason> {
        recipe::elements(&shape).ok_or_else(|| reason("its number of elements is too large"))?;
        let name = self.path().to_owned();
        self.tensors.push(Tensor {
            name,
            recipe: Recipe { dtype, shape, op: Op::Absent(why.to_owned()) },
            crc32: None,
        });
        Ok(())
    }

    /// A tensor made of other tensors (`DTensor`, quantized weights): says what it is, its parts follow. Its shape is
    /// that of the whole, of which the file may hold only a shard.
    fn wrapper(&mut self, class: Node, args: &[Node]) {
        let dtype = args.get(1).and_then(|dtype| dtype_of(self.pickle, *dtype)).map_or("?", Dtype::name);
        let shape = args.get(2).and_then(|shape| numbers(self.pickle, *shape)).unwrap_or_default();
        let class = describe::class(self.pickle, class);
        self.object(Json::from(format!("{} {dtype} {shape:?}>", class.trim_end_matches('>'))));
    }

    fn sparse(&mut self, layout: Node, data: Node, extra: &mut Vec<(Key, Node)>) -> Result<(), Reason> {
        let layout = match self.pickle.object(layout) {
            Some(object) => describe::small(self.pickle, object).and_then(|layout| layout.as_str().map(str::to_owned)),
            None => None,
        };
        let names: &[&'static str] = match layout.as_deref() {
            Some("torch.sparse_coo") => &["indices", "values"],
            Some("torch.sparse_csr" | "torch.sparse_bsr") => &["crow_indices", "col_indices", "values"],
            Some("torch.sparse_csc" | "torch.sparse_bsc") => &["ccol_indices", "row_indices", "values"],
            _ => return Err(reason("its layout is unknown")),
        };
        let parts = self.pickle.sequence(data).ok_or_else(|| reason("it has no parts"))?;
        let shape = parts.get(names.len()).and_then(|shape| numbers(self.pickle, *shape)).unwrap_or_default();
        self.object(Json::from(format!("<{} {shape:?}>", layout.unwrap_or_default())));
        extra.extend(names.iter().zip(parts).map(|(name, part)| (Key::Name(name), *part)));
        Ok(())
    }

    /// A numpy array is a tensor where its elements are plain numbers, and an object otherwise.
    fn array(&mut self, node: Node, array: Option<numpy::Array>) -> Result<bool, Reason> {
        match array {
            Some(array) => {
                let tensor = self.literal(node, array)?;
                self.tensors.push(tensor);
            }
            None => self.object(Json::from("<numpy.ndarray>")),
        }
        Ok(true)
    }

    fn literal(&mut self, node: Node, array: numpy::Array) -> Result<Tensor, Reason> {
        let name = self.path().to_owned();
        let bytes = if let Some(bytes) = self.arrays.get(&node) {
            Arc::clone(bytes)
        } else {
            let bytes: Arc<[u8]> = array.bytes().ok_or_else(|| reason("its bytes do not fit its shape"))?.into();
            self.arrays.insert(node, Arc::clone(&bytes));
            bytes
        };
        let recipe = Recipe { dtype: array.dtype, shape: array.shape, op: Op::Literal(bytes) };
        Ok(Tensor { name, recipe, crc32: None })
    }

    /// A tensor of a device that numpy carried to the file, as bfloat16 in the guise of float32.
    fn carried_by_numpy(&mut self, data: Node, dtype: Node) -> Result<(), Reason> {
        let dtype = dtype_of(self.pickle, dtype).ok_or_else(|| reason("its dtype is unknown"))?;
        let array = self.pickle.object(data).and_then(|object| numpy::array(self.pickle, object));
        let mut tensor = self.literal(data, array.ok_or_else(|| reason("its array cannot be read"))?)?;
        if tensor.recipe.dtype != dtype {
            let shape = tensor.recipe.shape.clone();
            tensor.recipe = Recipe { dtype, shape, op: Op::Cast(Arc::new(tensor.recipe)) };
        }
        self.tensors.push(tensor);
        Ok(())
    }
}

fn reason(why: &str) -> Reason {
    (Id::PickleTensor, why.to_owned())
}

/// The dtype that a node names as an attribute of `torch`.
pub fn dtype_of(pickle: &Pickle<'_>, node: Node) -> Option<Dtype> {
    let global = pickle.global(node).filter(|global| global.module == "torch")?;
    let name = match &*global.name {
        "float" => "float32",
        "double" => "float64",
        "half" => "float16",
        "long" => "int64",
        "int" => "int32",
        "short" => "int16",
        "cfloat" => "complex64",
        "cdouble" => "complex128",
        "chalf" => "complex32",
        name => name,
    };
    Dtype::from_torch(name)
}

/// Numbers that count something: a tuple, a list or a `torch.Size`.
pub fn numbers(pickle: &Pickle<'_>, node: Node) -> Option<Vec<u64>> {
    let items = match pickle.object(node) {
        Some(size) => pickle.sequence(*pickle.sequence(size.args)?.first()?)?,
        None => pickle.sequence(node)?,
    };
    items.iter().map(|item| pickle.int(*item).and_then(|number| u64::try_from(number).ok())).collect()
}
