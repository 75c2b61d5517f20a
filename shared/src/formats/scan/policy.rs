//! What a name in a pickle is allowed to be. Everything is denied that is not known to only build data, but for classes
//! that nobody knows: they are built as data and named.

use super::standard;

/// What a pickle does with a class or function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    /// It is named; loading imports its module and nothing more.
    Named,
    /// `NEWOBJ`: `cls.__new__`, which only classes have.
    Made,
    /// `REDUCE`, `OBJ`, `INST`: called, whatever it is.
    Called,
}

/// What is thought of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// It builds data and nothing else.
    Data,
    /// A class that is not known, or a function that is only named.
    Unknown,
    /// It can run code, or reach what can; and why that is thought.
    Danger(&'static str),
}

/// Modules and the names in them that only build data. From the allow list of torch 2.15's `weights_only` unpickler
/// (`torch/_weights_only_unpickler.py`), and from what numpy, argparse, Lightning and others put into checkpoints.
const DATA: &[(&str, &str)] = &[
    // torch. Typed storages and tensors stand in `ELEMENTS`.
    (
        "torch",
        "Size Tensor device dtype Generator bfloat16 bool complex128 complex32 complex64 bcomplex32 float16 float32 \
         float64 float4_e2m1fn_x2 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu int1 int16 \
         int2 int3 int32 int4 int5 int6 int64 int7 int8 uint1 uint16 uint2 uint3 uint32 uint4 uint5 uint6 uint64 uint7 \
         uint8 bits16 bits1x8 bits2x4 bits4x2 bits8 qint32 qint8 quint2x4 quint4x2 quint8 per_channel_affine \
         per_channel_affine_float_qparams per_channel_symmetric per_tensor_affine per_tensor_symmetric",
    ),
    ("torch._C", "Generator Size _TensorMeta device dtype layout memory_format"),
    ("torch._tensor", "_rebuild_from_type _rebuild_from_type_v2"),
    (
        "torch._utils",
        "_rebuild_device_tensor_from_cpu_tensor _rebuild_device_tensor_from_numpy _rebuild_meta_tensor_no_storage \
         _rebuild_nested_tensor _rebuild_parameter _rebuild_parameter_with_state _rebuild_qtensor \
         _rebuild_sparse_csr_tensor _rebuild_sparse_tensor _rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 \
         _rebuild_wrapper_subclass _rebuild_xla_tensor",
    ),
    ("torch.nn.parameter", "Buffer Parameter UninitializedBuffer UninitializedParameter"),
    ("torch.serialization", "_get_layout"),
    ("torch.storage", "TypedStorage UntypedStorage _TypedStorage _UntypedStorage"),
    ("torch.torch_version", "TorchVersion"),
    (
        "torch.jit._pickle",
        "build_boollist build_doublelist build_intlist build_tensor_from_id build_tensorlist restore_type_tag",
    ),
    (
        "torch.distributed.checkpoint.metadata",
        "BytesStorageMetadata ChunkStorageMetadata Metadata MetadataIndex StorageMeta TensorProperties \
         TensorStorageMetadata _MEM_FORMAT_ENCODING",
    ),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    // Python's own.
    (
        "builtins",
        "Ellipsis NotImplemented basestring bool bytearray bytes complex dict float frozenset int list long object range \
         set slice str tuple unicode xrange",
    ),
    ("_codecs", "encode"),
    ("argparse", "Namespace"),
    ("array", "_array_reconstructor array"),
    ("collections", "ChainMap Counter OrderedDict UserDict UserList UserString defaultdict deque"),
    ("copyreg", "__newobj__ __newobj_ex__ _reconstructor"),
    ("datetime", "date datetime time timedelta timezone"),
    ("decimal", "Decimal"),
    ("_io", "BytesIO StringIO"),
    ("io", "BytesIO StringIO"),
    ("fractions", "Fraction"),
    ("itertools", "count"),
    ("ipaddress", "IPv4Address IPv4Network IPv6Address IPv6Network"),
    ("logging", "getLogger"),
    ("pathlib", "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath"),
    ("pathlib._local", "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath"),
    ("random", "Random"),
    ("re", "_compile"),
    ("types", "SimpleNamespace"),
    ("uuid", "SafeUUID UUID"),
    ("zoneinfo", "ZoneInfo ZoneInfo._unpickle"),
    // numpy 1 and 2.
    (
        "numpy",
        "bool bool_ bytes_ complex128 complex64 datetime64 dtype float16 float32 float64 int16 int32 int64 int8 ndarray \
         object_ str_ timedelta64 uint16 uint32 uint64 uint8 void longlong ulonglong intc uintc longdouble clongdouble",
    ),
    ("numpy.core.multiarray", "_reconstruct scalar"),
    ("numpy._core.multiarray", "_reconstruct scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.ma.core", "MaskedArray _mareconstruct"),
    ("numpy.random._pickle", "__bit_generator_ctor __generator_ctor __randomstate_ctor"),
    ("numpy.random", "__RandomState_ctor"),
    ("numpy.random.bit_generator", "SeedSequence"),
    ("numpy.random._mt19937", "MT19937"),
    ("numpy.random._pcg64", "PCG64 PCG64DXSM"),
    ("numpy.random._philox", "Philox"),
    ("numpy.random._sfc64", "SFC64"),
    // Trainers.
    ("lightning_fabric.utilities.data", "AttributeDict"),
    ("lightning.fabric.utilities.data", "AttributeDict"),
    ("lightning.pytorch.utilities.parsing", "AttributeDict"),
    ("pytorch_lightning.utilities.parsing", "AttributeDict"),
];

/// Element types of torch's typed storages and tensors, which are `FloatStorage`, `FloatTensor` and so on.
const ELEMENTS: &str = "BFloat16 Bool Byte Char ComplexDouble ComplexFloat Double Float Half Int Long QInt32 QInt8 QUInt2x4 \
                        QUInt4x2 QUInt8 Short";

/// Modules that have those.
const TYPED: &[&str] = &["torch", "torch.cuda", "torch.sparse", "torch.cuda.sparse"];

const PROCESS: &str = "it starts programs or reaches the operating system";
const CODE: &str = "it runs, imports or builds code";
const NETWORK: &str = "it talks to the network";
const FILES: &str = "it reads or writes files, or loads what is in them";
const FETCH: &str = "it fetches or calls other things by name";
const NATIVE: &str = "it reaches native code";
const STANDARD: &str = "it is of Python's library and not known to only build data";
const FUNCTION: &str = "it is a function that is not known to only build data";

/// Modules, with all below them, of which nothing may even be named; single names are written with their module.
const DENIED: &[(&str, &str)] = &[
    (
        PROCESS,
        "os posix nt sys subprocess _posixsubprocess popen2 commands pty platform signal multiprocessing \
         _multiprocessing concurrent asyncio threading _thread thread sched resource pexpect invoke fabric sh plumbum \
         psutil torch.multiprocessing torch.distributed.run torch.distributed.launch torch.distributed.launcher \
         torch.distributed.elastic torch.distributed.rpc torch.utils.collect_env torch.utils.bottleneck \
         numpy.distutils distutils setuptools pkg_resources pip ensurepip venv virtualenv",
    ),
    (
        CODE,
        "builtins __builtin__ code codeop compileall py_compile runpy importlib imp _imp pkgutil zipimport site \
         sitecustomize bdb pdb trace timeit profile cProfile pstats doctest unittest test.support test.libregrtest idlelib lib2to3 pydoc ast \
         symtable types marshal _frozen_importlib _frozen_importlib_external ctypes pytest _pytest nose IPython \
         ipykernel jupyter_client cloudpickle dill pickle _pickle cPickle pickle5 shelve joblib.numpy_pickle.load \
         joblib.load torch.load torch.serialization.load torch.serialization._load torch.serialization._legacy_load \
         torch.jit torch.hub torch.package torch._inductor torch._dynamo torch._lazy torch._C.import_ir_module \
         torch.fx.graph_module torch.fx.experimental.symbolic_shapes torch.compile torch.ops torch.classes \
         torch.library torch.export torch.onnx torch.testing torch.utils.cpp_extension torch.utils._config_module \
         torch.utils.data.datapipes torch.utils.model_zoo torch.utils.dlpack torch.distributed.checkpoint.load \
         numpy.testing numpy.f2py numpy.load numpy.lib.npyio numpy.lib._npyio_impl numpy.ma.testutils \
         numpy.vectorize numpy.frompyfunc numpy.lib.function_base.vectorize pandas.eval pandas.read_pickle \
         pandas.io pandas.core.computation tensorflow keras jax._src.export numba numexpr jinja2 mako \
         sklearn.utils._testing smolagents langchain transformers.pipelines transformers.dynamic_module_utils \
         transformers.utils.import_utils accelerate.commands accelerate.launchers gradio streamlit",
    ),
    (
        NETWORK,
        "socket _socket ssl _ssl socketserver SocketServer urllib urllib2 http httplib ftplib smtplib poplib imaplib \
         nntplib telnetlib xmlrpc xmlrpclib webbrowser antigravity cgi wsgiref asyncore asynchat requests urllib3 \
         aiohttp httpx httpcore paramiko boto3 botocore pycurl twisted tornado websocket websockets zmq grpc \
         torch.distributed.TCPStore torch.distributed.FileStore fsspec smart_open selenium \
         playwright",
    ),
    (
        FILES,
        "shutil tempfile glob fileinput linecache io.FileIO io.open io.open_code _io.FileIO _io.open _io.open_code \
         _pyio codecs.open zipfile tarfile sqlite3 dbm gdbm mmap logging.FileHandler logging.handlers logging.config \
         logging.config.dictConfig numpy.memmap numpy.fromfile numpy.save numpy.savez numpy.savetxt numpy.loadtxt \
         numpy.genfromtxt numpy.DataSource numpy.core.memmap torch.save torch.PyTorchFileReader \
         torch.PyTorchFileWriter torch.from_file torch.storage.UntypedStorage.from_file torch.distributed.checkpoint.save",
    ),
    (FETCH, "operator _operator functools _functools inspect gc weakref copyreg copy_reg atexit six.moves"),
    (
        NATIVE,
        "cffi _cffi_backend _ctypes numpy.ctypeslib pycuda cupy.RawKernel cupy.RawModule torch._C.CompilationUnit \
         torch._C.PyTorchFileReader torch._C.PyTorchFileWriter torch._C.ScriptModule",
    ),
];

/// Arguments that an allowed function calls or makes: module, function, place of the argument, what is done with it.
const CALLS: &[(&str, &str, usize, Use)] = &[
    ("torch._tensor", "_rebuild_from_type", 0, Use::Called),
    ("torch._tensor", "_rebuild_from_type_v2", 0, Use::Called),
    ("torch._utils", "_rebuild_wrapper_subclass", 0, Use::Made),
    ("collections", "defaultdict", 0, Use::Called),
    ("copyreg", "__newobj__", 0, Use::Made),
    ("copyreg", "__newobj_ex__", 0, Use::Made),
    ("copyreg", "_reconstructor", 0, Use::Made),
    ("copyreg", "_reconstructor", 1, Use::Made),
    ("numpy.core.multiarray", "_reconstruct", 0, Use::Made),
    ("numpy._core.multiarray", "_reconstruct", 0, Use::Made),
    ("numpy.ma.core", "_mareconstruct", 0, Use::Made),
    ("numpy.ma.core", "_mareconstruct", 1, Use::Made),
    ("numpy.random._pickle", "__generator_ctor", 1, Use::Called),
    ("numpy.random._pickle", "__randomstate_ctor", 1, Use::Called),
];

/// The arguments of a function that it calls or makes.
pub(super) fn calls(module: &str, name: &str) -> impl Iterator<Item = (usize, Use)> {
    CALLS.iter().filter(move |row| row.0 == module && row.1 == name).map(|row| (row.2, row.3))
}

/// Judges a name by what is done with it. The module is as Python 3 calls it.
pub(super) fn judge(module: &str, name: &str, done: Use) -> Verdict {
    // TorchScript's own classes are made by its interpreter; Python has no module of that name.
    if is_data(module, name) || module.split('.').next() == Some("__torch__") {
        return Verdict::Data;
    }
    if !is_name(module, name) {
        return Verdict::Danger("no program of Python has such a name");
    }
    if let Some(why) = denied(module, name) {
        return Verdict::Danger(why);
    }
    let is_class = name.split('.').all(is_class);
    if name.contains('.') && !is_class {
        return Verdict::Danger("it reaches into what it names for an attribute");
    }
    let standard = standard::is_standard(module);
    match done {
        Use::Called if standard => Verdict::Danger(STANDARD),
        Use::Made if standard && !is_class => Verdict::Danger(STANDARD),
        Use::Called if !is_class => Verdict::Danger(FUNCTION),
        Use::Called | Use::Made | Use::Named => Verdict::Unknown,
    }
}

/// Whether an identifier is that of a class by the convention of Python's style guide: words that begin with capitals.
pub(super) fn is_class(name: &str) -> bool {
    name.trim_start_matches('_').starts_with(|first: char| first.is_ascii_uppercase())
}

fn is_data(module: &str, name: &str) -> bool {
    let listed = || DATA.iter().any(|row| row.0 == module && has(row.1, name));
    let typed = || {
        let element = name.strip_suffix("Storage").or_else(|| name.strip_suffix("Tensor"));
        TYPED.contains(&module) && element.is_some_and(|element| has(ELEMENTS, element))
    };
    // Exceptions are classes without any deeds.
    let exception = || {
        matches!(module, "builtins" | "exceptions")
            && is_class(name)
            && is_identifier(name)
            && ["Error", "Exception", "Warning"].iter().any(|end| name.ends_with(end))
    };
    listed() || typed() || exception()
}

fn has(list: &str, name: &str) -> bool {
    !name.is_empty() && list.split_ascii_whitespace().any(|one| one == name)
}

/// Why a name may not even be named.
fn denied(module: &str, name: &str) -> Option<&'static str> {
    let path = format!("{module}.{name}");
    let below = |row: &str| path.strip_prefix(row).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    DENIED.iter().find(|(_, list)| list.split_ascii_whitespace().any(below)).map(|row| row.0)
}

/// Whether a program of Python could have something of that name: text that is no pickle seldom has.
pub(super) fn is_name(module: &str, name: &str) -> bool {
    is_module(module) && name.split('.').all(is_identifier)
}

/// Whether a name was denied for being in the table, and not for how it looks or what is done with it.
pub(super) fn is_listed(why: &str) -> bool {
    DENIED.iter().any(|row| row.0 == why)
}

fn is_identifier(name: &str) -> bool {
    let first = name.chars().next().is_some_and(|first| first == '_' || first.is_alphabetic());
    first && name.chars().all(|one| one == '_' || one.is_alphanumeric())
}

/// Modules are named by identifiers too; code that came from a hub has folders with dashes and digits in their names.
fn is_module(module: &str) -> bool {
    let part =
        |part: &str| !part.is_empty() && part.chars().all(|one| matches!(one, '_' | '-') || one.is_alphanumeric());
    module.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_by_what_is_done_with_them() {
        let danger = |module, name, done| matches!(judge(module, name, done), Verdict::Danger(_));
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("builtins", "eval"),
            ("builtins", "eval.__call__"),
            ("torch", "load"),
            ("torch", "os.system"),
            ("torch.serialization", "os.system"),
            ("collections", "OrderedDict.fromkeys"),
            ("operator", "methodcaller"),
            ("asyncio.unix_events", "_UnixSubprocessTransport._start"),
            ("some.where", "system\u{200b}"),
            ("some where", "System"),
            ("", "System"),
        ] {
            assert!(danger(module, name, Use::Named), "{module} {name}");
        }
        for (module, name) in [("idlelib.run", "Executive"), ("httplib", "X"), ("csv", "writer"), ("a.b", "run")] {
            assert!(danger(module, name, Use::Called), "{module} {name}");
        }
        for (module, name) in [
            ("torch", "FloatStorage"),
            ("torch.cuda.sparse", "HalfTensor"),
            ("torch", "float8_e5m2"),
            ("builtins", "KeyError"),
            ("__torch__.torch.nn.___torch_mangle_0", "linear"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("argparse", "Namespace"),
        ] {
            assert_eq!(judge(module, name, Use::Called), Verdict::Data, "{module} {name}");
        }
        assert_eq!(judge("transformers.trainer_utils", "IntervalStrategy", Use::Called), Verdict::Unknown);
        assert_eq!(judge("transformers_modules.microsoft.phi-2.0a1", "Phi_Config", Use::Made), Verdict::Unknown);
        assert_eq!(judge("a", "Outer.Inner", Use::Made), Verdict::Unknown);
        assert_eq!(judge("torch.nn.functional", "gelu", Use::Named), Verdict::Unknown);
        assert!(danger("torch.nn.functional", "gelu", Use::Called));
    }

    #[test]
    fn every_list_says_a_name_once() {
        for (row, list) in DATA.iter().chain(DENIED) {
            let mut names: Vec<&str> = list.split_ascii_whitespace().collect();
            names.sort_unstable();
            assert!(names.windows(2).all(|pair| pair.first() != pair.last()), "{row}: {names:?}");
        }
    }
}
