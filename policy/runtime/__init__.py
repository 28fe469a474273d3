"""What a robot's computer runs: an exported policy (ONNX and its card), NumPy and onnxruntime; no torch, no mujoco."""
