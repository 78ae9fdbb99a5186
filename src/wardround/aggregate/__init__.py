"""Rows in, one vector out: robust rules and server optimisers."""
