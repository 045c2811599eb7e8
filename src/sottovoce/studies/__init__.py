"""Passes over speech that show what is inside a model: collected in chunks, which any number of machines may share."""
