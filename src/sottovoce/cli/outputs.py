"""What commands write, looked at before any work is done: outputs that are there already, folders for checkpoints."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sottovoce.data.sources import local_places
from sottovoce.errors import SottovoceError
from sottovoce.files import (
    check_writable,
    leads,
    local_path,
    note_saving,
    own_folder,
    sweep,
    tidy,
    tidy_saved,
    working_in,
)
from sottovoce.models.hub import check_target, save


def new_file(output: Path | None, overwrite: bool) -> Path | None:
    """Where a file will be written, refused now if it could not be."""
    if output is None:
        return None
    target = local_path(output, "--output")
    if target.is_dir():
        raise SottovoceError(f"--output {output} is a folder, but a file is wanted; give another path.")
    if os.path.lexists(target) and not overwrite:
        raise SottovoceError(f"--output {output} is there already; give another path, or --overwrite to replace it.")
    check_writable(target)
    return target


@dataclass(frozen=True)
class NewModel:
    """A model that is to be made: its folder, the one for checkpoints, and whether it may replace another."""

    folder: Path
    work: Path
    overwrite: bool

    def save(self, model: Any) -> None:
        """Write it; if this process is killed right behind, the next one knows that it is done."""
        note_saving(self.work, self.folder)
        save(model, self.folder, overwrite=self.overwrite)


@contextmanager
def new_model(output: Path, overwrite: bool, work: Path | None, *, model: str, data: str | None) -> Iterator[NewModel]:
    """Where a model will be made, refused now if it could not be; what runs inside can go on where it was stopped.

    Checkpoints lie in a folder of their own, in which nothing but logs is left when the model is saved.
    """
    target = Path(os.path.abspath(local_path(output, "--output")))
    place = target.with_name(f"{target.name}-training") if work is None else local_path(work, "--work")
    tidy_saved(place)
    check_target(target, overwrite=overwrite)
    sweep(target.parent)
    apart: dict[str, str | Path] = {"the output": target}
    if os.path.lexists(model):
        apart["the model"] = Path(model)
    for number, path in enumerate(local_places(data) if data is not None else ()):
        apart["the data" if number == 0 else f"the data ({number + 1})"] = path
    if not leads():
        with working_in(os.path.realpath(place), shared=os.path.realpath(place)):
            yield NewModel(target, place, overwrite)
        return
    with own_folder(place, "training", apart) as own:
        with working_in(own, shared=own):
            yield NewModel(target, own, overwrite)
        tidy(own)


@contextmanager
def kept_in(work: Path | None) -> Iterator[None]:
    """Keep what measuring works out in a folder of its own, if one is given, for the next time."""
    if work is None:
        yield
        return
    with own_folder(work, "measuring") as own, working_in(own):
        yield
