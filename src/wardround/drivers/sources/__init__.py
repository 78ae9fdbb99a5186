"""Data sets and traffic as their owners publish them -> Table."""
