"""The model card of a folder: what the model is, what was changed, how it is loaded; with Hugging Face's metadata."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sottovoce.errors import SottovoceError
from sottovoce.files import dump_yaml, load_yaml
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.heads import TASK, head_labels
from sottovoce.models.processors import processor_file
from sottovoce.models.structure import KEY
from sottovoce.models.teachers import teacher_folder

CARD, OURS = "README.md", "Written by sottovoce"
PIPELINES = {
    "ForCTC": "automatic-speech-recognition",
    "ForSequenceClassification": "audio-classification",
    "ForAudioClassification": "audio-classification",
}
FEATURES = "feature-extraction"
SHOWN = 40  # labels


def metadata(name: str, family: str, *, pipeline: str, library: str, more: Sequence[str] = ()) -> dict[str, Any]:
    """The block that Hugging Face reads at the head of a card, for a model made of the one that has this name.

    Example:
        >>> metadata("facebook/wav2vec2-base", "wav2vec2", pipeline=FEATURES, library="onnx")["base_model"]
        'facebook/wav2vec2-base'
    """
    block: dict[str, Any] = {"library_name": library, "pipeline_tag": pipeline}
    block |= {"tags": ["speech", "sottovoce", family, *more]}
    teacher = teacher_folder(name) if name else None
    if teacher is not None or "/" in name.strip("/") and not Path(name).exists():
        block["base_model"] = name
    if (licence := licence_of(name, teacher)) is not None:
        block["license"] = licence
    return block


def licence_of(name: str, teacher: Path | None) -> str | None:
    """What the card beside the original's weights says."""
    place = teacher / CARD if teacher is not None else processor_file(name, CARD)
    if place is None or not place.is_file():
        return None
    head = place.read_text(encoding="utf-8", errors="replace").split("---")
    try:
        found = load_yaml(head[1], name="its card") if len(head) > 2 else None
    except SottovoceError:
        return None
    licence = found.get("license") if isinstance(found, dict) else None
    return licence if isinstance(licence, str) else None


def shown_name(name: str) -> str:
    """A model's name as a stranger may read it: of a folder on this machine, only the last part.

    Example:
        >>> shown_name("facebook/hubert-base-ls960")
        'facebook/hubert-base-ls960'
    """
    return Path(name).name if Path(name).exists() or Path(name).is_absolute() else name


def model_card(model: Any, title: str, *, source: str | None = None, more: Sequence[str] = ()) -> str:
    """The text of a saved model's `README.md`.

    `source` is the model that it was made of, if that is not what it was loaded as; `more` is what else is known of it,
    as lines of Markdown.

    Example:
        >>> model_card(sv.new("hubert"), "small").splitlines()[0]
        '---'
    """
    body = Anatomy(model)
    made_of: str = (getattr(model, "name_or_path", "") or "") if source is None else source
    kind, labels = type(model).__name__, head_labels(model)
    irregular = getattr(model.config, KEY, None)
    pipeline = next((found for head, found in PIPELINES.items() if kind.endswith(head)), FEATURES)
    head = metadata(made_of, body.name, pipeline=pipeline, library="sottovoce" if irregular else "transformers")
    count = sum(parameter.numel() for parameter in model.parameters())
    origin = f", made of `{shown_name(made_of)}`" if made_of else ""
    task = getattr(model.config, TASK, None)
    text = [
        f"# {title}",
        "",
        f"A {body.name} model ({kind}) with {count:,} parameters{origin}. It takes audio at 16 kHz.",
    ]
    if task:
        text.append(f"Its task is `{task}`.")
    if labels:
        rest = f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
        text.append(
            f"Its head knows {len(labels)} labels: {', '.join(f'`{label}`' for label in labels[:SHOWN])}{rest}."
        )
    text += ["", "## How to load it", "", "```python", *loading(model, title, irregular=bool(irregular)), "```"]
    if irregular:
        record = {key: value for key, value in irregular.items() if key != "version"}
        text += ["", "## What was cut", "", "What a plain configuration cannot say of its shape:", ""]
        text += ["```yaml", dump_yaml(record).rstrip(), "```"]
    text += [*([""] if more else []), *more, "", f"{OURS} {version('sottovoce')}."]
    return f"---\n{dump_yaml(head)}---\n" + "\n".join(text) + "\n"


def loading(model: Any, title: str, *, irregular: bool) -> list[str]:
    """Lines that load a folder of this name."""
    lines = ["import sottovoce", "", f'model = sottovoce.load("{title}")']
    if irregular:
        auto = AUTO.get(next((head for head in AUTO if type(model).__name__.endswith(head)), ""), "AutoModel")
        lines += ["", "# or, with plain Hugging Face code:", f"from transformers import {auto}", ""]
        return [*lines, f'model = {auto}.from_pretrained("{title}", trust_remote_code=True)']
    kind = type(model).__name__
    return [*lines, "", "# or, with plain Hugging Face code:", f"from transformers import {kind}", "",
            f'model = {kind}.from_pretrained("{title}")']  # fmt: skip


AUTO = {
    "ForCTC": "AutoModelForCTC",
    "ForSequenceClassification": "AutoModelForAudioClassification",
    "ForAudioClassification": "AutoModelForAudioClassification",
    "ForAudioFrameClassification": "AutoModelForAudioFrameClassification",
    "ForXVector": "AutoModelForAudioXVector",
    "ForPreTraining": "AutoModelForPreTraining",
}


def is_card_of_ours(path: Path) -> bool:
    """Whether a file is a card that saving a model wrote, and saving it again may replace.

    Example:
        >>> is_card_of_ours(Path("nothing"))
        False
    """
    return path.name == CARD and path.is_file() and OURS in path.read_text(encoding="utf-8", errors="replace")
