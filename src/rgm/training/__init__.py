"""Training: the loop, its recipes, and run folders."""
