"""The words below the tables of learned pruning in `docs/results.md`; their numbers are read from the records."""

GATES = """
All units together keep {least} at {smaller}, which the layers alone cannot reach. At {small} they keep {joint} and the
layers alone {alone} (one seed each); with some 45 % of the operations gone there is no difference beyond the spread.
So joint pruning is ahead at equal operations, as in the paper, but only where much goes. Targets of size leave the
convolutions nearly whole, which have few parameters and a third of the operations: also as in the paper.

That a target in time is ahead of one in operations at equal time is **refuted** here, all in all. Down to half of the
time the curve of operations is up to a point higher, which is less than the spread over seeds: a tie. At 40 % of the
time the target in time is ahead ({fast_time} against {fast_macs} on the line between two points), and this too lies
within the intervals. For phones both lie on one curve. The reason: on this machine and for these shapes time follows
operations closely (rank correlation {follows} over all models in the table), so that both targets ask for nearly the
same; and what is known of time is a model with an error, while operations are exact. A target in time is of use where
a wish is in milliseconds: it is met without a search.

Gates held to their targets because the multiplier of the squared gap began at 100 (`gates.stiffness`). From 0, as
published for tens of thousands of updates, they ended ten points beyond or before them, and what was then opened or
closed unlearned cost more accuracy than any kind of target.
"""

DPHUBERT = """
DPHuBERT is far ahead of its own shape from scratch, in all three probes and beyond every interval: what it keeps are
weights, and not only a shape. Against the lowest two layers it is ahead in keywords with both seeds, by about the
interval of one; in speakers within it; in phones it is a tie. That it is ahead of one-shot pruning is **not** shown:
heads and units that go at once by Taylor scores, healed for as many updates, end where learned gates do. The reason may
be the budget: the gates have {first} updates to choose in, of which half pass before the target is where it ends, and
the Taylor model learns in its final shape from the first. DPHuBERT itself has 50 000 and 25 000.
"""
