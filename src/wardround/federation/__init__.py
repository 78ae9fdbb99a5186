"""The round as state machines, and pipeline.py: the whole path on one screen."""
