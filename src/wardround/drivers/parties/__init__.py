"""Who takes part in a deployed federation, whatever carries its messages: names, keys, layers 1 and 2 around the machines."""
