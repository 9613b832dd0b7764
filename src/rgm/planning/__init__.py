"""Agents that play: a learned model of a game over time, goals, and plans."""

from rgm.planning.agent import Agent

__all__ = ["Agent"]
