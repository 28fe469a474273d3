"""A policy for other computers: ONNX, and one C99 header."""
