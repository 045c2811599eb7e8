"""Does an unedited model run as fast through sottovoce as through Hugging Face alone? (Wanted: within 1 %.)

Each model is saved once, then loaded by `AutoModel.from_pretrained` and by `sv.load`. The same class loaded twice by
Hugging Face is timed too: that ratio is the noise of the machine.
"""

import functools
import tempfile

import torch
import transformers
from lib.records import ratio, record

import sottovoce as sv
from sottovoce.timing import in_turns

NEEDS = {"nothing": ""}
SECONDS = 2.0
ROUNDS = 60


def main() -> None:
    """Time the pairs and store the ratios."""
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    rows = {}
    for shape in ("hubert-base", "wav2vec2-base", "wavlm-base"):
        with tempfile.TemporaryDirectory() as folder:
            sv.save(sv.new(shape), folder)
            theirs, again, ours, padded = (
                transformers.AutoModel.from_pretrained(folder),
                transformers.AutoModel.from_pretrained(folder),
                sv.load(folder),
                sv.load(folder),
            )
            sv.set_exact_padding(padded)
            inputs = sv.Anatomy(ours).dummy_inputs(SECONDS)
            models = {"hugging_face": theirs, "hugging_face_again": again, "sottovoce": ours, "exact_padding": padded}
            with torch.inference_mode():
                calls = {name: functools.partial(model, **inputs) for name, model in models.items()}
                times = in_turns(calls, rounds=ROUNDS)
        rows[shape] = {name: ratio(times, name, "hugging_face") for name in models if name != "hugging_face"}
    record("overhead", rows)


if __name__ == "__main__":
    main()
