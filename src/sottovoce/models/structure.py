"""How a model differs from its family's regular shape: a record in `config.json`, read off the module tree."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from sottovoce.errors import SottovoceError, unknown
from sottovoce.models.anatomy import FAMILIES, Anatomy, family_name, is_parametrised
from sottovoce.models.front_end import LogMel
from sottovoce.models.int8 import Int8Linear, Scales
from sottovoce.models.parts import Factored

KEY = "sottovoce"
VERSION = 1


@dataclass(frozen=True)
class Structure:
    """What a plain configuration cannot say; a field that is None is as in the regular shape.

    Args:
        heads: the regular heads that a stored layer still has, for each layer that lost some.
        feed_forwards: the widths of each stored layer's feed-forward parts.
        order: the stored layer that each step applies.
        hidden: the units of the regular hidden state that are left; `hidden_of`, how many there were.
        ranks: the rank of each factored Linear, by path from the base model (a head's: from the model).
        log_mel: bins and stack of a log-mel front end.
        mimic: the mimic layers that stand for the stack.
        folded: the weight norm of the positional convolution is folded into its weight.
        int8: the Linears whose weights are bytes, by path as in `ranks`, and their inputs' scales: dynamic or static.

    Example:
        >>> Structure(ranks={"encoder.layers.0.attention.q_proj": 64}).regular
        False
    """

    heads: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    feed_forwards: tuple[tuple[int, ...], ...] | None = None
    order: tuple[int, ...] | None = None
    hidden: tuple[int, ...] | None = None
    hidden_of: int | None = None
    ranks: Mapping[str, int] = field(default_factory=dict)
    log_mel: Mapping[str, int] | None = None
    mimic: Mapping[str, Any] | None = None
    folded: bool = False
    int8: Mapping[str, Scales] = field(default_factory=dict)

    @property
    def regular(self) -> bool:
        """Whether a plain configuration says it all."""
        return self == Structure()

    @property
    def stored_layers(self) -> int | None:
        """How many layers have tensors, if that differs from how many steps there are."""
        return None if self.order is None else max(self.order, default=-1) + 1

    def to_dict(self) -> dict[str, Any]:
        """What goes into `config.json`: only what is not regular, index sets as ranges such as `0-5,8`."""
        record = {key: value for key, value in asdict(self).items() if value not in (None, {}, False)}
        if self.heads:
            record["heads"] = {str(layer): to_ranges(kept) for layer, kept in self.heads.items()}
        if self.feed_forwards is not None:
            record["feed_forwards"] = [",".join(map(str, widths)) for widths in self.feed_forwards]
        if self.order is not None:
            record["order"] = ",".join(map(str, self.order))
        if self.hidden is not None:
            record["hidden"] = to_ranges(self.hidden)
        return {"version": VERSION} | record

    @classmethod
    def from_dict(cls, record: Any) -> "Structure":
        """The inverse of `to_dict`, checked."""
        if not isinstance(record, Mapping):
            raise SottovoceError(
                f"config.json's '{KEY}' part is {record!r}, but a mapping is wanted; save the model anew."
            )
        known = {entry.name for entry in fields(cls)}
        version = record.get("version", VERSION)
        if version != VERSION:
            raise SottovoceError(
                f"config.json's '{KEY}' part has version {version}; this sottovoce reads {VERSION}: update it."
            )
        for key in record:
            if key != "version" and key not in known:
                raise unknown(f"key of config.json's '{KEY}' part", key, known)
        try:
            return cls(
                heads={int(layer): from_ranges(kept) for layer, kept in dict(record.get("heads", {})).items()},
                feed_forwards=_rows(record.get("feed_forwards")),
                order=None if record.get("order") is None else _numbers(record["order"]),
                hidden=None if record.get("hidden") is None else from_ranges(record["hidden"]),
                hidden_of=None if record.get("hidden_of") is None else int(record["hidden_of"]),
                ranks={str(path): int(rank) for path, rank in dict(record.get("ranks", {})).items()},
                log_mel=_counts(record.get("log_mel")),
                mimic=None if record.get("mimic") is None else dict(record["mimic"]),
                folded=bool(record.get("folded", False)),
                int8={str(path): _scales(scales) for path, scales in dict(record.get("int8", {})).items()},
            )
        except (TypeError, ValueError, AttributeError) as error:
            raise SottovoceError(f"config.json's '{KEY}' part is damaged ({error}); save the model anew.") from error


def recorded(config: Any) -> Structure:
    """The Structure that a configuration carries; a regular one if it carries none."""
    return Structure.from_dict(getattr(config, KEY)) if getattr(config, KEY, None) is not None else Structure()


def settle(model: Any) -> Structure:
    """Read the Structure off a model's modules and write it, with the sizes that it implies, into the configuration.

    Example:
        >>> keep_layers(model, range(6)); settle(model).regular
        True
    """
    body = Anatomy(model)
    structure = read(model, body)
    if structure.feed_forwards is None and not body.mimics and len(body.layers):
        body.set_setting("intermediate_size", body.feed_forward_width(0))
    if structure.regular:
        body.config.__dict__.pop(KEY, None)
    else:
        setattr(body.config, KEY, structure.to_dict())
    return structure


def read(model: Any, body: Anatomy) -> Structure:
    """The Structure of a model as it stands."""
    stored = 0 if body.mimics else len(body.layers)
    full = tuple(range(body.setting("num_attention_heads")))
    heads = {layer: body.kept_heads(layer) for layer in range(stored)}
    parts = range(len(body.family.feed_forwards))
    widths = tuple(tuple(body.feed_forward_width(layer, which) for which in parts) for layer in range(stored))
    sizes = {width for layer in widths for width in layer}
    # The layers of an adapter take their width from the same setting of the configuration.
    bound = getattr(body.base, "adapter", None) is not None
    even = not sizes or (sizes == {body.setting("intermediate_size")} if bound else len(sizes) == 1)
    front_end = getattr(body.base, "feature_extractor", None)
    narrowed = getattr(body.base, "kept_hidden", None)
    normed = body.name != "data2vec-audio" and not getattr(body.config, "conv_pos_batch_norm", False)
    folded = normed and narrowed is None and any(not is_parametrised(conv) for _, conv in body.positional_convs())
    return Structure(
        heads={layer: kept for layer, kept in heads.items() if kept != full},
        feed_forwards=None if even else widths,
        order=None if body.mimics or body.order == tuple(range(stored)) else body.order,
        hidden=narrowed,
        hidden_of=getattr(body.base, "regular_hidden", None),
        ranks={body.short_path(path): part.rank for path, part in model.named_modules() if isinstance(part, Factored)},
        log_mel={"bins": front_end.bins, "stack": front_end.stack} if isinstance(front_end, LogMel) else None,
        mimic=body.base.encoder.mimic if body.mimics else None,
        folded=folded,
        int8={body.short_path(path): p.scales for path, p in model.named_modules() if isinstance(p, Int8Linear)},
    )


@contextmanager
def regular_shape(config: Any, structure: Structure) -> Iterator[None]:
    """Let a configuration describe the regular model that the Structure is cut from, while that is built."""
    changed: dict[str, Any] = {}
    if structure.hidden_of is not None:
        changed["hidden_size"] = structure.hidden_of
    stored = structure.stored_layers
    if stored is not None:
        changed["num_hidden_layers"] = max(stored, 0)
    if structure.mimic is not None:
        # The stack is thrown away at once, so one layer of it is plenty.
        changed["num_hidden_layers"] = 1
    names = FAMILIES[family_name(config)].config_names
    old = {names.get(key, key): getattr(config, names.get(key, key)) for key in changed}
    for key, value in changed.items():
        setattr(config, names.get(key, key), value)
    try:
        yield
    finally:
        for key, value in old.items():
            setattr(config, key, value)


def to_ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers as text.

    Example:
        >>> to_ranges([0, 1, 2, 5])
        '0-2,5'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def from_ranges(text: str) -> tuple[int, ...]:
    """The inverse of `to_ranges`.

    Example:
        >>> from_ranges("0-2,5")
        (0, 1, 2, 5)
    """
    pairs = [piece.partition("-") for piece in text.split(",") if piece]
    return tuple(n for first, dash, last in pairs for n in range(int(first), int(last if dash else first) + 1))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(",") if number)


def _rows(rows: Any) -> tuple[tuple[int, ...], ...] | None:
    return None if rows is None else tuple(_numbers(row) for row in rows)


def _counts(record: Any) -> dict[str, int] | None:
    return None if record is None else {str(key): int(value) for key, value in dict(record).items()}


def _scales(name: Any) -> Scales:
    if name not in ("dynamic", "static"):
        raise ValueError(f"scales are dynamic or static, not {name!r}")
    return name
