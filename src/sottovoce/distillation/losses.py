"""The losses of distillation, each on frames that exist and as a sum over them, so that batches add up."""

from collections.abc import Sequence

import torch
from torch.nn import functional as F


def cluster_kl(student: torch.Tensor, teacher: torch.Tensor, *, temperature: float = 1.0) -> torch.Tensor:
    """KL(teacher || student) of the cluster logits (frames, clusters): MelHuBERT's loss, with temperature 1.

    Both are divided by the temperature, and the loss is multiplied by its square, which keeps the gradients' size.

    Example:
        >>> cluster_kl(torch.zeros(5, 100), torch.zeros(5, 100))
        tensor(0.)
    """
    found, wanted = (F.log_softmax(logits / temperature, dim=-1) for logits in (student, teacher))
    return (wanted.exp() * (wanted - found)).sum() * temperature**2


def hidden(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The mean distance over the numbers of a frame less the frame's cosine, DPHuBERT's loss: (frames, width).

    Example:
        >>> hidden(torch.ones(5, 8), torch.ones(5, 8))
        tensor(-5.)
    """
    distance = (student - teacher).abs().mean(-1)
    return (distance - F.cosine_similarity(student, teacher, dim=-1)).sum()


def distilhubert(student: torch.Tensor, teacher: torch.Tensor, *, weight: float = 1.0) -> torch.Tensor:
    """The mean distance over the numbers of a frame less the log sigmoid of its cosine, DistilHuBERT's loss.

    Example:
        >>> distilhubert(torch.ones(1, 8), torch.ones(1, 8))
        tensor(0.3133)
    """
    distance = (student - teacher).abs().mean(-1)
    return (distance - weight * F.logsigmoid(F.cosine_similarity(student, teacher, dim=-1))).sum()


def arm(student: torch.Tensor, clean: torch.Tensor, masked: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean squared error of a frame, ARMHuBERT's masking distillation: (frames, width) thrice and (frames,).

    The student heard masked audio. Its masked frames are to be what the teacher makes of the `clean` audio, the others
    what it makes of the same `masked` audio.

    Example:
        >>> arm(torch.zeros(2, 8), torch.ones(2, 8), torch.zeros(2, 8), torch.tensor([True, False]))
        tensor(1.)
    """
    wanted = torch.where(mask[:, None], clean, masked)
    return (student - wanted).square().mean(-1).sum()


def star(student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor]) -> torch.Tensor:
    """The squared error of how the frames of one utterance relate, STaR's loss: states (frames, width) in order.

    Of each state, the relations of its frames to one another (layer-wise temporal Gram matrices); of each state and the
    one before it, those of the frames of the one to the frames of the other (intra-layer). The widths may differ. Our
    reconstruction, for the authors publish no code: frames are brought to length 1, so that a relation is a cosine, the
    error of a frame is the mean over its relations, and all matrices have the same weight.

    Example:
        >>> states = [torch.randn(50, 64), torch.randn(50, 64)]
        >>> float(star(states, [2 * state for state in states])) < 1e-6
        True
    """
    mine, theirs = ([F.normalize(state, dim=-1) for state in states] for states in (student, teacher))
    pairs = [(index, index) for index in range(len(mine))] + [(index, index + 1) for index in range(len(mine) - 1)]
    errors = [(mine[i] @ mine[j].T - theirs[i] @ theirs[j].T).square().mean(-1).sum() for i, j in pairs]
    return torch.stack(errors).sum()
