"""Running models outside PyTorch: the graph that stands for a model, its ONNX file, and sessions that run it."""
