"""transformers 4.47.1's own conversion of Llama 3.2 Vision, for a smaller one: IN OUT RANKS WIDTH RANKED.

Its code has the width of the released tower and the ids behind the released ranks as numbers; those lines, and the
reload at the end for which another package would be needed, are changed before it runs.
"""

import importlib.util
import json
import pathlib
import sys

source, target, ranks, width, ranked = sys.argv[1:]
ids = [int(ranked) + slot for slot in (0, 1, 4, 8, 9)]
spec = importlib.util.find_spec("transformers.models.mllama.convert_mllama_weights_to_hf")
code = pathlib.Path(spec.origin).read_text()
for old, new in (
    ("vision_dim = 1280", f"vision_dim = {width}"),
    ("config = MllamaConfig(vision_config", f"vision_config.vision_output_dim = {6 * int(width)}\n    config = MllamaConfig(vision_config"),
    ("bos_token_id = 128000", f"bos_token_id = {ids[0]}"),
    ("[128001, 128008, 128009] if instruct else 128001", f"[{ids[1]}, {ids[3]}, {ids[4]}] if instruct else {ids[1]}"),
    ("pad_token_id = 128004", f"pad_token_id = {ids[2]}"),
    ('device_map="auto"', "device_map=None"),
):
    assert code.count(old) == 1, old
    code = code.replace(old, new)
module = {"__name__": "converted"}
exec(compile(code, spec.origin, "exec"), module)
module["write_model"](target, source, num_shards=int(ranks), instruct=True)
module["write_image_processor"](str(pathlib.Path(source, "params.json")), target)
print(json.dumps("done"))
