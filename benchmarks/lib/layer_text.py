"""The words around the tables of analyses in `docs/results.md`."""

TEXT = """## Analysis

### How fast

{speed_about}

{speed}

The other way is the algorithm of the papers' code, written anew for this; both give the same results (the record has
the largest difference, and what each row times).

Similarity is of all pairs of 13 layers, in three metrics, of 128 utterances of 49 frames of 768 numbers; the seconds
are of 1 024 utterances. Paper 1 takes each pair, metric and k by itself. Ours cannot do without reading {megabytes} MB
once and {operations} G operations in products; at one k, paper 1's products are {plain_operations} G, {times} times as
many. So much, and the time of its sorting, is what can be won where both multiply equally fast. The products that
cannot be spared are {share} % of what torch's product of large matrices does in our time. Four times as many utterances
take {growth} times as long.

Graph convexity is of layers of 5 000 points of 35 classes with up to 5 000 pairs each; the seconds are of 25 layers.
The first repository of paper 2 searches once a pair (timed on 8 pairs of every class and scaled to the number of all),
the second once from every point, and makes its graph from a matrix of all pairs of points. Ours searches from both ends
to half the way, and settles some tens of points and not 5 000. The process took {memory} GiB at its highest, most of it
the states that the benchmark makes up and the second repository's paths from everywhere to everywhere.

"""

NO_LAYERS = """### In the teachers

The tables of what `analyze` finds in the teachers (`python benchmarks/layers.py`) come when these are trained.
"""

LAYERS = """### In the teachers

{layers_about}

The papers measured models of 12 and 24 layers and 768 or 1 024 numbers, trained on a thousand hours and more. The
teachers here have 12 layers of 192 and heard some tens of hours; `small-melhubert-keywords` is fine-tuned.

Blocks of states, in the CKA of three readings of speech-mini's test recordings; the gain is beside that of matrices
whose pairs of equal distance are shuffled.

{blocks}

Paper 1 finds two blocks in every model: two thirds to three quarters of the layers, and the last four or five. So
does this in `small-hubert` and in the model that is fine-tuned, in all three readings; of `small-hubert` flattened and
in means it may be chance. In `small-melhubert` before fine-tuning all states but the first
one to four and the last are one block, which may be chance in all readings but the flattened one.

The four layers that change their input least, the first one left out, flattened as in the paper:

{influence}

As in paper 1 these are layers of the lower middle by cosine; of the four, neighbours name two again in the pretrained
models, and three in the one that is fine-tuned.

Graph convexity, mean over classes, at the state where it is highest:

{peaks}

What agrees with paper 2: words lie more convex the higher the layer; after fine-tuning for words they are all but
perfectly convex from the middle on, and speakers become less convex towards the end. What does not: the paper's
pretrained models have words at their most convex in the upper third and lose a little behind it, and speakers at
their most convex in layers 2 to 4 and lose them above; in these teachers both rise to the end, as the probes above
also say. Why is open: the teachers heard a few hundred speakers and not thousands, and far less of each. Phones are
means over their frames, emotions and intents have few utterances: their curves say little.

Spearman's rank correlation of patterns with importance, over all heads:

{relations}

Paper 5 says that diagonal heads are the important ones. By the size of weights this is so here; by the effect on the
loss of a fine-tuned model, hardly.

{pictures}
"""
