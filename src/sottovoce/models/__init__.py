"""Models: loading, editing, saving, and what they look like inside."""
