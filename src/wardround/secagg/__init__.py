"""The server learns a sum, never a summand: the lattice scheme, one file per role."""
