"""Models, local training (one client or a whole stack at once), metrics, the model bundle's bytes."""
