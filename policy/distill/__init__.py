"""Distillation: the loss core, which positions and cells to learn from, and students for small computers."""
