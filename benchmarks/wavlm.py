"""WavLM's gated attention: sottovoce's on fused kernels against Hugging Face's, one layer and the whole model."""

import copy
import functools
from typing import Any

import torch
import transformers
from lib.records import ratio, record

from sottovoce.measures.macs import macs_by_part
from sottovoce.models.wavlm import adopt_attention
from sottovoce.timing import in_turns

NEEDS = {"nothing": ""}
ROUNDS = 30


def main() -> None:
    """Time layer and model at several lengths and store the ratios."""
    torch.manual_seed(0)
    theirs: Any = transformers.WavLMModel(transformers.WavLMConfig()).eval()
    ours: Any = copy.deepcopy(theirs)
    adopt_attention(ours)
    rows = {}
    with torch.inference_mode():
        for batch, seconds in ((1, 2), (1, 10), (4, 4)):
            speech = torch.randn(batch, 16_000 * seconds)
            frames = int(theirs._get_feat_extract_output_lengths(16_000 * seconds))
            states = torch.randn(batch, frames, 768)
            biases = {
                "hugging_face": theirs.encoder.layers[0].attention(states)[2],
                "sottovoce": ours.encoder.layers[0].attention(states)[2],
            }
            models = {"hugging_face": theirs, "sottovoce": ours}
            # The second layer takes the bias that the first has made.
            layers = {
                name: functools.partial(model.encoder.layers[1].attention, states, position_bias=biases[name])
                for name, model in models.items()
            }
            wholes = {name: functools.partial(model, speech) for name, model in models.items()}
            place = f"batch {batch}, {seconds} s"
            macs = {w[2]: v for w, v in macs_by_part(ours, 16_000 * seconds).items() if w[:2] == ("layer", 1)}
            rows[f"attention of one layer, {place}"] = {
                **ratio(in_turns(layers, rounds=3 * ROUNDS), "sottovoce", "hugging_face"),
                "macs": batch * (macs["attention_projections"] + macs["attention_products"]),
            }
            rows[f"whole model, {place}"] = ratio(in_turns(wholes, rounds=ROUNDS), "sottovoce", "hugging_face")
    record("wavlm", rows)


if __name__ == "__main__":
    main()
