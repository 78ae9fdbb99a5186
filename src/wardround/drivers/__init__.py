"""The only rooms with doors to the outside."""
