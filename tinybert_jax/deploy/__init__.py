"""Models written for other programs to run: ONNX, quantised too, and StableHLO."""
