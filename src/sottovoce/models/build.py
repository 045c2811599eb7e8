"""From a configuration and its Structure to a module tree: the regular model, then the edits that cut it."""

from typing import Any

from sottovoce.models.anatomy import Anatomy
from sottovoce.models.edits import (
    keep_feed_forward,
    keep_head_dims,
    keep_heads,
    set_order,
    split,
    use_exit,
    use_int8,
    use_log_mel,
    use_mimic,
    use_own,
)
from sottovoce.models.narrow import fold_weight_norm, keep_hidden
from sottovoce.models.positions import adopt_positions
from sottovoce.models.structure import Structure, recorded, regular_shape, settle
from sottovoce.models.wavlm import adopt_attention

BUILT: dict[tuple[type, bool], type] = {}


def compressed(model_class: Any, *, plain: bool = False) -> Any:
    """The subclass of a Hugging Face model class that also builds what the configuration's Structure says.

    With `plain`, what it builds is of the given class itself: the subclass is a way to construct and nothing more.

    Example:
        >>> type(compressed(transformers.HubertModel, plain=True)(config))
        <class 'transformers.models.hubert.modeling_hubert.HubertModel'>
    """
    if (model_class, plain) in BUILT:
        return BUILT[model_class, plain]

    def __init__(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        if plain:
            # First of all, because Hugging Face notes by class what a model can record.
            self.__class__ = model_class
        structure = recorded(config)
        with regular_shape(config, structure):
            model_class.__init__(self, config, *args, **kwargs)
            restructure(self, structure)

    members = {"__init__": __init__, "__module__": __name__, "__doc__": model_class.__doc__}
    BUILT[model_class, plain] = type(model_class.__name__, (model_class,), members)
    return BUILT[model_class, plain]


def restructure(model: Any, structure: Structure) -> None:
    """Replay on a regular model, with or without data, the edits that a Structure stands for.

    Example:
        >>> restructure(model, Structure(order=(0, 0, 0)))
    """
    adopt_attention(model)
    adopt_positions(model)
    for layer, dims in structure.head_dims.items():
        keep_head_dims(model, layer, range(dims))
    for layer, heads in structure.heads.items():
        keep_heads(model, layer, heads)
    for layer, widths in enumerate(structure.feed_forwards or ()):
        for which, width in enumerate(widths):
            keep_feed_forward(model, layer, range(width), which=which)
    if structure.order is not None:
        set_order(model, structure.order)
    if structure.hidden is not None:
        keep_hidden(model, structure.hidden)
    if structure.log_mel is not None:
        use_log_mel(model, **structure.log_mel)
    # Behind it no layer can be cut any more.
    if structure.own is not None:
        use_own(model, **structure.own)
    if structure.exit is not None:
        use_exit(model, **structure.exit)
    if structure.mimic is not None:
        use_mimic(model, **structure.mimic)
    for path, rank in structure.ranks.items():
        # A base model taken out of a folder with a head does not build the head's parts.
        found = Anatomy(model).full_path(path)
        if found is not None:
            split(model, found, rank)
    if structure.folded:
        fold_weight_norm(model)
    # The numbers of static scales come with the tensors.
    scales = {path: None if kind == "dynamic" else 1.0 for path, kind in structure.int8.items()}
    use_int8(model, {path: scale for path, scale in scales.items() if Anatomy(model).full_path(path) is not None})
    settle(model)
