"""What the benchmarks share; nothing here measures anything by itself."""
