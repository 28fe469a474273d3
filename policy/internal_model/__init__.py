"""The hybrid internal model: encoders that estimate, from proprioception alone, what the robot cannot sense."""
