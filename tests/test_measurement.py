"""Where a number is: named coordinates, as JSON, and as earlier versions wrote them."""

import copy
import json
import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from old_rows import ROWS, new_rows, old_lines

import sottovoce as sv
from sottovoce.measurement import Measurement, Where, select
from sottovoce.recipe import Recipe
from sottovoce.report.analysis import analysis_page
from sottovoce.report.cuts import cuts

RECORDS = sorted((Path(__file__).parents[1] / "benchmarks" / "records").glob("layers_*.json"))
# Words of old places that said what follows.
WORDS = ("layer", "layers", "block", "head", "distance")


def test_a_place_is_what_it_names() -> None:
    place = Where({"layer": 3, "class": "AA"}, head=2)
    assert place == {"head": 2, "class": "AA", "layer": 3} and place != {"layer": 3} and dict(place)["head"] == 2
    assert hash(place) == hash(Where({"head": 2, "layer": 3.0, "class": "AA"})) and len({place, Where(place)}) == 1
    assert copy.deepcopy(place) == place == pickle.loads(pickle.dumps(place))
    assert str(Where(first_layer=0, last_layer=2)) == "first layer 0, last layer 2" and not Where()
    with pytest.raises(TypeError):
        place["layer"] = 4  # pyright: ignore[reportIndexIssue]


def test_a_measurement_does_not_change_with_what_it_was_given() -> None:
    given: dict[str, Any] = {"layer": 3}
    row = Measurement("tilt", "slope", 1.0, where=given)
    given["layer"] = 4
    assert row.where == {"layer": 3} and row.at("layer") == 3 and len({row, copy.deepcopy(row)}) == 1
    with pytest.raises(KeyError, match="slope of tilt is told at layer, not at 'head'"):
        row.at("head")


@pytest.mark.parametrize(
    "where",
    [(4, 7), ["layer", 4], "layer", None, 4, {4: "layer"}, {"layer": None}, {"layer": [4]}, {"layer": True}]
    + [{"layer": math.nan}, {"layer": math.inf}, {"layer": np.int64(4)}, {"layer": (1, 2)}],
    ids=repr,
)
def test_what_is_no_place_names_the_measure(where: Any) -> None:
    with pytest.raises(TypeError, match=r"^tilt: where is .*, but a mapping of names to text and finite numbers is"):
        Measurement("tilt", "slope", 1.0, where=where)


@pytest.mark.parametrize("where", [{}, {"layer": 3}, {"class": "é\n", "share": 0.25, "distance": -5, "huge": 10**15}])
def test_json_and_back(where: dict[str, Any]) -> None:
    row = Measurement("tilt", "slope", 0.1, "dB", "lower", where, 3, 0.01, 2)
    assert Measurement.from_json(row.to_json()) == row
    assert json.loads(row.to_json())["where"] == where == row.record()["where"]
    assert list(Measurement.from_json(row.to_json()).where) == list(where), "in the order of the measure"


def test_rows_at_coordinates() -> None:
    rows = [Measurement("m", metric, n, where={"layer": n, "head": 0}) for metric in "ab" for n in range(3)]
    assert [row.value for row in select(rows, "a")] == [0, 1, 2]
    assert select(rows, layer=1) == [rows[1], rows[4]] and select(rows, "b", layer=2, head=0) == [rows[5]]
    assert not select(rows, "c") and not select(rows, layer=9) and not select(rows, part=0)


YOUNGER = {"consistency"}  # measures that there were none of when places had no names


def test_a_run_of_an_earlier_version_says_the_same(tmp_path: Path) -> None:
    """Every measure's lines by position, as the same lines by name; so their page and cuts are the same."""
    run = sv.Run.create(tmp_path, Recipe("tiny"))
    (run.folder / "measurements.jsonl").write_text("".join(line + "\n" for line in old_lines()))
    assert run.measurements() == new_rows()
    assert {row.measure for row in new_rows()} >= set(sv.MEASURES) - YOUNGER
    mixed = [*run.measurements()[:9], *new_rows()[9:]]
    assert analysis_page("t", "a", mixed) == analysis_page("t", "a", new_rows()) and cuts(mixed) == cuts(new_rows())


def test_a_reading_of_old_places_takes_nothing_for_a_name() -> None:
    for _, metric, old, new in ROWS:
        if metric not in ("span_angle",):
            told = [part for part in old if part in new.values()]
            assert sorted(map(str, set(told))) == sorted({str(value) for value in new.values()}), old


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_stored_records_are_read(path: Path) -> None:
    """Against the positions themselves: every coordinate, in order, without the words between them."""
    fields = ("measure", "metric", "where", "value", "error", "n")
    stored = json.loads(path.read_text())["rows"]
    rows = [Measurement.from_record(dict(zip(fields, row, strict=True))) for row in stored]
    assert len(rows) > 1000
    for row, (measure, metric, where, value, error, n) in zip(rows, stored, strict=True):
        found: list[Any] = list(row.where.values())
        if metric == "span_angle":
            found[-1] += 1  # the layer behind the run
        names = metric == "rank_correlation"
        assert found == [part for part in where if names or part not in WORDS], where
        assert (row.measure, row.metric, row.value, row.error, row.n) == (measure, metric, value, error, n)
        assert not [name for name in row.where if name.startswith("at_")]
        assert Measurement.from_json(row.to_json()) == row


def test_every_stored_list_of_places_is_in_these_records() -> None:
    """No other record holds places: one that comes to hold them must be read above as well."""
    for path in RECORDS[0].parent.glob("*.json"):
        assert not re.search(r'"where"', path.read_text()), path.name
