"""WavLM's gated attention: sottovoce's on fused kernels against Hugging Face's, one layer and the whole model."""

import copy
from typing import Any

import torch
import transformers
from turns import in_turns, ratio, record

from sottovoce.models.wavlm import adopt_attention

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
                name: (lambda m=model, b=biases[name]: m.encoder.layers[1].attention(states, position_bias=b))
                for name, model in models.items()
            }
            wholes = {name: (lambda m=model: m(speech)) for name, model in models.items()}
            place = f"batch {batch}, {seconds} s"
            rows[f"attention of one layer, {place}"] = ratio(
                in_turns(layers, rounds=3 * ROUNDS), "sottovoce", "hugging_face"
            )
            rows[f"whole model, {place}"] = ratio(in_turns(wholes, rounds=ROUNDS), "sottovoce", "hugging_face")
    record("wavlm", rows)


if __name__ == "__main__":
    main()
