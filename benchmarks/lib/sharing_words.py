"""The words below the tables of shared layers in `docs/results.md`."""

PRETRAINING = """
**Parameters**: one layer in place of twelve leaves 7.5 times fewer, which is all that the shape allows.

**Training time**: behind the first update, the drawn depth takes 119 s (mean of three seeds) where separate layers
take 196 s and one layer at all steps 218 s: 39 % and 45 % less, which is what the ceiling below allows (the machine
did other work meanwhile, and processor time varies by some percent so). What goes before the first update saves
nothing, so the whole pretraining is 26 % shorter than that of separate layers.

**Scores**: with this few updates, depth teaches little. States that enter the first layer already have all but two and
a half points of what any depth has in phones, and keywords are no better behind the layers than before them. One shared
layer is a tie with separate ones behind few steps; behind all twelve the separate ones lead by 0.9 to 1.8 points of
phones, in each seed. A drawn depth is a tie with all steps for one layer.

**Shallow inference**: phones behind 3 steps of the model with a drawn depth are what they are behind 12, or a little
more, in all three seeds. A pass of 6 steps takes little more than half of the time of 12, so the wish of 35 % less time
within 2 % of the score is met with room. It says little for the method: with one layer and all steps, and with separate
layers, 6 steps lose no more than 2 % either.

**Consistency**: the training makes depths less alike, in each of the three; most alike they stay where the depth is
drawn (CKA), as the name of the paper has it.

The phone error rates are of heads that have hardly begun to learn; they tell nothing of the models.
"""
TYING = """
**Not shown here**: at equal parameters, sharing layers is a tie with dropping them where one or two are left, and 1.1
to 1.4 points behind where 3, 4 or 6 are; at equal time there is no contest, for shared layers still run twelve times.
Norms and differences of their own, which bring the quality back elsewhere, change nothing beyond the intervals. The
healing is short (120 updates), and the numbers are of one seed: what longer training would give back is not known.
"""
EXITS = """
**Shallow inference**: 6 of the 12 steps take 41 % less time and keep 89.4 of 90.9 %, within 2 % of the score of the
whole and within its interval; at 4 steps 57 % of the time goes and 3.5 points.

**Exits are no better than fixed depths**: at equal mean numbers of steps their scores lie on the curve of the fixed
ones, within the intervals, and each comparison of states costs time, so at equal time they are behind. What an
utterance needs seems to differ little here: most gain from the same few steps. One model, one seed.
"""
