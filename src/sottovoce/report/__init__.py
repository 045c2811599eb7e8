"""Pages: what a run found, as one HTML file that needs nothing else."""
