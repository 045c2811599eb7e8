"""Layers that share their tensors, stacks of drawn depth, and utterances that leave the stack early."""
