"""The tensors of Hugging Face's heads, row by row: from a configuration, or read off a model."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from torch import nn

from sottovoce.errors import SottovoceError, unknown
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.families import FAMILIES, family_name
from sottovoce.models.int8 import Int8Linear
from sottovoce.models.parts import Factored

Size = int | Literal["hidden", "features", "states"]


class Row(NamedTuple):
    """A tensor outside the encoder.

    Args:
        path: of a parameter; of a Linear's weight, that of the Linear.
        shape: where a number follows the encoder's, the name of that: the `hidden` size, the `features` that the front
            end makes, how many `states` there are.
        runs: what each of its numbers is multiplied with: all `frames`, one vector an `utterance`, or None: nothing.
        fewer: by how many frames that is less.
        loose: the model itself holds it, and no part of the head does.
    """

    path: str
    shape: tuple[Size, ...]
    runs: Literal["frames", "utterance"] | None = None
    fewer: int = 0
    loose: bool = False


def rows_from(config: Any, kind: str) -> tuple[Row, ...]:
    """What a head of this kind has, by the settings of a configuration.

    Example:
        >>> [row.path for row in rows_from(transformers.HubertConfig(), "ForCTC")]
        ['lm_head', 'lm_head.bias']
    """
    if not kind:
        return ()
    if kind not in KINDS:
        raise unknown("head", kind, KINDS)
    rows = list(KINDS[kind](config))
    if kind not in ("ForCTC", "ForPreTraining") and getattr(config, "use_weighted_layer_sum", False):
        rows.append(Row("layer_weights", ("states",), loose=True))
    return tuple(sorted(rows))


def linear(path: str, inputs: Size, outputs: Size, runs: Any = "frames", fewer: int = 0) -> tuple[Row, Row]:
    """The two rows of a Linear."""
    return Row(path, (outputs, inputs), runs, fewer), Row(f"{path}.bias", (outputs,))


def ctc(config: Any) -> Iterator[Row]:
    """Letters of each frame."""
    yield from linear("lm_head", "hidden", config.vocab_size)


def of_an_utterance(config: Any) -> Iterator[Row]:
    """A class of the mean over time."""
    yield from linear("projector", "hidden", config.classifier_proj_size)
    yield from linear("classifier", config.classifier_proj_size, config.num_labels, "utterance")


def of_a_frame(config: Any) -> Iterator[Row]:
    """Classes of each frame."""
    yield from linear("classifier", "hidden", config.num_labels)


def x_vector(config: Any) -> Iterator[Row]:
    """Convolutions over time, each of which sees fewer frames, and a vector of an utterance."""
    yield from linear("projector", "hidden", config.tdnn_dim[0])
    before, fewer = config.tdnn_dim[0], 0
    for index, width in enumerate(config.tdnn_dim):
        kernel = config.tdnn_kernel[index]
        fewer += config.tdnn_dilation[index] * (kernel - 1)
        yield from linear(f"tdnn.{index}.kernel", before * kernel, width, "frames", fewer)
        before = width
    size = config.xvector_output_dim
    yield from linear("feature_extractor", 2 * before, size, "utterance")
    yield from linear("classifier", size, size, "utterance")
    yield Row("objective.weight", (size, config.num_labels))


def pretraining(config: Any) -> Iterator[Row]:
    """A quantiser of the front end's features, and projections of it and of the hidden states."""
    name = family_name(config)
    kind = FAMILIES[name].pretraining
    if kind is None:
        raise SottovoceError(f"Hugging Face has no ForPreTraining for the {name} family; give another head.")
    runs = None if kind == "unused" else "frames"  # that one is built and never run
    codes, size = config.num_codevector_groups * config.num_codevectors_per_group, config.codevector_dim
    yield Row("quantizer.codevectors", (1, codes, size // config.num_codevector_groups))
    yield from linear("quantizer.weight_proj", "hidden" if kind == "unused" else "features", codes, runs)
    yield from linear("project_q", size, config.proj_codevector_dim, runs)
    if kind == "ctc":
        yield from linear("project_hid", config.proj_codevector_dim, "hidden", runs)
        yield from linear("ctc_proj", "hidden", config.num_ctc_classes, runs)
    else:
        yield from linear("project_hid", "hidden", config.proj_codevector_dim, runs)
    if kind == "unused":
        yield from linear("speaker_proj", "hidden", size, runs)
        yield Row("label_embeddings_concat", (config.num_clusters, size), loose=True)
        yield Row("layer_norm_for_extract.weight", ("hidden",))
        yield Row("layer_norm_for_extract.bias", ("hidden",))


KINDS = {
    "ForCTC": ctc,
    "ForSequenceClassification": of_an_utterance,
    "ForAudioClassification": of_an_utterance,
    "ForAudioFrameClassification": of_a_frame,
    "ForXVector": x_vector,
    "ForPreTraining": pretraining,
}


def rows_of(model: Any, body: Anatomy, sizes: dict[str, int]) -> tuple[Row, ...]:
    """What stands outside a model's encoder: sizes off its modules, and which of the encoder's `sizes` they follow.

    Of a head that is not Hugging Face's, every Linear runs on each frame.

    Example:
        >>> rows_of(sv.new("hubert"), Anatomy(sv.new("hubert")), {})
        ()
    """
    name = f"For{type(model).__name__.partition('For')[2]}"
    table = {row.path: row for row in rows_from(model.config, name if name in KINDS else "")}
    inside = set(body.base.modules())
    pairs = [module for module in model.modules() if isinstance(module, Factored)]
    halves = {half for pair in pairs for half in pair.children()}
    rows: list[Row] = []
    matrices: set[int] = set()
    for path, module in model.named_modules():
        if module in inside or module in halves or not isinstance(module, nn.Linear | Int8Linear | Factored):
            continue
        found = linear(path, module.in_features, module.out_features)
        rows += found if module.bias is not None else found[:1]
        matrices.update(id(parameter) for parameter in module.parameters())
    known = matrices | {id(parameter) for parameter in body.base.parameters()}
    rest = [(path, p) for path, p in model.named_parameters() if id(p) not in known]
    rows += [Row(path, tuple(parameter.shape), loose="." not in path) for path, parameter in rest]
    return tuple(sorted(followed(row, table.get(row.path), sizes) for row in rows))


def followed(row: Row, wanted: Row | None, sizes: dict[str, int]) -> Row:
    """A row as it was read, with what the row of the table says of its sizes and of when it runs."""
    if wanted is None:
        return row
    pairs = zip(row.shape, wanted.shape, strict=True)
    return Row(row.path, tuple(of if sizes.get(str(of)) == size else size for size, of in pairs), *wanted[2:])
