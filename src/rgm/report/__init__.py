"""Figures and the page, made from results only."""
