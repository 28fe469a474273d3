"""Policies that others trained: their observation and action, told by a layout, become ours inside the ONNX graph."""
