"""What sottovoce does, on this machine and without a network."""

from pathlib import Path

import transformers
from rich.console import Console

from sottovoce.cost import cost_of_two
from sottovoce.errors import SottovoceError
from sottovoce.methods import drop_layers
from sottovoce.models.checkpoint import quiet
from sottovoce.models.hub import load, new, save
from sottovoce.tables import cost_table, summary_table


def run_demo(folder: Path, console: Console, *, seconds: float = 5.0) -> None:
    """Cost a base-sized HuBERT, drop a half of its layers, save, load with plain Hugging Face code, compare.

    Example:
        >>> run_demo(Path("sottovoce-demo"), Console())
    """
    console.print(f"A HuBERT of the base shape with random weights (seed 0), and {seconds:g} s of audio.\n")
    model = new("hubert-base")
    small = drop_layers(model, keep=6)
    target = save(small, folder / "hubert-6-layers")
    with quiet():
        plain = transformers.AutoModel.from_pretrained(target)
    if sum(p.numel() for p in plain.parameters()) != sum(p.numel() for p in small.parameters()):
        raise SottovoceError(f"{target} came back from AutoModel with other tensors; please report it.")
    before, after = cost_of_two(model, load(target), seconds=seconds, repeats=5)
    console.print(cost_table("hubert-base", before))
    console.print(summary_table(["12 layers", "6 layers"], [before, after]))
    saved = {metric: 1 - after[metric] / before[metric] for metric in ("parameters", "macs", "latency")}
    front = sum(value for where, value in before.parts("macs").items() if where[0] == "front_end") / before["macs"]
    console.print(
        f"\nHalf of the layers are gone, and with them {saved['parameters']:.0%} of the parameters, "
        f"{saved['macs']:.0%} of the multiply-accumulates and {saved['latency']:.0%} of the time; "
        f"the front end, which stays, has {front:.0%} of the multiply-accumulates."
    )
    console.print(f"{target} loads with plain transformers.AutoModel.from_pretrained.", soft_wrap=True)
