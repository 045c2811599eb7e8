"""The card of a model that a run made: what it is, and how it was made and measured."""

from typing import Any

from sottovoce.files import atomic_write, dump_yaml
from sottovoce.models.card import CARD, model_card, shown_name
from sottovoce.runs import Run
from sottovoce.tables import markdown


def describe(model: Any, run: Run) -> None:
    """Write the card of a run's model anew, with the recipe and what was measured.

    Example:
        >>> describe(model, run)
    """
    card = run.folder / "model" / CARD
    if card.is_file():
        atomic_write(card, model_card(model, run.folder.name, source=run.recipe.model, more=story(run)))


def story(run: Run) -> list[str]:
    """How a run's model was made, and what was measured of it, as Markdown; of paths, only the last part.

    Example:
        >>> story(run)[0]
        '## How it was made'
    """
    told = dump_yaml(without_places(run.recipe.to_dict())).rstrip()
    steps = ["## How it was made", "", "`sottovoce compress --recipe` with this recipe:", "", "```yaml", told, "```"]
    rows = markdown(run.measurements())
    return [*steps, *(["", "## What was measured", "", *rows] if rows else [])]


def without_places(value: Any) -> Any:
    """What a recipe says, with the last part of each path of this machine.

    Example:
        >>> without_places({"data": "librispeech@/data/corpora"})
        {'data': 'librispeech@FOLDER'}
    """
    if isinstance(value, dict):
        return {key: without_places(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_places(each) for each in value]
    if not isinstance(value, str):
        return value
    parts = [part.strip().partition("@") for part in value.split("+")]
    return " + ".join(f"{name}@FOLDER" if at else shown_name(name) for name, at, _ in parts)
