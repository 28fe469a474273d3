"""Policies: training with PPO, evaluation, export, and the runtime that a robot's computer loads."""
