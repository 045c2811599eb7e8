"""What benchmarks time, as their records keep it."""

import json
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import torch
import transformers

from lib.tables import path_of, read, there
from sottovoce import timing
from sottovoce.models.teachers import weights_of
from sottovoce.timing import in_turns


def ratio(times: dict[str, list[float]], new: str, old: str) -> dict[str, float]:
    """The median over rounds of `new / old` with its interval, and both medians, as records keep them."""
    found = timing.ratio(times[new], times[old])
    return {
        "ratio": found.median,
        "low": found.low,
        "high": found.high,
        "rounds": found.rounds,
        f"{new}_median_s": statistics.median(times[new]),
        f"{old}_median_s": statistics.median(times[old]),
    }


def ratios_over(
    models: dict[str, Any],
    whole: str,
    inputs: dict[str, Any],
    *,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, dict[str, float]]:
    """Time of each model's pass over that of one of them, all in turns, by the wall or by another clock."""

    def passing(model: Any) -> Callable[[], Any]:
        return lambda: model(**inputs)

    passes = {name: passing(model) for name, model in models.items()}
    with torch.no_grad():
        times = in_turns(passes, rounds=rounds, clock=clock)
    return {name: ratio(times, name, whole) for name in models}


def times_over(models: dict[str, Any], whole: str, inputs: dict[str, Any], *, rounds: int) -> dict[str, float]:
    """The medians alone."""
    return {name: found["ratio"] for name, found in ratios_over(models, whole, inputs, rounds=rounds).items()}


def made(name: str, *, teacher: str | None = None) -> dict[str, Any]:
    """The rows that are in a record by now; none where they are of other weights of the teacher than there are now."""
    stored = read(name) if there(name) else {"rows": {}}
    return stored["rows"] if stored.get("weights") == known(teacher) else {}


def probe_options(options: dict[str, Any]) -> dict[str, Any]:
    """A probe's options as they are recorded, in one mapping, as its measure takes them."""
    own = {name: options[name] for name in ("steps", "lr") if name in options}
    return {name: value for name, value in options.items() if name not in own} | ({"train": own} if own else {})


def known(teacher: str | None) -> dict[str, str] | None:
    """Which weights of a teacher are in the package."""
    return None if teacher is None else {teacher: weights_of(teacher)}


def record(
    name: str,
    rows: dict[str, Any] | list[Any],
    *,
    command: str | None = None,
    teacher: str | None = None,
    **more: Any,
) -> None:
    """Print rows and keep them, with what they were measured on and `more`, in `benchmarks/records`."""
    about: dict[str, Any] = {
        "command": command or f"python benchmarks/{name}.py",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    about |= {} if teacher is None else {"weights": known(teacher)}
    # A list of rows is long, and each is a line.
    text = json.dumps({**about, **more, "rows": rows}, indent=2 if isinstance(rows, dict) else None)
    text = text.replace('], ["', '],\n["') if isinstance(rows, list) else text
    print(text if isinstance(rows, dict) else f"{name}: {len(rows)} rows")
    path_of(name).write_text(text + "\n", encoding="utf-8")
