"""What plain Hugging Face code computes with folders, in one process that cannot import sottovoce."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import sottovoce as sv

# How far plain Hugging Face may be off, in norm, with a WavLM that a plain configuration describes; else it is not.
WAVLM = {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}

SCRIPT = """
import functools, json, sys, warnings

class NoSottovoce:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "sottovoce":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NoSottovoce())
import torch, transformers
from safetensors.torch import load_file
from transformers import dynamic_module_utils
# It would parse each modelling file at each load.
dynamic_module_utils.get_imports = functools.cache(dynamic_module_utils.get_imports)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
warnings.simplefilter("ignore")
torch.set_num_threads(1)

def seen(folder, case):
    name = json.load(open(folder + "/config.json"))["architectures"][0]
    auto = transformers.AutoModel
    if name.endswith("ForCTC"):
        auto = transformers.AutoModelForCTC
    elif name.endswith("Classification"):
        auto = transformers.AutoModelForAudioClassification
    try:
        auto.from_pretrained(folder, trust_remote_code=False)
        stops = False
    except ValueError as error:
        stops = "trust_remote_code" in str(error)
    model, found = auto.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
    for tensor in (*model.parameters(), *model.buffers()):
        # Tensors that lie crookedly in a mapped file are the same numbers, but kernels round the last bit differently.
        tensor.data = tensor.data.clone()
    case = load_file(case)
    wanted = case.pop("wanted")
    with torch.no_grad():
        output = model.eval()(**case)[0]
    error = ((output.double() - wanted.double()).norm() / wanted.double().norm().clamp(min=1e-30)).item()
    return {"stops": stops, "missing": sorted(map(str, found["missing_keys"] | found["mismatched_keys"])),
            "same": torch.equal(output, wanted), "error": error, "dtype": str(model.dtype)}

for line in sys.stdin:
    folder, case = json.loads(line)
    try:
        print(json.dumps(seen(folder, case)))
    except Exception as error:
        print(json.dumps({"failed": f"{type(error).__name__}: {error}"}))
"""


def write_case(model: Any, path: Path, *, seconds: float = 0.3) -> Path:
    """Inputs of a model and what it makes of them."""
    inputs = sv.Anatomy(model).dummy_inputs(seconds, batch=2, seed=5)
    with torch.no_grad():
        wanted = model.eval()(**inputs)[0]
    save_file({**inputs, "wanted": wanted.contiguous()}, path)
    return path


def elsewhere(cases: Mapping[Path, Path], workplace: Path) -> dict[Path, dict[str, Any]]:
    """What happens to each folder there: what is missing, whether the output is the same, and how far off it is."""
    place = {**os.environ, "HF_HOME": str(workplace / "hf"), "HF_MODULES_CACHE": str(workplace / "modules")}
    lines = "".join(json.dumps([str(folder), str(case)]) + "\n" for folder, case in cases.items())
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=lines, capture_output=True, text=True, env=place, cwd=workplace
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(cases, map(json.loads, done.stdout.splitlines()), strict=True))
