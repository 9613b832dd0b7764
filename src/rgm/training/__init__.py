"""The loop, its recipes, and the folder that a run leaves."""
