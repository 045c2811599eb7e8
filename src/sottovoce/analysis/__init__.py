"""Pure maths on tensors: what layers share, how concepts lie in them, what attention heads do."""
