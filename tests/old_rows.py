"""Lines of `measurements.jsonl` as they were before coordinates had names, of every measure, and what they say now."""

import json
from typing import Any

from sottovoce.measurement import Measurement

TASKS = ("phones", "pr", "asr", "keywords", "speakers", "verification", "emotion", "intents")
PARTS: list[tuple[list[Any], dict[str, Any]]] = [
    ([], {}),
    (["front_end", 0], {"part": "front_end", "index": 0}),
    (["feature_projection"], {"part": "feature_projection"}),
    (["layer", 3, "feed_forward"], {"layer": 3, "part": "feed_forward"}),
    (["layer", 0, "attention_products"], {"layer": 0, "part": "attention_products"}),
    (["other"], {"part": "other"}),
]
ONE = {"reading": "mean"}
# Measure, metric, the old place, the new one.
ROWS: list[tuple[str, str, list[Any], dict[str, Any]]] = [
    *(("size", metric, *place) for metric in ("parameters", "nonzero", "bytes") for place in PARTS),
    *(("macs", "macs", *place) for place in PARTS),
    *(("speed", "latency", *place) for place in PARTS),
    ("speed", "threads", [], {}),
    ("similarity", "cka", ["mean", 0, 1], {**ONE, "first_state": 0, "second_state": 1}),
    ("similarity", "knn_to_other", ["mean", 3, 1], {**ONE, "first_state": 3, "second_state": 1}),
    ("similarity", "block_start", ["mean", "block", 0], {**ONE, "block": 0}),
    ("similarity", "block_gain", ["mean"], ONE),
    ("similarity", "bi", ["mean", "layer", 2], {**ONE, "layer": 2}),
    ("similarity", "span_angle", ["mean", "layers", 1, 4], {**ONE, "first_layer": 1, "last_layer": 3}),
    ("convexity", "by_class", ["phones", "layer", 2], {"concept": "phones", "state": 2}),
    ("convexity", "class", ["phones", "layer", 2, "AA"], {"concept": "phones", "state": 2, "class": "AA"}),
    ("convexity", "class", ["layer", "layer", 2, "layer"], {"concept": "layer", "state": 2, "class": "layer"}),
    ("euclidean_convexity", "by_pair", ["own", "layer", 1], {"concept": "own", "state": 1}),
    ("euclidean_convexity", "class", ["own", "layer", 1, "yes"], {"concept": "own", "state": 1, "class": "yes"}),
    ("attention", "entropy", ["head", 1, 0], {"layer": 1, "head": 0}),
    ("attention", "weight", ["head", 1, 0, "distance", -5], {"layer": 1, "head": 0, "distance": -5}),
    ("attention", "rank_correlation", ["distance", "l1"], {"pattern": "distance", "importance": "l1"}),
    ("ablation", "keywords accuracy", [], {}),
    ("ablation", "keywords accuracy", ["layer", 1], {"layer": 1}),
    ("layer_orders", "keywords accuracy", ["forward", 3], {"order": "forward", "dropped": 3}),
    *((task, "accuracy", [], {}) for task in TASKS),
    *((task, "accuracy", ["layer", 2], {"state": 2}) for task in TASKS),
    ("keywords", "layer_weight", ["layer", 0], {"state": 0}),
    # Of strangers' measures, what can be told from the place is.
    ("tilt", "slope", ["layer", 3], {"layer": 3}),
    ("tilt", "slope", ["layer", 3, "head", 1], {"layer": 3, "head": 1}),
    ("tilt", "slope", [4, 7], {"at_0": 4, "at_1": 7}),
    ("tilt", "slope", ["deep", "wide"], {"at_0": "deep", "at_1": "wide"}),
    ("tilt", "slope", ["layer", 1, "layer", 2], {"at_0": "layer", "at_1": 1, "at_2": "layer", "at_3": 2}),
    # No measure wrote this; nothing of it is lost.
    ("size", "bytes", ["a", "b", "c", "d"], {"at_0": "a", "at_1": "b", "at_2": "c", "at_3": "d"}),
]


def old_lines() -> list[str]:
    """As earlier versions wrote them."""
    common = {"unit": "", "better": "higher", "n": 9, "error": 0.01, "version": 1}
    return [
        json.dumps({"measure": measure, "metric": metric, "value": number / 8, "where": old, **common})
        for number, (measure, metric, old, _) in enumerate(ROWS)
    ]


def new_rows() -> list[Measurement]:
    """As they are now."""
    return [
        Measurement(measure, metric, number / 8, "", "higher", new, 9, 0.01)
        for number, (measure, metric, _, new) in enumerate(ROWS)
    ]
