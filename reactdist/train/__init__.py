"""Training: the loop, the DeepSpeed engine and the Ray Train adapter."""
