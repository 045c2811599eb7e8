"""How a model differs from its family's regular shape: a record in `config.json`, read off the module tree."""

import reprlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from sottovoce.errors import SottovoceError, unknown
from sottovoce.models.anatomy import Anatomy, is_parametrized
from sottovoce.models.families import FAMILIES, family_name
from sottovoce.models.front_end import LogMel
from sottovoce.models.int8 import Int8Linear, Scales
from sottovoce.models.mimic import LONGEST_FILTER
from sottovoce.models.own import own_of
from sottovoce.models.parts import Factored
from sottovoce.models.whole import carry_code

KEY = "sottovoce"
VERSION = 1
MOST_NUMBER = 1_000_000  # any number of a Structure
MOST_TEXT = 100_000  # characters of a list of numbers, and rows of a list
MIMIC = frozenset(["layers", "kind", "width", "over", "positional"])


@dataclass(frozen=True)
class Structure:
    """What a plain configuration cannot say; a field that is None is as in the regular shape.

    Args:
        heads: the regular heads that a stored layer still has, for each layer that lost some.
        head_dims: the width of the heads of each stored layer whose heads lost dimensions.
        feed_forwards: the widths of each stored layer's feed-forward parts.
        order: the stored layer that each step applies.
        own: what each step that shares a layer has for itself: norms, and the rank of its Linears' differences.
        exit: the change of a step at which an utterance leaves the stack, and the fewest steps that it runs.
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
    head_dims: Mapping[int, int] = field(default_factory=dict)
    feed_forwards: tuple[tuple[int, ...], ...] | None = None
    order: tuple[int, ...] | None = None
    own: Mapping[str, Any] | None = None
    exit: Mapping[str, Any] | None = None
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
        if self.head_dims:
            record["head_dims"] = {str(layer): dims for layer, dims in self.head_dims.items()}
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
        if type(version) is not int or version != VERSION:
            raise SottovoceError(
                f"config.json's '{KEY}' part has version {version}; this sottovoce reads {VERSION}: update it."
            )
        for key in record:
            if key != "version" and key not in known:
                raise unknown(f"key of config.json's '{KEY}' part", key, known)
        try:
            return cls(
                heads={_layer_number(layer): from_ranges(kept) for layer, kept in _mapping(record, "heads").items()},
                head_dims={
                    _layer_number(layer): _counted(_mapping(record, "head_dims"), layer)
                    for layer in _mapping(record, "head_dims")
                },
                feed_forwards=_rows(record.get("feed_forwards")),
                order=None if record.get("order") is None else _order(record["order"]),
                own=_own(record.get("own")),
                exit=_exit(record.get("exit")),
                hidden=None if record.get("hidden") is None else from_ranges(record["hidden"]),
                hidden_of=None if record.get("hidden_of") is None else _counted(record, "hidden_of"),
                ranks={path: _counted(_mapping(record, "ranks"), path) for path in _mapping(record, "ranks")},
                log_mel=_log_mel(record.get("log_mel")),
                mimic=_mimic(record.get("mimic")),
                folded=_truth(record, "folded"),
                int8={path: _scales(scales) for path, scales in _mapping(record, "int8").items()},
            )
        except (TypeError, ValueError, AttributeError) as error:
            raise damaged(error) from error


def damaged(reason: object) -> SottovoceError:
    """The error for a Structure that no saving wrote.

    Example:
        >>> print(damaged("ranks: -1"))
        config.json's 'sottovoce' part is damaged (ranks: -1); save the model anew.
    """
    return SottovoceError(f"config.json's '{KEY}' part is damaged ({reason}); save the model anew.")


def recorded(config: Any) -> Structure:
    """The Structure that a configuration carries; a regular one if it carries none."""
    return Structure.from_dict(getattr(config, KEY)) if getattr(config, KEY, None) is not None else Structure()


def settle(model: Any) -> Structure:
    """Read the Structure off a model's modules and write it, with the sizes that it implies, into the configuration.

    `save_pretrained` then writes the modelling file as well, where the shape needs it.

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
    carry_code((model, body.base), irregular=not structure.regular)
    return structure


def read(model: Any, body: Anatomy) -> Structure:
    """The Structure of a model as it stands."""
    stored = 0 if body.mimics else len(body.layers)
    full = tuple(range(body.setting("num_attention_heads")))
    heads = {layer: body.kept_heads(layer) for layer in range(stored)}
    inner = {layer: body.head_width(layer) for layer in heads}
    parts = range(len(body.family.feed_forwards))
    widths = tuple(tuple(body.feed_forward_width(layer, which) for which in parts) for layer in range(stored))
    sizes = {width for layer in widths for width in layer}
    # The layers of an adapter take their width from the same setting of the configuration.
    bound = getattr(body.base, "adapter", None) is not None
    even = not sizes or (sizes == {body.setting("intermediate_size")} if bound else len(sizes) == 1)
    front_end = getattr(body.base, "feature_extractor", None)
    narrowed = getattr(body.base, "kept_hidden", None)
    mimic = body.base.encoder.mimic if body.mimics else None
    regular = mimic is None or mimic["positional"] is True
    normed = regular and body.family.positional_norm and not getattr(body.config, "conv_pos_batch_norm", False)
    folded = normed and narrowed is None and any(not is_parametrized(conv) for _, conv in body.positional_convs())
    return Structure(
        heads={layer: kept for layer, kept in heads.items() if kept != full},
        head_dims={layer: dims for layer, dims in inner.items() if dims != body.head_dim},
        feed_forwards=None if even else widths,
        order=None if body.mimics or body.order == tuple(range(stored)) else body.order,
        own=None if body.mimics else own_of(body.layers),
        exit=exit_of(body.layers) if not body.mimics else None,
        hidden=narrowed,
        hidden_of=getattr(body.base, "regular_hidden", None),
        ranks={body.short_path(path): part.rank for path, part in model.named_modules() if isinstance(part, Factored)},
        log_mel={"bins": front_end.bins, "stack": front_end.stack} if isinstance(front_end, LogMel) else None,
        mimic=mimic,
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
    if not isinstance(text, str) or len(text) > MOST_TEXT:
        raise ValueError(f"ranges of numbers such as 0-5,8 are wanted, not {reprlib.repr(text)}")
    found: list[int] = []
    for piece in filter(None, text.split(",")):
        first, dash, last = piece.partition("-")
        begin, end = _number(first), _number(last if dash else first)
        if end < begin or (found and begin <= found[-1]):
            raise ValueError(f"numbers must go up, each once, but {reprlib.repr(piece)} does not")
        found.extend(range(begin, end + 1))
    return tuple(found)


def _number(text: Any) -> int:
    """A whole number as digits, below what any size here can be."""
    is_number = isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 7
    if not is_number or int(text) > MOST_NUMBER:
        raise ValueError(f"{reprlib.repr(text)} is no whole number from 0 to {MOST_NUMBER}")
    return int(text)


def _numbers(text: Any) -> tuple[int, ...]:
    if not isinstance(text, str) or len(text) > MOST_TEXT:
        raise ValueError(f"numbers such as 0,0,1 are wanted, not {reprlib.repr(text)}")
    return tuple(_number(number) for number in text.split(",") if number)


def _order(text: Any) -> tuple[int, ...]:
    order = _numbers(text)
    if tuple(dict.fromkeys(order)) != tuple(range(len(set(order)))):
        # Layers are numbered as they are first applied; another number would be one of a layer without tensors.
        raise ValueError(f"order {reprlib.repr(text)} does not name its layers 0, 1, 2 and so on as they come first")
    return order


def _layer_number(text: Any) -> int:
    try:
        return _number(text)
    except ValueError:
        raise ValueError(f"heads are listed by layer, and {reprlib.repr(text)} is none") from None


def _rows(rows: Any) -> tuple[tuple[int, ...], ...] | None:
    if rows is not None and (not isinstance(rows, list | tuple) or len(rows) > MOST_TEXT):
        raise ValueError(f"feed_forwards is {reprlib.repr(rows)}, but a list of a text for each layer is wanted")
    return None if rows is None else tuple(_numbers(row) for row in rows)


def _mapping(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = record.get(key, {})
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{key} is {reprlib.repr(found)}, but a mapping is wanted")
    return found


def _counted(record: Mapping[str, Any], key: str, *, most: int = MOST_NUMBER) -> int:
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ValueError(f"{key} is {reprlib.repr(value)}, but a whole number from 1 to {most} is wanted")
    return value


def _truth(record: Mapping[str, Any], key: str) -> bool:
    value = record.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f"{key} is {reprlib.repr(value)}, but true or false is wanted")
    return value


def _log_mel(record: Any) -> dict[str, int] | None:
    if record is None:
        return None
    if not isinstance(record, Mapping) or set(record) != {"bins", "stack"}:
        raise ValueError(f"log_mel is {reprlib.repr(record)}, but bins and stack are wanted")
    return {"bins": _counted(record, "bins", most=10_000), "stack": _counted(record, "stack", most=1_000)}


def _mimic(record: Any) -> dict[str, Any] | None:
    if record is None:
        return None
    choices = {"layers": (0, 1, 2), "kind": ("linear", "transformer"), "over": ("time", "batch")}
    if not isinstance(record, Mapping) or not {"layers", "kind", "width"} <= set(record) <= MIMIC:
        raise ValueError(f"mimic is {reprlib.repr(record)}, but {', '.join(sorted(MIMIC))} are wanted")
    for key, wanted in choices.items():
        if key in record and (isinstance(record[key], bool) or record[key] not in wanted):
            given = reprlib.repr(record[key])
            raise ValueError(f"mimic: {key} is {given}, but {' or '.join(map(str, wanted))} is wanted")
    if isinstance(record.get("positional", False), bool):
        return {**record, "width": _counted(record, "width")}
    if not _counted(record, "positional", most=LONGEST_FILTER) % 2:
        raise ValueError(f"mimic: positional is {record['positional']}, but true, false or an odd number is wanted")
    return {**record, "width": _counted(record, "width")}


def exit_of(layers: Any) -> dict[str, Any] | None:
    """When utterances leave a stack; None where all run all of it."""
    exits = getattr(layers, "exits", None)
    return None if exits is None else {"threshold": exits[0], "least": exits[1]}


def _exit(record: Any) -> dict[str, Any] | None:
    if record is None:
        return None
    if not isinstance(record, Mapping) or set(record) != {"threshold", "least"}:
        raise ValueError(f"exit is {reprlib.repr(record)}, but threshold and least are wanted")
    threshold = record["threshold"]
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 2:
        raise ValueError(f"exit: threshold is {reprlib.repr(threshold)}, but a number from 0 to 2 is wanted")
    return {"threshold": float(threshold), "least": _counted(record, "least")}


def _own(record: Any) -> dict[str, Any] | None:
    if record is None:
        return None
    if not isinstance(record, Mapping) or set(record) != {"norms", "rank"}:
        raise ValueError(f"own is {reprlib.repr(record)}, but norms and rank are wanted")
    rank = 0 if record["rank"] == 0 and type(record["rank"]) is int else _counted(record, "rank")
    if not _truth(record, "norms") and not rank:
        raise ValueError(f"own is {reprlib.repr(record)}, but norms or a rank above 0 are wanted")
    return {"norms": record["norms"], "rank": rank}


def _scales(name: Any) -> Scales:
    if name not in ("dynamic", "static"):
        raise ValueError(f"int8: scales are dynamic or static, not {reprlib.repr(name)}")
    return name
