"""Categorical distributions and random numbers."""
