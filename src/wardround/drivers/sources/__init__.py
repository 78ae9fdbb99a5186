"""Data sources: a folder of files in their owners' layout -> one ``Table``. ``listed.SOURCES`` names them all.

Each is a frozen dataclass whose fields are the keys of ``[data]``; ``load(folder, rng)`` reads it. ``inspect.py``
looks at any file or folder without training on it. ``feeds.py``: captures, the live ring and sensors as streams of windows.
"""
