"""The words below the tables of learned pruning in `docs/results.md`: what their numbers say."""

GATES = ""
DPHUBERT = ""
