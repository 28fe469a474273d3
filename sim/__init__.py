"""Lunar worlds: robots, terrain, physics, and the reinforcement-learning environments made of them."""
