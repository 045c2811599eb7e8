"""Knowledge distillation: a small encoder learns to have the states, or to name the clusters, of a large one."""

from sottovoce.distillation.run import distill_model

__all__ = ["distill_model"]
