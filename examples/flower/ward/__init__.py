"""A federation of wardround as a Flower app."""
