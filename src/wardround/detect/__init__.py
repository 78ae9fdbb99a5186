"""Scorer, threshold, explanation, alert."""
