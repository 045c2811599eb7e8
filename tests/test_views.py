"""A measure that nobody here has heard of: its own title and axes on pages and in tables, and no advice unasked."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import tiny
from rich.console import Console
from speech import toy_folder
from test_analyze import Reader
from test_cli import run

import sottovoce as sv
from sottovoce import registry
from sottovoce.analyses import PAGE
from sottovoce.measurement import Measurement
from sottovoce.report.analysis import analysis_page
from sottovoce.report.cuts import cuts
from sottovoce.tables import measurement_tables, plain
from sottovoce.views import Cut, HeatMap, Lines, Numbers, Profiles, Shares, Shown, Words, first_good_state

SCORES = (0.2, 0.58, 0.6, 0.5, 0.55)


@pytest.fixture(autouse=True)
def _strangers_go(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known = set(registry.MEASURES)
    yield
    for name in set(registry.MEASURES) - known:
        del registry.MEASURES._entries[name]


def states(measure: str, **more: Any) -> list[Measurement]:
    """What looks like probes of each state."""
    return [Measurement(measure, "clarity", v, where={"state": s}, error=0.05, **more) for s, v in enumerate(SCORES)]


def register(shown: Shown | Sequence[Shown] = (), rows: list[Measurement] | None = None) -> Any:
    """A stranger's measure, `tilt`."""

    @sv.register_measure(shown=shown)
    def tilt(model: Any, data: Any = None) -> list[Measurement]:
        """How far each state leans."""
        return states("tilt", better="higher") if rows is None else rows

    return tilt


def nothing(model: Any, data: Any = None) -> list[Measurement]:
    """Measure nothing: rows are made by hand."""
    return []


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def shown_as(measure: str, shown: Shown | Sequence[Shown], rows: list[Measurement]) -> tuple[Reader, str]:
    """The page of one measure's rows."""
    sv.register_measure(measure, shown=shown)(nothing)
    page = analysis_page("title", "about", rows)
    return read(page), page


def test_without_a_word_about_it_a_measure_is_a_table_and_advises_nothing() -> None:
    rows = register()(tiny("hubert"))
    page = analysis_page("title", "about", rows)
    assert read(page).headings == ["tilt"] and not read(page).drawings
    assert "<th>state</th>" in page and "0.5800" in page and "Probes" not in page
    assert cuts(rows) == [] and analysis_page("title", "about", states("never registered")).count("<h2") == 1


def test_a_measure_appears_in_an_analysis_as_it_registered(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    register(Shown("Lean of states", (Lines("state", y="degrees"),), better="lower"), states("tilt"))
    sv.save(tiny("hubert"), tmp_path / "encoder")
    toy_folder(tmp_path / "toys")
    asked = ["analyze", str(tmp_path / "encoder"), "--data", str(tmp_path / "toys"), "-o", str(tmp_path / "out")]
    code, out, err = run(capsys, *asked, "--part", "tilt", "--part", "size")
    assert code == 0, err
    (folder,) = (tmp_path / "out").glob("measure-*")
    page = (folder / PAGE).read_text(encoding="utf-8")
    assert read(page).headings == ["Lean of states", "Cost"] and "drop_layers" not in out
    assert read(page).drawings[0] == "Lean of states" and ">degrees (lower is better)<" in page and ">state<" in page
    assert {row.better for row in sv.Run.open(folder).measurements() if row.measure == "tilt"} == {"lower"}
    code, out, _ = run(capsys, "measure", str(tmp_path / "encoder"), "--measure", "tilt")
    assert code == 0 and "tilt: Lean of states" in out and " state " in out and "lower" in out


def test_a_measure_that_says_so_recommends() -> None:
    advice = Cut("drop_layers:keep=1", "the rest leans")
    rows = register(Shown("Lean", recommends=lambda rows: [advice] if len(rows) == 5 else []))(tiny("hubert"))
    others = [Measurement("size", "bytes", 3), *rows, Measurement("untold", "x", 1)]
    assert cuts(others) == [advice], "it is given its own rows"
    page = analysis_page("title", "about", others)
    assert read(page).headings[0] == "Suggested cuts" and "the rest leans" in page


def test_the_ready_advice_needs_scores_with_intervals() -> None:
    better = list(first_good_state(states("tilt", better="higher")))
    assert [cut.step for cut in better] == ["drop_layers:keep=1"] and "state 2 (0.600 ± 0.050)" in better[0].reason
    assert [cut.step for cut in first_good_state(states("tilt", better="lower"))] == [], "the first is the best"
    assert not list(first_good_state(states("tilt"))) and not list(first_good_state([]))


def test_built_in_measures_advise_by_the_same_way() -> None:
    assert [cut.step for cut in cuts(states("phones", better="higher"))] == ["drop_layers:keep=1"]
    assert {name for name, entry in sv.MEASURES.items() if any(one.recommends for one in entry.shown)} == {
        *("similarity", "convexity", "ablation", "phones", "pr", "asr", "keywords", "speakers"),
        *("verification", "emotion", "intents"),
    }
    assert all(entry.shown for entry in sv.MEASURES.values())


def test_rows_say_which_direction_is_better_before_the_measure_does() -> None:
    rows = [*states("tilt", better="higher"), *states("tilt")]
    told = register(Shown("Lean", better="lower"), rows)(tiny("hubert"))
    assert [row.better for row in told] == ["higher"] * 5 + ["lower"] * 5


def test_what_is_no_way_to_be_shown_is_refused_at_once() -> None:
    for wrong in ("Lean", [Lines("state")]):
        with pytest.raises(TypeError, match="shown=Shown"):
            sv.register_measure(shown=wrong)  # pyright: ignore[reportArgumentType]


def test_lines_are_named_by_what_tells_them_apart() -> None:
    rows = [
        Measurement("lean", metric, layer / 9, where={"layer": layer, "voice": voice, "try": 1})
        for metric in ("left", "right")
        for voice in ("low", "high")
        for layer in range(3)
    ]
    rows.append(Measurement("lean", "left", 0.1, where={"voice": "low"}))
    shown = Shown("Lean", (Lines("layer", metrics={"left": "to the left", "right": ""}),))
    reader, page = shown_as("lean", shown, rows)
    assert reader.drawings == ["Lean"]
    for name in ("low try 1 to the left", "high try 1 right", "low to the left, whole model"):
        assert f">{name}<" in page, name


def test_scores_that_are_better_when_lower_are_drawn_upwards() -> None:
    rows = [*states("asr", better="lower"), *states("phones", better="higher")]
    rows += [Measurement("asr", "character_error_rate", 0.4, "", "lower", {"state": 0}, error=0.1)]
    page = analysis_page("title", "about", rows)
    assert ">asr (1 - clarity)<" in page and ">phones<" in page and "character" not in page
    alone = analysis_page("title", "about", states("asr", better="lower"))
    assert ">1 - clarity<" in alone and read(alone).drawings == ["Probes of each state"]


def test_scores_of_the_whole_model_alone_are_a_table() -> None:
    reader, page = shown_as("lean", Shown("Lean", (Lines("layer"),)), [Measurement("lean", "left", 0.25)])
    assert reader.headings == ["Lean"] and not reader.drawings and "0.2500" in page


def test_maps_of_any_whole_numbers_and_tables_of_others() -> None:
    rows = [
        Measurement("lean", "left", x * y, where={"row": y, "column": x, "voice": "low"})
        for y in (3, 4)
        for x in (-1, 0, 1)
    ]
    view = HeatMap("column", "row", x_label="from the left", metrics={"left": "in <degrees>"})
    reader, page = shown_as("lean", Shown("Lean", (view,)), rows)
    assert reader.drawings == ["left, low"] and "4, 1: 4.000" in page and ">from the left<" in page
    assert "in &lt;degrees&gt;" in page
    texts = [Measurement("turn", "left", 0.5, where={"row": name, "column": 0}) for name in ("<b>", "a")]
    reader, page = shown_as("turn", Shown("Turn", (HeatMap("column", "row"),)), texts)
    assert not reader.drawings and "&lt;b&gt;" in page and "0.5000" in page
    far = [Measurement("far", "left", 0.5, where={"row": at, "column": 0}) for at in (0, 10**15)]
    assert not shown_as("far", Shown("Far", (HeatMap("column", "row"),)), far)[0].drawings


def test_half_of_a_symmetric_map_is_enough() -> None:
    rows = [Measurement("alike", "cka", 0.1 * (i + j), where={"a": i, "b": j}) for i in range(1, 4) for j in range(i)]
    view = HeatMap("a", "b", diagonal={"cka": 1.0})
    _, page = shown_as("alike", Shown("Alike", (view,)), rows)
    assert page.count("<title>") == 16 + 1 and "3, 1: 0.400" in page and "1, 3: 0.400" in page and "2, 2: 1.000" in page


def test_sections_of_one_title_are_one_and_are_divided_by_a_coordinate() -> None:
    views = (Lines("layer"), Words(lambda rows: f"{len(rows)} numbers."))
    shown = Shown("Lean", views, each="voice", notes={"low": "A low one."}, place=1)
    sv.register_measure("lean", shown=shown)(nothing)
    rows = [
        Measurement(name, "left", layer, where={"layer": layer, "voice": voice})
        for name in ("size", "lean", "tilt")
        for voice in ("low", "high")
        for layer in range(2)
    ]
    sv.register_measure("tilt", shown=shown)(nothing)
    page = analysis_page("title", "about", rows)
    assert read(page).headings == ["Lean", "Cost"] and read(page).drawings == ["Lean, low", "Lean, high"]
    assert page.count("<p>4 numbers.</p>") == 2 and page.count("A low one.") == 1 and "<h3>high</h3>" in page


def test_tables_profiles_and_shares_of_a_strangers_coordinates() -> None:
    grid = [
        Measurement("lean", "left", d, where={"layer": layer, "head": 0, "distance": d})
        for layer in range(2)
        for d in range(3)
    ]
    parts = [Measurement("lean", "watts", 3.0, where={"part": name}) for name in ("front_end", "head")]
    views = (
        Profiles("left", x="distance", across="head", down="layer", title="How far"),
        Shares(("watts",), title="Where watts go"),
        Numbers(("left",), title="All", down="layer", across="distance"),
    )
    reader, page = shown_as("lean", Shown("Lean", views), [*grid, *parts])
    assert reader.drawings == ["Profiles", "Where watts go"] and "front end" in page and "50.0 %" in page
    assert "All: head 0" in page and "<th>2</th>" in page


def test_long_tables_are_folded_and_numbers_that_are_none_are_empty() -> None:
    rows = [Measurement("lean", "left", float("nan"), where={"layer": n}, error=float("nan")) for n in range(60)]
    page = analysis_page("title", "about", rows)
    assert "60 numbers" in page and "<details>" in page and "nan" not in page
    assert plain(rows[:1])[0] == ["metric", "layer", "value", "n"]


def test_names_that_look_like_markup_are_only_words() -> None:
    rows = [Measurement("[red]", "<b>", 1.0, where={"[/x]": "[bold]y[/bold]"})]
    assert "&lt;b&gt;" in analysis_page("t", "a", rows)
    console = Console(width=100)
    with console.capture() as said:
        for table in measurement_tables(rows):
            console.print(table)
    assert "[red]" in said.get() and "[bold]y[/bold]" in said.get() and "[/x]" in said.get()
