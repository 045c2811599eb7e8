"""Splits for data that has none: by speaker where they are known, by recording elsewhere, as a seed decides."""

import hashlib
from collections.abc import Mapping, Sequence

SHARES = {"dev": 0.1, "test": 0.1}


def divide(groups: Sequence[tuple[str | None, str]], seed: int = 0) -> tuple[list[str], str]:
    """The split of each utterance by its speaker, if that is known, and its recording, and a sentence on how.

    A tenth of the speakers each is for dev and test, one at least where there are three; with two there is no dev. The
    order plays no part: each name is drawn by its own hash with the seed.

    Example:
        >>> divide([("a", "1.wav"), ("b", "2.wav"), ("c", "3.wav"), ("a", "4.wav")])[0]
        ['train', 'dev', 'test', 'train']
    """
    speakers = {speaker for speaker, _ in groups if speaker is not None}
    unknown = {recording for speaker, recording in groups if speaker is None}
    by_speaker = len(speakers) > 1
    if not by_speaker:
        unknown = {recording for _, recording in groups}
    chosen = _drawn(speakers, seed, "speaker") if by_speaker else {}
    recorded = _drawn(unknown, seed, "recording")
    named = [
        chosen[speaker] if by_speaker and speaker is not None else recorded[recording] for speaker, recording in groups
    ]
    how = "by speaker" if by_speaker and not unknown else "by recording"
    if by_speaker and unknown:
        how = f"by speaker, and by recording for the {len(unknown)} whose speaker is not known"
    elif not by_speaker:
        why = (
            "there is one speaker alone"
            if speakers and None not in {s for s, _ in groups}
            else "speakers are not known"
        )
        how = f"by recording, because {why}"
    return named, f"80/10/10 {how}, with the seed {seed}"


def _drawn(names: set[str], seed: int, kind: str) -> Mapping[str, str]:
    """A split for each name: the first by hash are for test and dev."""
    order = sorted(names, key=lambda name: (hashlib.sha256(f"{seed} {kind} {name}".encode()).digest(), name))
    count = len(order)
    sizes = {split: max(1, round(share * count)) if count > 2 else 0 for split, share in SHARES.items()}
    if count == 2:
        sizes["test"] = 1
    found = dict.fromkeys(order, "train")
    for name in order[: sizes["test"]]:
        found[name] = "test"
    for name in order[sizes["test"] : sizes["test"] + sizes["dev"]]:
        found[name] = "dev"
    return found
