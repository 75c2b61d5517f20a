"""Adapters between PEFT and torchtune, and merged as each of them does it."""

import json
import math
import shutil

import peft
import pytest
import safetensors.torch
import support
import torch
import torch.distributed.checkpoint as dcp
import transformers

SIZES = {"hidden_size": 64, "intermediate_size": 176, "num_attention_heads": 4, "num_key_value_heads": 2}
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# torchtune's modules, Hugging Face's, and Meta's.
MODULES = {
    "attn.q_proj": ("self_attn.q_proj", "attention.wq"),
    "attn.k_proj": ("self_attn.k_proj", "attention.wk"),
    "attn.v_proj": ("self_attn.v_proj", "attention.wv"),
    "attn.output_proj": ("self_attn.o_proj", "attention.wo"),
    "mlp.w1": ("mlp.gate_proj", "feed_forward.w1"),
    "mlp.w2": ("mlp.down_proj", "feed_forward.w2"),
    "mlp.w3": ("mlp.up_proj", "feed_forward.w3"),
}
KINDS = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    # The first key that fits a module counts.
    "patterns": {"alpha_pattern": {"^model.layers.0.self_attn.q_proj": 2, "self_attn.q_proj$": 5, "q_proj": 7}, "rank_pattern": {"layers\\.1\\.mlp\\.up_proj": 3}},
    "embeddings": {"target_modules": [*TARGETS, "embed_tokens", "lm_head"]},
    "whole": {"modules_to_save": ["lm_head", "norm"]},
}
DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}


def interleaved(tensor, heads):
    """Rows of Hugging Face's order in Meta's."""
    shape = tensor.shape
    return tensor.reshape(heads, 2, shape[0] // heads // 2, -1).transpose(1, 2).reshape(shape)


def halves(tensor, heads):
    """Rows of Meta's order in Hugging Face's."""
    shape = tensor.shape
    return tensor.reshape(heads, shape[0] // heads // 2, 2, -1).transpose(1, 2).reshape(shape)


def heads_of(module):
    return {"attn.q_proj": 4, "attn.k_proj": 2}.get(module)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """One random Llama in three dtypes, as transformers saves it."""
    home = tmp_path_factory.mktemp("bases")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SIZES, num_hidden_layers=2, vocab_size=98, max_position_embeddings=64, head_dim=16)
    model = transformers.LlamaForCausalLM(config)
    for name, dtype in DTYPES.items():
        model.to(dtype).save_pretrained(home / name)
    return home


@pytest.fixture(scope="module")
def adapters(bases, tmp_path_factory):
    """Adapters of each kind, as PEFT saves them, all their values random."""
    home = tmp_path_factory.mktemp("adapters")
    for name, settings in KINDS.items():
        torch.manual_seed(1)
        base = transformers.AutoModelForCausalLM.from_pretrained(bases / "bf16", dtype=torch.float32)
        config = peft.LoraConfig(**{"r": 6, "lora_alpha": 13, "target_modules": TARGETS, "task_type": "CAUSAL_LM"} | settings)
        model = peft.get_peft_model(base, config)
        for key, value in model.named_parameters():
            if "lora_B" in key or "lora_embedding_A" in key:
                torch.nn.init.normal_(value, std=0.05)
            elif "magnitude" in key or "modules_to_save" in key:
                value.data *= 1 + 0.1 * torch.randn_like(value)
        model.save_pretrained(home / name)
    return home


def merged_by_peft(base, adapter, dtype):
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    return peft.PeftModel.from_pretrained(model, adapter).merge_and_unload().state_dict()


def apart(ours, theirs):
    """How many values of two tables differ, of how many, and by how many units in the last place at the most."""
    assert ours.keys() == theirs.keys()
    differ = count = worst = 0
    for name, tensor in theirs.items():
        mine = ours[name]
        assert (mine.dtype, mine.shape) == (tensor.dtype, tensor.shape), name
        bits = torch.int32 if tensor.dtype == torch.float32 else torch.int16
        gap = (mine.view(bits).long() - tensor.view(bits).long()).abs()
        differ, count, worst = differ + int((gap > 0).sum()), count + gap.numel(), max(worst, int(gap.max()))
    return differ, count, worst


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_merge_is_pefts(bases, adapters, tmp_path, dtype, kind):
    support.convert(bases / dtype, "hf", tmp_path / "out", "--merge-adapter", adapters / kind, "--verify")
    theirs = merged_by_peft(bases / dtype, adapters / kind, DTYPES[dtype])
    differ, count, worst = apart(support.load_hf(tmp_path / "out"), theirs)
    if kind != "dora":
        assert (differ, worst) == (0, 0), f"{differ} of {count} differ"
    elif dtype == "f32":
        # torch sums the squares of a row in as many lanes as its vectors have; ours are summed in F64.
        assert worst <= 8, worst
    else:
        assert worst <= 1 and differ * 1000 < count, f"{differ} of {count} differ"


@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("dtype", ["bf16", "f16"])
def test_a_merge_into_a_wider_dtype_is_rounded_once(bases, adapters, tmp_path, kind, dtype):
    """--dtype F32 is what PEFT makes of the base loaded as F32; --dtype BF16 of an F32 base what it then rounds."""
    support.convert(bases / dtype, "hf", tmp_path / "wide", "--merge-adapter", adapters / kind, "--dtype", "F32")
    differ, count, worst = apart(support.load_hf(tmp_path / "wide"), merged_by_peft(bases / dtype, adapters / kind, torch.float32))
    assert worst <= (0 if kind == "lora" else 8), f"{differ} of {count} differ, up to {worst}"
    support.convert(bases / "f32", "hf", tmp_path / "narrow", "--merge-adapter", adapters / kind, "--dtype", dtype.upper())
    theirs = {name: tensor.to(DTYPES[dtype]) for name, tensor in merged_by_peft(bases / "f32", adapters / kind, torch.float32).items()}
    differ, count, worst = apart(support.load_hf(tmp_path / "narrow"), theirs)
    assert worst <= int(kind == "dora") and differ * 1000 < count, f"{differ} of {count} differ, up to {worst}"


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_merge_is_the_same_into_any_layout(bases, adapters, tmp_path, ranks):
    for kind in ("lora", "dora"):
        home = tmp_path / kind
        home.mkdir()
        plain = support.convert(bases / "bf16", "hf", home / "plain", "--merge-adapter", adapters / kind)
        support.convert(bases / "bf16", "meta", home / "meta", "--mp", ranks)
        support.convert(bases / "bf16", "hf", home / "shards", "--max-shard-size", "60KB")
        support.convert(bases / "bf16", "safetensors", home / "one.safetensors")
        support.convert(home / "meta", "hf", home / "from-meta", "--merge-adapter", adapters / kind)
        support.convert(home / "shards", "meta", home / "to-meta", "--merge-adapter", adapters / kind, "--mp", ranks)
        support.convert(home / "one.safetensors", "torch", home / "one.pth", "--merge-adapter", adapters / kind)
        dcp.save(support.load_hf(bases / "bf16"), checkpoint_id=home / "dcp", no_dist=True)
        support.convert(home / "dcp", "safetensors", home / "from-dcp", "--merge-adapter", adapters / kind)
        if ranks == 1:
            # torchtitan saves Meta's names.
            (metas,) = support.load_meta(home / "meta")
            dcp.save(metas, checkpoint_id=home / "titan", no_dist=True)
            shutil.copy(home / "meta" / "params.json", home / "titan")
            support.convert(home / "titan", "hf", home / "from-titan", "--merge-adapter", adapters / kind)
            support.same(support.load_hf(home / "from-titan"), support.load_hf(home / "plain"))
        plain = support.load_hf(home / "plain")
        support.same(support.load_hf(home / "from-meta"), plain)
        support.same(support.load_hf(home / "from-dcp"), plain)
        support.convert(home / "to-meta", "hf", home / "back")
        support.same(support.load_hf(home / "back"), plain)
        support.same(torch.load(home / "one.pth", weights_only=True), plain)


@pytest.mark.parametrize("family, other", [("hf-tiny", "meta"), ("hf-tiny", "gguf"), ("families/gemma3_text", "gguf")])
def test_what_is_brought_whole_is_the_same_into_any_form(fixtures, tmp_path, family, other):
    """Rows in another order, norms with one added: what replaces a tensor of the base takes the form of that tensor."""
    base = fixtures / family
    home = tmp_path / "adapter"
    home.mkdir()
    torch.manual_seed(2)
    names = ["model.layers.0.self_attn.q_proj.weight", "model.layers.1.self_attn.k_proj.weight", "model.norm.weight"]
    weights = support.load_hf(base)
    brought = {f"base_model.model.{name}": torch.randn_like(weights[name]) for name in names}
    mlp = weights["model.layers.0.mlp.down_proj.weight"]
    for part, shape in (("A", (2, mlp.shape[1])), ("B", (mlp.shape[0], 2))):
        brought[f"base_model.model.model.layers.0.mlp.down_proj.lora_{part}.weight"] = torch.randn(shape) * 0.1
    safetensors.torch.save_file(brought, home / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["down_proj"], "modules_to_save": ["q_proj", "k_proj", "norm"]}
    (home / "adapter_config.json").write_text(json.dumps(config))
    support.convert(base, "hf", tmp_path / "plain", "--merge-adapter", home, "--dtype", "F32")
    into = tmp_path / ("other.gguf" if other == "gguf" else "other")
    support.convert(base, other, into, *(["--gguf-type", "f32"] if other == "gguf" else []))
    support.convert(into, "hf", tmp_path / "back", "--merge-adapter", home, "--dtype", "F32")
    ours, theirs = support.load_hf(tmp_path / "back"), support.load_hf(tmp_path / "plain")
    for name in theirs:
        # A norm that GGUF holds with one added loses the last bits of small factors.
        assert torch.allclose(ours[name], theirs[name], rtol=0, atol=2**-23 if "norm" in name else 0), name
    assert torch.equal(theirs[names[0]], brought[f"base_model.model.{names[0]}"].float())


def test_a_base_in_metas_own_form_is_refused(fixtures, tmp_path):
    """Its layers are counted otherwise: the same number is another layer's."""
    support.convert(fixtures / "families" / "mllama", "meta", tmp_path / "meta")
    home = tmp_path / "adapter"
    home.mkdir()
    name = "base_model.model.language_model.model.layers.0.mlp.down_proj"
    pair = {f"{name}.lora_A.weight": torch.zeros(2, 12), f"{name}.lora_B.weight": torch.zeros(8, 2)}
    safetensors.torch.save_file(pair, home / "adapter_model.safetensors", metadata={"format": "pt"})
    (home / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 2}))
    said = support.run("convert", tmp_path / "meta", "--to", "hf", "--out", tmp_path / "out", "--merge-adapter", home, expect=2)
    assert said.document["error"]["id"] == "unsupported" and "--to hf" in said.document["error"]["help"]
    assert not (tmp_path / "out").exists()


@pytest.fixture(params=["lora", "dora"])
def tune(request, bases, tmp_path):
    """A base and an adapter under torchtune's names and in its order, and what torchtune makes of them."""
    torch.manual_seed(2)
    rank, alpha = 6, 13
    home = tmp_path / "tune"
    home.mkdir()
    hf = support.load_hf(bases / "bf16")
    base, adapter = {}, {}
    for layer in range(2):
        for module, (name, _) in MODULES.items():
            weight = hf[f"model.layers.{layer}.{name}.weight"]
            heads = heads_of(module)
            key = f"layers.{layer}.{module}"
            base[f"{key}.weight"] = interleaved(weight, heads) if heads else weight
            adapter[f"{key}.lora_a.weight"] = torch.randn(rank, weight.shape[1]).bfloat16()
            adapter[f"{key}.lora_b.weight"] = (torch.randn(weight.shape[0], rank) * 0.05).bfloat16()
            if request.param == "dora":
                adapter[f"{key}.magnitude"] = (weight.float().norm(dim=1) * (1 + 0.1 * torch.randn(weight.shape[0]))).bfloat16()
    torch.save(base, home / "base.pt")
    torch.save(adapter, home / "adapter.pt")
    settings = {"rank": rank, "alpha": alpha, "num_heads": 4, "num_kv_heads": 2, "dim": 64, "head_dim": 16}
    (home / "settings.json").write_text(json.dumps(settings))
    support.work("5.23.0", "torchtune_adapter", home, support.ORACLE / "stack")
    return home, adapter, request.param


def test_a_merge_is_torchtunes(bases, tune, tmp_path):
    home, _, kind = tune
    support.convert(bases / "bf16", "meta", tmp_path / "meta")
    options = ["--merge-adapter", home / "adapter.pt", "--alpha", 13, "--merge-math", "torchtune"]
    for source in (bases / "bf16", tmp_path / "meta"):
        out = tmp_path / f"from-{source.name}"
        support.convert(source, "hf", out, *options)
        ours = support.load_hf(out)
        theirs = {}
        for name, tensor in torch.load(home / "merged.pt", weights_only=True).items():
            layer, module = name.removesuffix(".weight").split(".", 2)[1:]
            heads = heads_of(module)
            theirs[f"model.layers.{layer}.{MODULES[module][0]}.weight"] = halves(tensor, heads) if heads else tensor
        differ, count, worst = apart({name: ours[name] for name in theirs}, theirs)
        assert differ == 0, f"{kind}: {differ} of {count} differ, up to {worst}"


def test_torchtunes_adapter_becomes_pefts(bases, tune, tmp_path):
    home, adapter, kind = tune
    out = tmp_path / "peft"
    said = support.run("convert", home / "adapter.pt", "--to", "peft", "--out", out, "--base", bases / "f32", expect=2).document
    assert "--alpha" in said["error"]["help"], said
    said = support.run("convert", home / "adapter.pt", "--to", "peft", "--out", out, "--alpha", 13, expect=2).document
    assert "--base" in said["error"]["help"], said
    support.convert(home / "adapter.pt", "peft", out, "--alpha", 13, "--base", bases / "f32")
    support.run("verify", "--expect", "peft", "--base", bases / "f32", out)
    ours = safetensors.torch.load_file(out / "adapter_model.safetensors")
    if kind == "lora":
        support.same(ours, torch.load(home / "peft.pt", weights_only=True))
    config = json.loads((out / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["use_dora"]) == (6, 13, kind == "dora")

    model = peft.AutoPeftModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    loaded = peft.get_peft_model_state_dict(model)
    assert loaded.keys() == ours.keys()
    assert all(torch.equal(loaded[name], tensor.float()) for name, tensor in ours.items())
    # The same merged from torchtune's file, without PEFT's help.
    support.convert(bases / "f32", "hf", tmp_path / "merged", "--merge-adapter", home / "adapter.pt", "--alpha", 13)
    other = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    tokens = torch.arange(24)[None]
    with torch.no_grad():
        difference = (model(tokens).logits - other(tokens).logits).abs().max()
    assert difference < 1e-4, difference
    # And by the definition, in F64, with rows put in order here.
    weights = support.load_hf(tmp_path / "merged")
    for layer in range(2):
        for module, (name, _) in MODULES.items():
            key, heads = f"layers.{layer}.{module}", heads_of(module)
            a, b = (adapter[f"{key}.lora_{part}.weight"].double() for part in "ab")
            product = b @ a * (13 / 6)
            product = halves(product, heads) if heads else product
            whole = support.load_hf(bases / "f32")[f"model.layers.{layer}.{name}.weight"].double() + product
            if kind == "dora":
                magnitude = adapter[f"{key}.magnitude"].double()
                magnitude = halves(magnitude, heads) if heads else magnitude
                whole *= (magnitude / whole.norm(dim=1))[:, None]
            assert (weights[f"model.layers.{layer}.{name}.weight"] - whole).abs().max() < 1e-6, key


def test_there_and_back_to_the_bit(bases, adapters, tune, tmp_path):
    home, adapter, _ = tune
    support.convert(home / "adapter.pt", "peft", tmp_path / "peft", "--alpha", 13, "--base", bases / "bf16")
    support.convert(tmp_path / "peft", "torchtune", tmp_path / "back", "--base", bases / "bf16")
    support.same(torch.load(tmp_path / "back" / "adapter_model.pt", weights_only=True), adapter)
    for kind in ("lora", "dora", "rslora"):
        support.convert(adapters / kind, "torchtune", tmp_path / f"tune-{kind}", "--base", bases / "bf16")
        # What was lost on the way to torchtune's file stands beside it.
        support.convert(tmp_path / f"tune-{kind}", "peft", tmp_path / f"back-{kind}", "--base", bases / "bf16")
        saved, back = ({**safetensors.torch.load_file(folder / "adapter_model.safetensors")} for folder in (adapters / kind, tmp_path / f"back-{kind}"))
        support.same(back, saved)
        before, after = (json.loads((folder / "adapter_config.json").read_text()) for folder in (adapters / kind, tmp_path / f"back-{kind}"))
        for key in ("r", "lora_alpha", "use_dora", "use_rslora", "peft_type", "task_type"):
            assert before[key] == after[key], key
        assert sorted(before["target_modules"]) == sorted(after["target_modules"])


def test_the_alpha_that_is_used_is_the_one_asked_for(bases, adapters, tmp_path):
    """Scale is alpha over the root of the rank for rsLoRA; --alpha overrides the config."""
    support.convert(bases / "f32", "hf", tmp_path / "out", "--merge-adapter", adapters / "rslora", "--alpha", 2)
    name = "model.layers.0.mlp.up_proj"
    pair = safetensors.torch.load_file(adapters / "rslora" / "adapter_model.safetensors")
    a, b = (pair[f"base_model.model.{name}.lora_{part}.weight"].double() for part in "AB")
    expected = support.load_hf(bases / "f32")[f"{name}.weight"].double() + b @ a * 2 / math.sqrt(6)
    assert (support.load_hf(tmp_path / "out")[f"{name}.weight"] - expected).abs().max() < 1e-6


def test_an_adapter_of_another_base_is_refused(bases, adapters, tmp_path):
    config = transformers.LlamaConfig(**SIZES | {"intermediate_size": 128}, num_hidden_layers=1, vocab_size=98)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "other")
    said = support.run("verify", "--base", tmp_path / "other", adapters / "lora", expect=1).document["verify"]
    assert {finding["id"] for finding in said["findings"] if finding["severity"] == "error"} == {"adapter-base"}
    # The second layer is not there, and the feed-forward layers of the first are of another width.
    assert said["counts"]["error"] == 7 + 3
    said = support.run("convert", tmp_path / "other", "--merge-adapter", adapters / "lora", "--to", "hf", "--out", tmp_path / "out", expect=2)
    assert said.document["error"]["id"] == "adapter-base", said.document
    assert not (tmp_path / "out").exists()


def test_the_magnitudes_that_torchtune_forgets_to_turn_are_named(bases, tune, tmp_path):
    """torchtune saves both forms; that for PEFT is wrong where rows have magnitudes, and its own file is right."""
    home, adapter, kind = tune
    epoch = tmp_path / "epoch_0"
    epoch.mkdir()
    torch.save(adapter, epoch / "adapter_model.pt")
    theirs = torch.load(home / "peft.pt", weights_only=True)
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in theirs.items()}, epoch / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {"r": 6, "lora_alpha": 13, "target_modules": TARGETS, "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "b", "use_dora": kind == "dora"}
    (epoch / "adapter_config.json").write_text(json.dumps(config))
    wrong = kind == "dora"
    said = support.run("verify", "--deep", "--severity", "zero-range=ignore", epoch, expect=int(wrong)).document["verify"]
    assert {finding["id"] for finding in said["findings"]} == ({"adapter-magnitudes"} if wrong else set()), said
    merge = ["convert", bases / "bf16", "--to", "hf", "--out", tmp_path / "merged", "--merge-adapter", epoch]
    assert support.run(*merge, expect=2 if wrong else 0).document.get("error", {"id": None})["id"] == ("adapter-magnitudes" if wrong else None)
    support.run("convert", epoch, "--to", "peft", "--base", bases / "bf16", "--out", tmp_path / "peft", expect=2 if wrong else 0)
    support.convert(epoch / "adapter_model.pt", "peft", tmp_path / "right", "--base", bases / "bf16")


@pytest.mark.parametrize("kind", ["lora", "rslora", "dora"])
def test_torchtune_loads_what_becomes_of_pefts(bases, adapters, tmp_path, kind):
    """Its model takes every tensor, answers as PEFT's does, and merges to the same weights."""
    home = tmp_path / "tune"
    said = support.convert(adapters / kind, "torchtune", home, "--base", bases / "f32")
    alpha = 13
    if kind == "rslora":
        (warning,) = said["convert"]["warnings"]
        alpha = 13 * math.sqrt(6)
        assert f"alpha is {alpha:.6f}"[:-1] in warning["message"], said
    shutil.copy(bases / "f32" / "model.safetensors", home / "base.safetensors")
    settings = {"rank": 6, "alpha": alpha, "num_heads": 4, "num_kv_heads": 2, "dim": 64, "hidden": 176, "layers": 2, "vocab": 98, "dora": kind == "dora", "tokens": list(range(24))}
    (home / "settings.json").write_text(json.dumps(settings))
    support.work("5.23.0", "torchtune_load_adapter", home, support.ORACLE / "stack")
    model = peft.AutoPeftModelForCausalLM.from_pretrained(adapters / kind, dtype=torch.float32)
    with torch.no_grad():
        difference = (model(torch.arange(24)[None]).logits - torch.load(home / "logits.pt", weights_only=True)).abs().max()
    assert difference < 1e-4, difference
    theirs = merged_by_peft(bases / "f32", adapters / kind, torch.float32)
    # torchtune's own merge turned back into Hugging Face's names by its own converter.
    merged = torch.load(home / "merged.pt", weights_only=True)
    assert merged.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert (merged[name] - tensor).abs().max() < 1e-5, name
    # And ours of the file that it loaded, with its arithmetic, to the bit.
    support.convert(bases / "f32", "hf", tmp_path / "ours", "--merge-adapter", home / "adapter_model.pt", "--merge-math", "torchtune")
    ours = support.load_hf(tmp_path / "ours")
    differ, count, worst = apart(ours, merged)
    assert worst <= (8 if kind == "dora" else 0), f"{differ} of {count} differ, up to {worst}"


@pytest.mark.parametrize("settings", [{"alpha_pattern": {"q_proj": 5}}, {"rank_pattern": {"q_proj": 2}}, {"init_lora_weights": "pissa"}])
def test_what_torchtune_has_no_place_for_is_refused(bases, tmp_path, settings):
    model = transformers.AutoModelForCausalLM.from_pretrained(bases / "f32")
    peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], **settings)).save_pretrained(tmp_path / "adapter")
    said = support.run("convert", tmp_path / "adapter", "--to", "torchtune", "--base", bases / "f32", "--out", tmp_path / "tune", expect=2).document["error"]
    assert "torchtune" in said["message"], said


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_an_adapter_whose_start_moved_the_base_is_not_merged(bases, tmp_path, start):
    """PEFT takes the first product out of the base when it loads it; what PEFT itself makes a plain LoRA is merged."""
    model = transformers.AutoModelForCausalLM.from_pretrained(bases / "f32")
    model = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=4, target_modules=["q_proj", "v_proj"], init_lora_weights=start))
    model.peft_config["default"].init_lora_weights = True
    model.save_pretrained(tmp_path / "start")
    model.peft_config["default"].init_lora_weights = start
    for name, value in model.named_parameters():
        if "lora_" in name:
            value.data += 0.01 * torch.randn_like(value)
    model.save_pretrained(tmp_path / "adapter")
    said = support.run("convert", bases / "f32", "--to", "hf", "--out", tmp_path / "out", "--merge-adapter", tmp_path / "adapter", expect=2).document["error"]
    assert "path_initial_model_for_weight_conversion" in said["message"], said
    model.save_pretrained(tmp_path / "plain", path_initial_model_for_weight_conversion=str(tmp_path / "start"))
    support.convert(bases / "f32", "hf", tmp_path / "out", "--merge-adapter", tmp_path / "plain")
    theirs = model.merge_and_unload().state_dict()
    ours = support.load_hf(tmp_path / "out")
    for name, tensor in theirs.items():
        assert (ours[name] - tensor).abs().max() < 1e-5, name
