"""Learned pruning: gates on units, the expected cost of a model whose gates are open with some probability, targets."""
