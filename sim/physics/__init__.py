"""Physics: a robot on the ground as a MuJoCo model, and many of them stepped together."""
