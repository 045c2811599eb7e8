"""The words around the tables of methods in `docs/results.md`."""

HEAD = """
## Methods
"""

COSTS = """
### What methods cost themselves

{costs_about}

The time that a method takes beside the passes over speech that it may need, on a base model of 95 M parameters, over
the time of a forward and backward pass of 10 s of audio, in turns. Factoring all Linears of the layers by SVD took
{factoring} s, once.

{costs}
"""

ORDERS = """
### Layers dropped, nothing trained afterwards

{orders_about}

The score of a fine-tuned model's own head on speech-mini's test split (n = {keywords_n} keywords, {speakers_n}
speakers; ± {keywords_error} and ± {speakers_error} for the whole models) by how many layers are gone, in per cent. The
last column is the most that may go for 95 % of the whole model's score. Guessing is right in about {keywords_guess}
and {speakers_guess} %.

Keywords, `small-melhubert-keywords`:

{orders_keywords}

![Keywords by layers dropped](images/orders-keywords.svg)

Speakers, `small-melhubert-speakers`:

{orders_speakers}

![Speakers by layers dropped](images/orders-speakers.svg)

Paper 1 has keywords only, and models of 95 M parameters and more that keep 95 % without 25 to 42 % of their layers.
What agrees: a layer or two can go for nothing (keywords even gain); neighbours averaged as in the paper's code allow
3 of 12 layers (25 %) on keywords, 8 neighbours as in its text on speakers; on keywords `forward` is as good. What
does not: `backward` falls slowly here, and not at a cliff after two layers, and no similarity gets further than 3:
the layers that change states least are those in the middle, and the fourth of them costs keywords 9 points at once.
Taking from both ends goes furthest on keywords and nowhere on speakers, which the paper does not have. Which
similarity allows a third layer hangs on a few utterances. All cuts of a model, {cuts_keywords} and {cuts_speakers}
different ones, were scored in one pass.
"""

HEALED = """
### Layers dropped one by one, scored anew, healed

{healed_about}

Keywords as above; the layer that turns states least goes, then the rest is scored anew. Healed: {heal} updates of 16
utterances follow each layer.

{healed}

Scoring anew, which the paper does not do, is worth more than any choice of score: the layers that look redundant are
so together, and when one of them is gone the others no longer are. With it, a third of the layers can go at 95 % of
the score and nothing is trained; with healing, half of them.
"""

MIMICS = """
### Mimics

{mimics_about}

`small-melhubert-keywords` and small layers in the place of its stack, on speech-mini's keywords (test split, n = {n}).
Each mimic learned states for {steps} updates and the task for {task_steps} more, of {batch} utterances; the rows
without a teacher have the second part only. "Positional" are those that keep the positional convolution in front, which
the paper takes away. "Time" is over the whole model's, in turns, on one second of audio.

{mimics}

One Transformer layer behind the positional convolution says all but the same as the stack, with nine tenths of its
parameters gone. Without that convolution no mimic here reaches 95 % of the whole model's accuracy. In the paper they
do: there a convolutional front end of 4.6 M pretrained parameters stands before the mimic, here log-mel frames and one
Linear, so that a mimic as published knows nothing of what was before or after a frame.

What agrees with the paper: a second layer and a larger width bring little. What does not: the teacher is worth more
here, by three to seven points, wherever the mimic is weak (in the paper by about one, the noise of the test included);
where the mimic hears its neighbours, the task alone teaches it as much.
"""

CONVEXITY = """
### Cut where a concept is most convex

{cut_about}

`small-melhubert`, cut first and fine-tuned after, against the whole one fine-tuned: {keywords} updates for keywords,
{speakers} for speakers, scored by its own head on speech-mini's test split (n = {keywords_n} and {speakers_n}). "The
paper's cut" keeps 8 layers for words and 2 for speakers, whatever the model; "most convex" cuts behind the layer of
this model where the classes lie most convex. Points are against the whole one; both times are over its, in turns.

{cut}

On keywords the paper's cut costs nothing that could be told from noise, as in the paper (-0.25 points on average), and
saves more time than there. On speakers it costs much, where the paper gains 1.22 points: in its models speakers lie
most convex at the bottom, and in this one they grow more convex almost to the last layer
([analyses](#in-the-teachers)). The rule itself, applied to this model, keeps everything for words and takes one layer
for speakers, and even that one is missed; each row is one training, and trainings of other seeds were not made. Common
cuts are for the models that they were read from.
"""

TRADEOFF = """
### Trade-offs

{tradeoff_about}

The techniques of paper 5 on `small-melhubert`, which has 12 layers of 4 heads and 768 units: small linear heads learn
on the frozen model (the learned sum of its layers; 600 utterances for phones, all for speakers) and are scored on
speech-mini's test split (n = {phones_n} utterances for phones, frames without silence; {speakers_n} for speakers). Each
point goes on from the one above it of the same technique, the first from the whole model; the combination begins with
the six distilled layers. After each cut the model learned {heal} updates on {recordings} recordings, the students
{distil} updates, where the paper has 25 000 and 200 epochs. Pruned weights count as no parameters, but as MACs, for
they are computed. Time is over the whole model's, on 5 s of audio, all in turns.

{tradeoff}

By how many points the combination is above the best that a technique has for no more of a cost, where that is most
("nothing as small": the technique has no point that costs so little); and how many of its points are dominated, which
means that the combination is no worse in the task and in all three costs:

{dominated_phones}

{dominated_speakers}

The combination reaches costs at which each technique alone has less to offer, or nothing. Its smallest model also
dominates both two-layer models on speakers by parameters and by MACs; by time the two layers stay ahead, for what is
narrow is slower than its MACs say.

What agrees with the paper: distillation is better than the first layers as they are, and the best by time until the
combination takes over; half of the weights go for nothing, but zeros save no time at all; MACs, parameters and time
rank the techniques differently. What does not: there, phones gain until half of the heads are gone, and here they lose
slowly, after some tens of updates where the paper has 25 000 a round; and a published summary says that feed-forward
parts matter most for speakers, where here speakers gain, if anything, as units go. Most differences between
neighbouring points are within their intervals, and a base model has more to spare than this one of 192 units.

{pictures}
"""

FACTORED = """
### Low rank and int8

{factored_about}

`small-melhubert-keywords` on speech-mini's keywords (test split, n = {n}), nothing trained afterwards; time in turns,
on two seconds of audio. Shares are of the weights of the layers' Linears.

{factored}

Made for what comes in (128 recordings of the train split), and not for the matrix alone, the same number of weights
keeps far more: at the smallest share two points are lost, where SVD alone is left guessing. Int8 costs nothing here.
"""
