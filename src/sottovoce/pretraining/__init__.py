"""Pretraining by masked prediction of units, as HuBERT and MelHuBERT do it."""

from sottovoce.pretraining.run import pretrain_model

__all__ = ["pretrain_model"]
