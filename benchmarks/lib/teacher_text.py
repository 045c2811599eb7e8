"""The words around the tables of the teachers in `docs/results.md`."""

PROBES = """Probes of the bundled teachers ([how they were made](training.md#pretraining)), of the same models with
random weights, and of log-mel features: linear heads on one layer. The test's speakers are held out, except for
`speakers`. Each is shown at its best layer; `±` is half of a 95 % bootstrap interval, `n` the number of test
utterances. Phones are shares of frames; their probes heard whole splits and learnt for {phones} updates, those on
log-mel features, which learn more slowly, for {log_mel_phones} at a higher rate. The phone error rate is of a linear
CTC probe, and less of it is better; these probes heard {pr_heard} utterances and learnt for {pr} updates: enough to
compare layers, not the best that could be had of them. The records have all settings.

What agrees with what is known of large models: on phones and words, log-mel features and random weights lie far below
(but random layers on log-mel features beat these themselves); phones are found best in the upper layers, and bend down
again behind layers 8 to 10; words are found best in the upper layers of `small-melhubert`. What does not: in
`small-hubert` words are found all but as well at the bottom, and in both, speakers are found better in upper layers
than in lower ones, where in large models they fade. These teachers have learnt for hours, not for weeks, and their
units still carry speakers.

{teachers_about}

### On real speech

{teachers_mini}

{gains_mini}

### On synthetic speech

The test voices are not among those that the probes heard, except for `speakers`. The teachers heard nine of the ten
voices of each test in other sentences (those of the task `speakers`). Texts come from the same templates, and "emotion"
is four prosodic styles.

{teachers_espeak}

{gains_espeak}

### Layer by layer

{layers}
"""

FEWER = """In frame errors without silence, the best layers have fewer than log-mel by {longer}.

With the same probe as the teachers' layers log-mel has {same}, and they have fewer errors by {equal}."""

# While a teacher is being trained on, its tables would be out of date when they are done.
NO_PROBES = """The teachers in the package are on their way: their training goes on, and the tables of what each layer
knows (`python benchmarks/teachers.py`) come with its end. What follows is how far it is.
"""

HEADS = """### Fine-tuned heads

{heads_about}

Models that were fine-tuned from `small-melhubert` (`recipes/small-melhubert-*.yaml`) before its last round of
pretraining, as they are loaded from their differences of 8 bits to what it is now, on the test splits, with their own
heads.

{heads}

"""

TEXT = """## The teachers

{probes}
{heads}### Curves

{curves_about}

Masked loss on the dev split, accuracy of the units of hidden frames, and the best layer of a quick phone probe (300
utterances of both corpora, frames without silence), in each round of units. The units of a round are other units, so
losses and unit accuracies compare within a round only; the probe compares across, as far as the rounds have the same
mix of speech: round 3 of both and round 4 of `small-hubert` have half as much of espeak as the others. Seconds of audio
a second are before cropping, with validations and whatever else the machine did.

{curves}

## Throughput of pretraining

{throughput_about}

One update (forward, backward, optimiser) on 12 utterances of 4 s, in turns. Operations are counted by torch; the share
is of the rate of one product of large matrices in the same precision, measured in the same turns.

{throughput}
"""
