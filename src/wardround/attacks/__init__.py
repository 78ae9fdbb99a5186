"""Adversaries, for evaluation only; only the simulation driver may import this room."""
