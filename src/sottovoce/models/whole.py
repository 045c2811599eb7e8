"""What Hugging Face's own `save_pretrained` writes of an irregular model is whole: with the modelling file."""

import copy
import json
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import transformers

from sottovoce.errors import SottovoceError
from sottovoce.files import json_object
from sottovoce.models.bundle import FILE, bundle
from sottovoce.models.families import PREFIX

HEADS = {
    "": "AutoModel",
    "ForCTC": "AutoModelForCTC",
    "ForSequenceClassification": "AutoModelForAudioClassification",
    "ForAudioFrameClassification": "AutoModelForAudioFrameClassification",
    "ForXVector": "AutoModelForAudioXVector",
    "ForPreTraining": "AutoModelForPreTraining",
}


def carry_code(models: Iterable[Any], *, irregular: bool) -> None:
    """Let `save_pretrained` of these models write the modelling file too, or no longer.

    `Trainer` and `push_to_hub` save by that method. It is replaced on the model alone, since its class is Hugging
    Face's, for which Hugging Face's own hook (`register_for_auto_class`) writes no code.

    Example:
        >>> carry_code([model], irregular=True)
    """
    for model in models:
        if irregular:
            model.save_pretrained = WholeSave(model)
        else:
            vars(model).pop("save_pretrained", None)


class WholeSave:
    """A model's `save_pretrained` that writes the modelling file before the tensors, and copies with the model.

    It does not keep its model alive: a model in a circle of references would hold its memory until the next collection.

    Example:
        >>> model.save_pretrained = WholeSave(model)
    """

    def __init__(self, model: Any):
        self.model = weakref.ref(model)

    def __call__(self, save_directory: Any, *args: Any, **options: Any) -> Any:
        model = self.model()
        if model is None:
            raise SottovoceError(
                "this is a shallow copy of a model that is gone; save it with sv.save, or copy it by deepcopy."
            )
        config, plain = model.config, type(model.config)

        def save_config(self: Any, folder: Any, *args: Any, **options: Any) -> None:
            plain.save_pretrained(self, folder, *args, **options)
            write_modelling_file(model, Path(folder))

        # Where Hugging Face writes the configuration is where it writes code: on one process only, before the upload.
        members = {"save_pretrained": save_config, "__module__": plain.__module__}
        config.__class__ = type(plain.__name__, (plain,), members)
        try:
            return type(model).save_pretrained(model, save_directory, *args, **options)
        finally:
            config.__class__ = plain

    def __deepcopy__(self, memo: dict[int, Any]) -> "WholeSave":
        return WholeSave(copy.deepcopy(self.model(), memo))

    def __reduce__(self) -> tuple[Any, ...]:
        return WholeSave, (self.model(),)


def write_modelling_file(model: Any, folder: Path) -> None:
    """The modelling file, and the lines of config.json that lead to it.

    Example:
        >>> write_modelling_file(model, Path("hubert-9-layers"))
    """
    name = class_name(model)
    base = class_name(getattr(model, model.base_model_prefix, model))
    path = folder / "config.json"
    record = json_object(path.read_bytes(), str(path))
    record["model_type"] = PREFIX + record["model_type"].removeprefix(PREFIX)
    module = FILE.removesuffix(".py")
    record["auto_map"] = {"AutoConfig": f"{module}.SottovoceConfig", "AutoModel": f"{module}.{base}"}
    record["auto_map"] |= {auto: f"{module}.{name}" for auto in auto_classes(model)}
    path.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    source = bundle(config_class=type(model.config).__name__, model_type=record["model_type"], classes={base, name})
    (folder / FILE).write_text(source, encoding="utf-8")


def class_name(model: Any) -> str:
    """A model's class by Hugging Face's name, which PyTorch changes while a model is sharded."""
    return type(model).__name__.removeprefix("FSDP")


def auto_classes(model: Any) -> list[str]:
    """The Auto classes of Hugging Face, besides `AutoModel`, that make models of this one's class."""
    found = []
    for auto in (*HEADS.values(), "AutoModelForSpeechSeq2Seq"):
        mapping, config_class = getattr(transformers, auto)._model_mapping, type(model.config)
        # By name, as that mapping itself goes.
        if auto != "AutoModel" and config_class in mapping and mapping[config_class].__name__ == class_name(model):
            found.append(auto)
    return found
