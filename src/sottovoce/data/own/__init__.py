"""One's own data: formats of other tools, each read in a file of its own, and made into a manifest."""
