"""GGUF files of gguf-py: every type of tensor and of value, byte orders, parts of a split file, a small Llama."""

import types

import digests
import gguf
import numpy
from gguf import GGMLQuantizationType as Type
from gguf.scripts import gguf_convert_endian

# What a plain type is called in numpy.
PLAIN = {
    Type.F32: numpy.float32,
    Type.F16: numpy.float16,
    Type.F64: numpy.float64,
    Type.I8: numpy.int8,
    Type.I16: numpy.int16,
    Type.I32: numpy.int32,
    Type.I64: numpy.int64,
}


def make(folder):
    random = numpy.random.default_rng(20)
    tensors = [*all_types(folder, random), *forms(folder), *llama(folder, random)]
    digests.write(folder / "expected.json", {"gguf": "0.19.0", "tensors": tensors})


def entry(file, name, kind, shape, stored, values):
    """A line of expected.json: the digest of the stored bytes and that of the values in F32, where gguf-py has them."""
    made = None if values is None else digests.sha256(numpy.ascontiguousarray(values, "<f4").tobytes())
    return {"file": file, "name": name, "dtype": kind.name, "shape": list(shape), "sha256": digests.sha256(stored), "values": made}


# --- types ------------------------------------------------------------------------------------------------------------


def values_of(blocks, kind):
    try:
        return gguf.quants.dequantize(blocks, kind)
    except NotImplementedError:
        return None


def blocks_of(random, kind):
    """Blocks of random bits whose scales are numbers: every value of every field may occur."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    count = 256 // elements
    rows = []
    while len(rows) < 2:
        row = random.integers(0, 256, count * size, dtype=numpy.uint8)
        values = values_of(row, kind)
        if values is None or numpy.isfinite(values).all():
            rows.append(row)
    return numpy.stack(rows)


def all_types(folder, random):
    writer = gguf.GGUFWriter(folder / "all-types.gguf", "none")
    every_value(writer)
    entries = []
    for kind in Type:
        if kind in PLAIN or kind == Type.BF16:
            numbers = random.standard_normal((2, 6)) * 50
            data = gguf.quants.quantize(numbers.astype("f4"), kind) if kind == Type.BF16 else numbers.astype(PLAIN[kind])
            shape, values = (2, 6), None if kind.name[0] == "I" or kind == Type.F64 else values_of(data, kind)
        else:
            data = blocks_of(random, kind)
            shape, values = (2, 256), values_of(data, kind)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        entries.append(entry("all-types.gguf", kind.name, kind, shape, data.tobytes(), values))
    finish(writer)
    return entries


def every_value(writer):
    writer.add_uint8("test.u8", 200)
    writer.add_int8("test.i8", -100)
    writer.add_uint16("test.u16", 60000)
    writer.add_int16("test.i16", -30000)
    writer.add_uint32("test.u32", 4000000000)
    writer.add_int32("test.i32", -2000000000)
    writer.add_float32("test.f32", 1e-5)
    writer.add_uint64("test.u64", 2**63)
    writer.add_int64("test.i64", -(2**62))
    writer.add_float64("test.f64", 0.1)
    writer.add_bool("test.bool", True)
    writer.add_string("test.string", "über")
    writer.add_array("test.numbers", [1, 2, 3])
    writer.add_array("test.words", ["a", "b"])
    writer.add_array("test.many", list(range(300)))


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# --- forms ------------------------------------------------------------------------------------------------------------


def forms(folder):
    entries = []

    def write(file, tensors, **options):
        writer = gguf.GGUFWriter(folder / file, "none", **options)
        if "128" in file:
            writer.add_custom_alignment(128)
        for name, data in tensors.items():
            writer.add_tensor(name, data)
            little = data.astype(data.dtype.newbyteorder("<"))
            kind = Type.F16 if data.dtype.itemsize == 2 else Type.F32
            entries.append(entry(file, name, kind, data.shape, little.tobytes(), data.astype("f4")))
        finish(writer)

    def ramp(*shape, kind="f4"):
        return numpy.arange(numpy.prod(shape), dtype=kind).reshape(shape) / 7

    write("align128.gguf", {"a": ramp(3), "b": ramp(5, 7), "four": ramp(2, 3, 4, 5)})
    write("big-endian.gguf", {"a": ramp(2, 3), "half": ramp(4).astype("f2")}, endianess=gguf.GGUFEndian.BIG)
    entries += turned(folder)
    split(folder, "split", [["t0", "t1"], ["t2", "t3"], ["t4"]], entries)
    split(folder, "header-first", [[], ["t0", "t1"]], entries)
    return entries


def turned(folder):
    """Blocks in a big-endian file: the numbers in them turned round by gguf-py's own program, which knows six types."""
    random = numpy.random.default_rng(21)
    file, entries = "big-endian-blocks.gguf", []
    writer = gguf.GGUFWriter(folder / file, "none", endianess=gguf.GGUFEndian.BIG)
    for kind, turn in gguf_convert_endian.byteswap_tensors.items():
        stored = blocks_of(random, kind)
        values = values_of(stored, kind)
        entries.append(entry(file, kind.name, kind, values.shape, stored.tobytes(), values))
        flat = stored.reshape(-1).copy()
        for start in range(0, flat.size, gguf.GGML_QUANT_SIZES[kind][1]):
            turn(types.SimpleNamespace(data=flat), start)
        writer.add_tensor(kind.name, flat.reshape(stored.shape), raw_dtype=kind)
    finish(writer)
    return entries


def split(folder, name, parts, entries):
    """As llama-gguf-split writes them: all keys in the first part, which may hold no tensors."""
    (folder / name).mkdir()
    total = sum(map(len, parts))
    for number, tensors in enumerate(parts):
        file = f"{name}/m-{number + 1:05}-of-{len(parts):05}.gguf"
        writer = gguf.GGUFWriter(folder / file, "none" if number == 0 else "")
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", len(parts))
        writer.add_int32("split.tensors.count", total)
        for tensor in tensors:
            data = numpy.full((3, 4), int(tensor[1:]) + 0.5, "f4")
            writer.add_tensor(tensor, data)
            entries.append(entry(file, tensor, Type.F32, data.shape, data.tobytes(), data))
        finish(writer)


# --- a model ----------------------------------------------------------------------------------------------------------

SIZES = {"vocab": 64, "dim": 32, "heads": 4, "kv": 2, "ffn": 64, "layers": 2}


def rotary(weight, heads):
    """llama.cpp's order of the rows of q and k from Hugging Face's (`LlamaModel.permute` of convert_hf_to_gguf.py)."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def llama(folder, random):
    file = "llama-q8_0.gguf"
    s, head = SIZES, SIZES["dim"] // SIZES["heads"]
    writer = gguf.GGUFWriter(folder / file, "llama")
    writer.add_name("tiny")
    writer.add_block_count(s["layers"])
    writer.add_context_length(128)
    writer.add_embedding_length(s["dim"])
    writer.add_feed_forward_length(s["ffn"])
    writer.add_head_count(s["heads"])
    writer.add_head_count_kv(s["kv"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(head)
    writer.add_vocab_size(s["vocab"])
    entries = []

    def add(name, hf, *shape, heads=None):
        values = random.standard_normal(shape).astype("f4")
        stored = values if heads is None else rotary(values, heads)
        kind = Type.F32 if len(shape) == 1 else Type.Q8_0
        data = gguf.quants.quantize(stored, kind)
        writer.add_tensor(name + ".weight", data, raw_dtype=kind)
        # Whole rows are quantised, so the order of the rows changes nothing in them.
        theirs = gguf.quants.dequantize(gguf.quants.quantize(values, kind), kind)
        row = entry(file, name + ".weight", kind, shape, data.tobytes(), gguf.quants.dequantize(data, kind))
        entries.append({**row, "hf": [hf + ".weight", digests.sha256(theirs.tobytes())]})

    dim, ffn, kv = s["dim"], s["ffn"], s["kv"] * head
    add("token_embd", "model.embed_tokens", s["vocab"], dim)
    for layer in range(s["layers"]):
        ours, theirs = f"blk.{layer}.", f"model.layers.{layer}."
        add(ours + "attn_q", theirs + "self_attn.q_proj", dim, dim, heads=s["heads"])
        add(ours + "attn_k", theirs + "self_attn.k_proj", kv, dim, heads=s["kv"])
        add(ours + "attn_v", theirs + "self_attn.v_proj", kv, dim)
        add(ours + "attn_output", theirs + "self_attn.o_proj", dim, dim)
        add(ours + "ffn_gate", theirs + "mlp.gate_proj", ffn, dim)
        add(ours + "ffn_up", theirs + "mlp.up_proj", ffn, dim)
        add(ours + "ffn_down", theirs + "mlp.down_proj", dim, ffn)
        add(ours + "attn_norm", theirs + "input_layernorm", dim)
        add(ours + "ffn_norm", theirs + "post_attention_layernorm", dim)
    add("output_norm", "model.norm", dim)
    add("output", "lm_head", s["vocab"], dim)
    finish(writer)
    return entries
