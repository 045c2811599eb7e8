"""The words below the tables of shared layers in `docs/results.md`."""

PRETRAINING = ""
TYING = ""
EXITS = ""
