"""The words around the tables of analyses in `docs/results.md`."""

TEXT = """## Analysis

### How fast

{speed_about}

{speed}

Similarity is of all pairs of 13 layers, in three metrics, of 128 utterances of 49 frames of 768 numbers; the seconds
are of 1 024 utterances. The plain way takes each pair by itself; both agree (the record has the largest difference).
Four times as many utterances take {growth} times as long. The products of matrices that it cannot do without are
{share} % of what the processor could do in the time: the rest is reading 250 MB of states for cosines and means.

Graph convexity is of layers of 5 000 points of 35 classes with up to 5 000 pairs each; the seconds are of 25 layers.
The plain way is one search a pair, timed on 8 pairs of every class and scaled to the number of all. The process took
{memory} GiB at its highest, most of it the states that the benchmark makes up.

"""

NO_LAYERS = """### In the teachers

The tables of what `analyze` finds in the teachers (`python benchmarks/layers.py`) come when these are trained.
"""

LAYERS = """### In the teachers

{layers_about}

Blocks of states, in the CKA of three readings of speech-mini's test recordings; the gain is beside that of matrices
whose pairs of equal distance are shuffled.

{blocks}

The four layers that change their input least, the first one left out, flattened as in the paper:

{influence}

Graph convexity, mean over classes, at the state where it is highest:

{peaks}

Spearman's rank correlation of patterns with importance, over all heads:

{relations}

{pictures}
"""
