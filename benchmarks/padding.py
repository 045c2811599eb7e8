"""How far a padded batch is from its utterances run alone: Hugging Face as it is, and with exact padding.

Random models of each family's own base shape with two layers; 24 000 and 15 000 samples of noise in one batch.
"""

from lib.records import record

import sottovoce as sv
from sottovoce.checkup import padding_error

NEEDS = {"nothing": ""}
SHAPES = {
    "wav2vec2 (group norm)": "wav2vec2-base",
    "wav2vec2 (layer norm)": "wav2vec2-large-lv60",
    "hubert": "hubert-base",
    "wavlm": "wavlm-base",
    "data2vec-audio": "data2vec-audio",
    "unispeech": "unispeech",
    "unispeech-sat": "unispeech-sat",
    "sew": "sew",
    "wav2vec2-conformer": "wav2vec2-conformer",
    "melhubert": "melhubert",
}


def main() -> None:
    """Measure the relative errors and store them."""
    rows = {}
    for name, shape in SHAPES.items():
        plain, exact = padding_error(sv.new(shape, num_hidden_layers=2))
        rows[name] = {"hugging_face": plain, "exact_padding": exact}
    record("padding", rows)


if __name__ == "__main__":
    main()
