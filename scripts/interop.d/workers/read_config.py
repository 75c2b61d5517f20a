"""What this transformers reads from the configuration of each DIR."""

import json
import sys

import transformers

major = int(transformers.__version__.split(".")[0])


def rope(config):
    """Base and scaling, whichever generation of names they have."""
    if major >= 5:
        found = dict(config.rope_parameters)
        theta = found.pop("rope_theta")
        return theta, None if found == {"rope_type": "default"} else found
    scaling = dict(config.rope_scaling) if config.rope_scaling else None
    if scaling:
        scaling.pop("type", None)
    return config.rope_theta, scaling


def read(folder):
    config = transformers.AutoConfig.from_pretrained(folder)
    theta, scaling = rope(config)
    dtype = config.torch_dtype if major < 5 else config.dtype
    generation = transformers.GenerationConfig.from_pretrained(folder)
    names = (
        "architectures model_type hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads "
        "vocab_size rms_norm_eps max_position_embeddings tie_word_embeddings bos_token_id eos_token_id pad_token_id "
        "attention_bias mlp_bias hidden_act attention_dropout initializer_range use_cache"
    ).split()
    return {
        **{name: getattr(config, name) for name in names},
        "head_dim": config.head_dim or config.hidden_size // config.num_attention_heads,
        "dtype": str(dtype),
        "rope_theta": float(theta),
        "rope_scaling": scaling,
        "generation": {
            name: getattr(generation, name)
            for name in "bos_token_id eos_token_id do_sample temperature top_p".split()
        },
    }


print(json.dumps([read(folder) for folder in sys.argv[1:]]))
