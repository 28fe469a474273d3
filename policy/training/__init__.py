"""Training: PPO on Stable-Baselines3's interface, the internal model's learning, checkpoints, several processes."""
