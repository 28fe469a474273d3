"""What one does with a log: look at it, compute it again, publish it, simulate it again, learn from it."""
