"""How wide each part of a model is, as numbers that need no model: what counts of parameters and work are made of."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sottovoce.errors import SottovoceError
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.families import FAMILIES, Family, family_name, setting
from sottovoce.models.head_rows import Row, rows_from, rows_of
from sottovoce.models.structure import Structure, read, recorded

Number = Any  # an int, a float (an expected width), or a torch scalar that gradients run through


@dataclass(frozen=True)
class Widths:
    """The widths of one model; `dataclasses.replace` asks what another one would cost.

    Any width may be an expected one: a float, or a torch scalar with a gradient. Stored layers are numbered as `order`
    names them; those that it does not name are not there.

    Args:
        config: what no cut changes (kernels, biases, norms, ...), as a copy of the model's configuration.
        hidden: the hidden size.
        channels: of each convolution of the front end.
        heads: of each stored layer; `head_dim`, the numbers in one.
        feed_forward: inner units of each stored layer's feed-forward parts (Conformers have two; so have mimics one).
        order: which stored layer each step applies; a shared one is stored once and runs each time.
        present: how much of each stored layer is there.
        ranks: of each factored Linear, by path as in a Structure.
        own: what each step has for itself, as in a Structure.
        queries: the numbers in all heads' queries (and in their keys) of each stored layer, where that is not
            `heads` times `head_dim`; `values` likewise.
        groups: the width of each group of the positional convolution behind a cut of the hidden size; None where
            hidden units are spread evenly.
        folded: the positional convolution has no weight norm any more.
        projects: a Linear stands between the front end and the first layer.
        masks: there is a mask embedding.
        log_mel: bins and stack of a log-mel front end.
        mimic: what kind of mimic layers stands for the stack.
        outside: the tensors of the head.

    Example:
        >>> widths = widths_of(sv.new("hubert-base"))
        >>> smaller = dataclasses.replace(widths, hidden=512, heads=(8,) * 12)
    """

    config: Any
    hidden: Number
    channels: tuple[Number, ...]
    heads: tuple[Number, ...]
    head_dim: Number
    feed_forward: tuple[tuple[Number, ...], ...]
    order: tuple[int, ...]
    present: tuple[Number, ...]
    ranks: Mapping[str, Number] = field(default_factory=dict)
    own: Mapping[str, Any] | None = None
    queries: tuple[Number, ...] | None = None
    values: tuple[Number, ...] | None = None
    groups: tuple[Number, ...] | None = None
    folded: bool = False
    projects: bool = True
    masks: bool = False
    log_mel: Mapping[str, int] | None = None
    mimic: Mapping[str, Any] | None = None
    outside: tuple[Row, ...] = ()

    @property
    def family(self) -> Family:
        """The row of the model's family."""
        return FAMILIES[family_name(self.config)]

    @property
    def features(self) -> Number:
        """How many numbers a frame of the front end has."""
        if self.log_mel is not None:
            return self.log_mel["bins"] * self.log_mel["stack"]
        return self.channels[-1] if self.channels else getattr(self.config, "feature_projection_input_dim", 0)

    @property
    def states(self) -> Number:
        """How many states there are: one before the first step and one behind each."""
        return 1 + sum(self.present[layer] for layer in self.order)

    def inner(self, layer: int) -> tuple[Number, Number]:
        """The numbers in all queries, and in all values, of a stored layer."""
        whole = self.heads[layer] * self.head_dim
        return (
            whole if self.queries is None else self.queries[layer],
            whole if self.values is None else self.values[layer],
        )


def widths_of(model: Any) -> Widths:
    """The widths of a model, read off its modules.

    Example:
        >>> widths_of(sv.new("hubert-base")).heads
        (12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12)
    """
    body = Anatomy(model)
    if body.decodes:
        raise SottovoceError("the cost of a decoder depends on what it says; count the encoder with its classifier.")
    check_adapter(getattr(body.base, "adapter", None) or getattr(body.base, "intermediate_ffn", None))
    widths = replace(
        widths_from(body.config, read(model, body)),
        channels=tuple(conv.out_channels for conv in body.convs),
        order=body.order,
        present=(1,) * len(body.layers),
        projects=body.projection is not None,
        masks=hasattr(body.base, "masked_spec_embed"),
    )
    if not body.mimics:
        stored, parts = range(len(body.layers)), range(len(body.family.feed_forwards))
        heads = tuple(len(body.kept_heads(layer)) for layer in stored)
        regular = tuple(count * body.head_dim for count in heads)
        inner = [tuple(body.linear(layer, part).out_features for layer in stored) for part in ("query", "value")]
        queries, values = (None if found == regular else found for found in inner)
        feed_forward = tuple(tuple(body.feed_forward_width(layer, which) for which in parts) for layer in stored)
        widths = replace(widths, heads=heads, queries=queries, values=values, feed_forward=feed_forward)
    sizes = {"hidden": widths.hidden, "features": widths.features, "states": widths.states}
    return replace(widths, outside=rows_of(model, body, sizes))


def widths_from(config: Any, structure: Structure | None = None, *, head: str = "") -> Widths:
    """The widths of the model that a configuration with a Structure (or with its own) makes, without making it.

    Example:
        >>> widths = widths_from(transformers.HubertConfig(), Structure(heads={0: (0, 1)}), head="ForCTC")
        >>> widths.heads[:2]
        (2, 12)
    """
    structure = recorded(config) if structure is None else structure
    check_adapter(any(getattr(config, key, False) for key in ("add_adapter", "use_intermediate_ffn_before_adapter")))
    family, mimic = FAMILIES[family_name(config)], structure.mimic
    regular, full = structure.hidden_of or setting(config, "hidden_size"), setting(config, "num_attention_heads")
    stored = mimic["layers"] if mimic is not None else structure.stored_layers
    stored = setting(config, "num_hidden_layers") if stored is None else stored
    parts = 1 if mimic is not None else len(family.feed_forwards)
    width = mimic["width"] if mimic is not None else setting(config, "intermediate_size")
    masking = 0 if family.mel_input else max(config.mask_time_prob, config.mask_feature_prob)
    dims = structure.head_dims
    heads = () if mimic is not None else tuple(len(structure.heads.get(layer, range(full))) for layer in range(stored))
    inner = tuple(count * dims.get(layer, regular // full) for layer, count in enumerate(heads)) if dims else None
    return Widths(
        config=copy.deepcopy(config),
        hidden=setting(config, "hidden_size") if structure.hidden is None else len(structure.hidden),
        channels=tuple(config.conv_dim) if family.convs is not None and structure.log_mel is None else (),
        heads=heads,
        head_dim=regular // full,
        feed_forward=structure.feed_forwards or ((width,) * parts,) * stored,
        order=tuple(range(stored)) if structure.order is None else structure.order,
        present=(1,) * stored,
        ranks=dict(structure.ranks),
        own=structure.own,
        queries=inner,
        values=inner,
        groups=None if structure.hidden is None else groups_left(config, structure.hidden, regular),
        folded=structure.folded,
        projects=not family.mel_input and not (family.skips_projection and config.conv_dim[-1] == regular),
        masks=family.always_masks or masking > 0,
        log_mel=structure.log_mel,
        mimic=mimic,
        outside=rows_from(config, head),
    )


def check_adapter(found: Any) -> None:
    """Refuse what stands behind the layers of some models that were trained to translate."""
    if found:
        raise SottovoceError(
            "this model has an adapter behind its layers, whose cost has no formula here; remove it first."
        )


def narrowed(widths: Widths, units: Iterable[int]) -> Widths:
    """The widths that are left behind a cut to these units of the hidden state, as `keep_hidden` makes it.

    Example:
        >>> narrowed(widths, range(512)).hidden
        512
    """
    kept = tuple(units)
    before = widths.groups
    if before is None:
        groups = groups_left(widths.config, kept, widths.hidden)
    else:
        ends = [sum(before[: index + 1]) for index in range(len(before))]
        inside = [[end - size <= unit < end for unit in kept] for size, end in zip(before, ends, strict=True)]
        groups = tuple(sum(found) for found in inside if any(found))
    return replace(widths, hidden=len(kept), groups=groups, folded=False)


def groups_left(config: Any, kept: Iterable[int], size: int) -> tuple[int, ...]:
    """How many of the kept hidden units lie in each group of the positional convolution, without the empty ones."""
    each = size // config.num_conv_pos_embedding_groups
    counts: dict[int, int] = {}
    for unit in sorted(kept):
        counts[unit // each] = counts.get(unit // each, 0) + 1
    return tuple(counts.values())


def round_width(width: float, multiple: int, most: int, *, down: bool = False) -> int:
    """The nearest multiple (with `down`, none above) that there are units for, and at least one of them.

    Example:
        >>> round_width(1531, 16, 3072), round_width(70, 32, 768, down=True), round_width(7, 32, 24)
        (1536, 64, 24)
    """
    wanted = max(multiple, multiple * (int(width // multiple) if down else round(width / multiple)))
    return min(most, wanted if wanted <= most else max(multiple, most - most % multiple))
