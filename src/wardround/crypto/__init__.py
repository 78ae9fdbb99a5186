"""Primitives with one meaning each: kem, sign, aead, kdf, ring, sampling, sharing, domain labels."""
