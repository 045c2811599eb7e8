"""A model as one module from raw audio to what its head says: what an exported file computes."""

import copy
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sottovoce.errors import SottovoceError
from sottovoce.models.anatomy import LONGEST_INPUT, Anatomy
from sottovoce.models.encoder import Encoder, frame_mask
from sottovoce.models.front_end import SAMPLE_RATE, SHIFT, WINDOW, LogMel
from sottovoce.models.heads import TASK, head_labels
from sottovoce.models.int8 import Int8Linear
from sottovoce.models.mimic import TransformerMimic
from sottovoce.models.narrow import fold_positions
from sottovoce.models.padding import set_exact_padding
from sottovoce.models.positions import adopt_positions
from sottovoce.models.record import watching
from sottovoce.models.wavlm import adopt_attention
from sottovoce.runtimes.fronts import GraphLogMel, SeamlessFront, WhisperFront, normalized
from sottovoce.tasks import TASKS
from sottovoce.tasks.kinds import BLANK

Gives = Literal["tokens", "frame classes", "classes", "embedding", "states"]
NEVER = -100.0  # the logarithm of what cannot be
CLASSIFIERS = ("ForSequenceClassification", "ForAudioClassification")


def gives(model: Any) -> Gives:
    """What comes out of a model's graph: what its head says, or the hidden states where it has none that says anything.

    Example:
        >>> gives(sv.new("hubert", head="ForSequenceClassification"))
        'classes'
    """
    name, task = type(model).__name__, getattr(model.config, TASK, None)
    if name.endswith("ForXVector") or (task in TASKS and TASKS[task].kind.verifies):
        return "embedding"
    if name.endswith(CLASSIFIERS):
        return "classes"
    if name.endswith("ForAudioFrameClassification"):
        return "frame classes"
    if name.endswith("ForCTC"):
        return "frame classes" if task in TASKS and BLANK not in head_labels(model) else "tokens"
    return "states"


class Graph(nn.Module):
    """(batch, samples) of 16 kHz audio and the samples of each utterance, to named outputs.

    What comes out is, by what the model gives: `log_probs` (batch, frames, labels) and `frames`; `logits` and
    `probabilities`; `embeddings`; or `state_0`, `state_1`, ... with `last_hidden_state` and `frames`. A padded batch
    gives what its utterances give alone; behind the end of one that writes tokens, all is blank. The model is copied,
    and stays as it is.

    Args:
        model: any model that loads; one that is quantised goes by the numbers that its bytes stand for.
        lengths: whether the lengths come in; without them every utterance is as long as the batch.
        normalizes: whether the graph normalises the waveform; if not given, as the model's feature extractor.
        seconds: the length of the one utterance that it will be written for; if not given, any batch and any length.

    Example:
        >>> Graph(sv.new("hubert", head="ForCTC"))(torch.zeros(1, 16_000), torch.tensor([16_000]))["log_probs"].shape
        torch.Size([1, 49, 32])
    """

    def __init__(
        self, model: Any, *, lengths: bool = True, normalizes: bool | None = None, seconds: float | None = None
    ):
        super().__init__()
        check_graph(model)
        encoder = Encoder(model, outputs=True)
        if seconds is not None and not encoder.shortest <= round(seconds * SAMPLE_RATE) <= LONGEST_INPUT * SAMPLE_RATE:
            shortest = encoder.shortest / SAMPLE_RATE
            raise SottovoceError(
                f"seconds={seconds:g}, but {shortest:g} to {LONGEST_INPUT:g} s are wanted; give another length."
            )
        self.seconds = seconds
        self.gives: Gives = gives(model)
        self.lengths, self.shortest = lengths, shortest_of(encoder)
        self.normalizes = bool(encoder.normalizes if normalizes is None else normalizes)
        ready = prepared(model, exact=lengths)
        body = Anatomy(ready)
        self.model: Any = ready if self.gives != "states" else body.base
        if self.gives == "embedding" and not type(ready).__name__.endswith("ForXVector"):
            ready.classifier = nn.Identity()  # what it reads is what counts
        self.centers = not any(isinstance(module, GraphLogMel) for module in ready.modules())
        self.front: Any = None
        if body.family.mel_input:
            self.front = WhisperFront(encoder.extractor)
        elif body.family.convs is None:
            self.front = SeamlessFront(encoder.extractor)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of what comes in."""
        return ("waveform", "lengths") if self.lengths else ("waveform",)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what goes out, in their order."""
        counts = ("frames",) if self.lengths else ()
        if self.gives == "states":
            steps = len(Anatomy(self.model).order)
            return (*(f"state_{number}" for number in range(steps + 1)), "last_hidden_state", *counts)
        if self.gives == "classes":
            return "logits", "probabilities"
        return ("embeddings",) if self.gives == "embedding" else ("log_probs", *counts)

    @property
    def timed(self) -> tuple[str, ...]:
        """The outputs that have frames, of which only an utterance's own count."""
        return tuple(name for name in self.outputs if name.startswith(("state_", "log_probs", "last_hidden")))

    def frames_of(self, samples: int, output: str) -> int:
        """How many frames of an output are of so many samples; SEW's layers work at half the rate."""
        count = int(self.frames(torch.tensor([max(samples, self.shortest)])))
        body = Anatomy(self.model)
        squeezes = body.family.squeezes and output.startswith("state_")
        return count // body.config.squeeze_factor if squeezes else count

    def forward(self, waveform: torch.Tensor, lengths: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """What the model says of a batch."""
        with Reshaping():
            if lengths is not None:
                inside = frame_mask(lengths, waveform.shape[1])
                waveform = waveform * inside.to(waveform.dtype)
                # Audio of less than one frame is padded to one, as everywhere here.
                lengths = lengths.clamp(min=self.shortest)
            given = self.inputs_of(waveform, lengths)
            found = self.said(given, lengths)
            return {name: found[name] for name in self.outputs}

    def inputs_of(self, waveform: torch.Tensor, lengths: torch.Tensor | None) -> dict[str, torch.Tensor]:
        """What the model's own forward pass takes."""
        if self.front is not None:
            return self.front(waveform, lengths)
        values = normalized(waveform, lengths, center=self.centers) if self.normalizes else waveform
        if lengths is None:
            return {"input_values": values}
        # Of a mask, models take only the sum; one of two numbers a row has it too, and no pass over the samples. That
        # the second is 0 says that there is padding.
        return {"input_values": values, "attention_mask": torch.stack([lengths, torch.zeros_like(lengths)], dim=1)}

    def said(self, given: dict[str, torch.Tensor], lengths: torch.Tensor | None) -> dict[str, torch.Tensor]:
        """The outputs by name."""
        frames = torch.zeros(1, dtype=torch.long) if lengths is None else self.frames(lengths)
        if self.gives == "states":
            with watching(Anatomy(self.model)) as (hidden, _):
                last = self.model(**given)[0]
            return {
                **{f"state_{number}": state for number, state in enumerate(hidden)},
                "last_hidden_state": last,
                "frames": frames,
            }
        if type(self.model).__name__.endswith("ForXVector"):
            return {"embeddings": x_vector(self.model, given, None if lengths is None else frames)}
        if self.gives in ("classes", "embedding") and self.front is None:
            logits = pooled(self.model, given, None if lengths is None else frames)
        else:
            logits = self.model(**given).logits
        if self.gives == "embedding":
            return {"embeddings": logits}
        if self.gives == "classes":
            return {"logits": logits, "probabilities": logits.softmax(-1)}
        log_probs = logits.log_softmax(-1)
        if self.gives == "tokens" and lengths is not None:
            # A reader that goes a frame too far reads nothing there.
            blank = F.one_hot(torch.tensor(self.model.config.pad_token_id), log_probs.shape[-1]) - 1.0
            inside = frame_mask(frames, log_probs.shape[1])[:, :, None]
            log_probs = torch.where(inside, log_probs, NEVER * blank.to(log_probs.dtype).abs())
        return {"log_probs": log_probs, "frames": frames}

    def frames(self, lengths: torch.Tensor) -> torch.Tensor:
        """How many frames each utterance has."""
        body = Anatomy(self.model)
        if body.family.mel_input:
            return torch.div(lengths, 2 * SHIFT, rounding_mode="floor").clamp(1, body.config.max_source_positions)
        if body.family.convs is None:
            return torch.div(torch.div(lengths - WINDOW, SHIFT, rounding_mode="floor") + 1, 2, rounding_mode="floor")
        for kernel, stride in zip(body.config.conv_kernel, body.config.conv_stride, strict=True):
            lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
        return lengths


class Reshaping(TorchFunctionMode):
    """Lets tensors be reshaped whose strides the exporter cannot know: they are laid out anew first.

    Conformers transpose attention's output of a dynamic length and reshape it, at which the exporter stops.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called at every operation."""
        if func in (torch.Tensor.reshape, torch.reshape) and torch.compiler.is_exporting():
            args = (args[0].clone(memory_format=torch.contiguous_format), *args[1:])
        return func(*args, **(kwargs or {}))


def shortest_of(encoder: Encoder) -> int:
    """The samples that an utterance is padded to."""
    if encoder.body is not None and encoder.body.family.mel_input:
        return 1
    return encoder.shortest


def check_graph(model: Any) -> None:
    """Refuse what no graph can stand for.

    Example:
        >>> check_graph(LogMel())
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: log-mel features are no model; ...
    """
    if isinstance(model, LogMel):
        raise SottovoceError("log-mel features are no model; give a model that reads them (sv.edits.use_log_mel).")
    if getattr(Anatomy(model).layers, "exits", None) is not None:
        raise SottovoceError(
            "utterances of this model leave its layers early by a threshold, and a graph runs all of them the same; "
            "take the exit off first (sv.edits.use_exit(model, None)), or drop the steps."
        )


def prepared(model: Any, *, exact: bool = True) -> Any:
    """A copy of a model in the form that exporters take: in fp32 on the CPU, without weight norm, with our own parts.

    Example:
        >>> prepared(sv.quantize(model)).dtype
        torch.float32
    """
    ready = copy.deepcopy(model).cpu().float().eval()
    for parameter in ready.parameters():
        parameter.requires_grad_(False)
    adopt_attention(ready)
    adopt_positions(ready)
    replace_bytes(ready)
    for path, module in list(ready.named_modules()):
        if isinstance(module, LogMel):
            ready.set_submodule(path, GraphLogMel(module))
        if isinstance(module, TransformerMimic):
            module.in_graph = True
    fold_positions(Anatomy(ready))
    if exact:
        set_exact_padding(ready)
    return ready


def replace_bytes(model: Any) -> None:
    """Linears of bytes become Linears of the numbers that these stand for, in place.

    Example:
        >>> replace_bytes(sv.quantize(model))
    """
    for path, module in list(model.named_modules()):
        if isinstance(module, Int8Linear):
            plain = nn.Linear(module.in_features, module.out_features, bias=module.bias is not None, device="meta")
            plain.weight = nn.Parameter(module.weight.float(), requires_grad=False)
            plain.bias = module.bias
            model.set_submodule(path, plain)


def projected(model: Any, given: dict[str, torch.Tensor]) -> torch.Tensor:
    """What the projector of a head makes of the last state, or of the weighted sum of all."""
    base = Anatomy(model).base
    if model.config.use_weighted_layer_sum:
        states = torch.stack(base(**given, output_hidden_states=True).hidden_states, dim=1)
        return model.projector((states * model.layer_weights.softmax(-1).view(-1, 1, 1)).sum(1))
    return model.projector(base(**given)[0])


def pooled(model: Any, given: dict[str, torch.Tensor], frames: torch.Tensor | None) -> torch.Tensor:
    """The logits of a classifier. Hugging Face's own pass writes zeros past the ends, which takes long."""
    hidden = projected(model, given)
    if frames is None:
        return model.classifier(hidden.mean(1))
    inside = frame_mask(frames, hidden.shape[1])[:, None, :].to(hidden.dtype)
    return model.classifier((inside @ hidden)[:, 0] / frames[:, None].to(hidden.dtype))


def x_vector(model: Any, given: dict[str, torch.Tensor], frames: torch.Tensor | None) -> torch.Tensor:
    """The embedding of a head for speakers. Hugging Face's own pass loops over the utterances of the batch."""
    hidden = projected(model, given)
    for layer in model.tdnn:
        hidden = layer(hidden)
    if frames is None:
        mean, deviation = hidden.mean(1), hidden.std(1)
    else:
        frames = frames - sum((layer.kernel_size - 1) * layer.dilation for layer in model.tdnn)
        inside = frame_mask(frames, hidden.shape[1])[:, :, None].to(hidden.dtype)
        count = frames[:, None].to(hidden.dtype)
        mean = (hidden * inside).sum(1) / count
        deviation = (((hidden - mean[:, None]) * inside).square().sum(1) / (count - 1)).sqrt()
    return model.feature_extractor(torch.cat([mean, deviation], dim=-1))


def dummy(graph: Graph, seconds: float, *, batch: int = 1, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Seeded noise of one length (of its own, where a graph has one), as a graph takes it.

    Example:
        >>> dummy(graph, 1.0, batch=2)[0].shape
        torch.Size([2, 16000])
    """
    if graph.seconds is not None:
        seconds, batch = graph.seconds, 1
    samples = max(graph.shortest, round(seconds * SAMPLE_RATE))
    noise = torch.randn((batch, samples), generator=torch.Generator().manual_seed(seed))
    return (noise, torch.full((batch,), samples)) if graph.lengths else (noise,)
