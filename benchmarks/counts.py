"""Published counts of parameters and multiply-accumulates beside what sottovoce counts, from random models."""

from typing import Any

from lib.records import record

import sottovoce as sv

NEEDS = {"nothing": ""}


def main() -> None:
    """Count and store; nothing here depends on the machine."""
    base = sv.new("wav2vec2-base")
    parts = sv.cost(base, time=False)
    layer = {name: parts.part(name, layer=0) for name in ("parameters", "macs")}
    convs = {name: parts.part(name, part="front_end") for name in ("parameters", "macs")}
    headless, narrower = sv.new("wav2vec2-base"), sv.new("wav2vec2-base")
    sv.edits.keep_heads(headless, 0, range(11))
    sv.edits.keep_feed_forward(narrower, 0, range(3071))
    rows: dict[str, Any] = {
        "wav2vec2-base, parameters": (94_371_712, parts["parameters"]),
        "wav2vec2-base, one layer, parameters": (7_087_872, layer["parameters"]),
        "wav2vec2-base, convolutions, parameters": (4_200_448, convs["parameters"]),
        "wav2vec2-base, one head, parameters": (196_800, parts["parameters"] - sv.size(headless)[0].value),
        "wav2vec2-base, one inner unit, parameters": (1_537, parts["parameters"] - sv.size(narrower)[0].value),
        "wav2vec2-base, 10 s, GMAC": (74.07, parts["macs"] / 1e9),
        "wav2vec2-base, 10 s, convolutions, GMAC": (24.54, convs["macs"] / 1e9),
        "wav2vec2-base, 10 s, one layer, GMAC": (3.914, layer["macs"] / 1e9),
        "DistilHuBERT's shape, 10 s, GMAC": (34.92, sv.macs(sv.new("distilhubert"))[0].value / 1e9),
        "HuBERT-base, SUPERB's utterances, GMAC": (1669, superb("hubert-base") / 1e9),
        "HuBERT-base, a second of them, GMAC": (7.42, superb("hubert-base") / 224.86e9),
        "WavLM-base, SUPERB's utterances, GMAC": (1670, superb("wavlm-base") / 1e9),
    }
    for layers, published in ((12, 90.23), (6, 47.70), (2, 19.35)):
        model = sv.new("melhubert", head="ForCTC", vocab_size=512, num_hidden_layers=layers)
        rows[f"MelHuBERT, {layers} layers, with its head of 512, M parameters"] = (
            published,
            sv.size(model)[0].value / 1e6,
        )
    for shape, published in (
        ("wav2vec2-base", 94_577_571),
        ("wav2vec2-large", 315_700_387),
        ("wavlm-base", 94_587_795),
        ("wavlm-large", 315_724_515),
    ):
        model = sv.new(shape, head="ForSequenceClassification", num_labels=35)
        rows[f"{shape}, classifier of 35 words, parameters"] = (published, sv.size(model)[0].value)
    record("counts", {name: {"published": one, "counted": other} for name, (one, other) in rows.items()})


def superb(shape: str) -> float:
    """Multiply-accumulates over SUPERB's 32 utterances."""
    return sv.macs(sv.new(shape), convention="superb")[0].value


if __name__ == "__main__":
    main()
