"""Compress: what a gateway sends instead of its update; which codecs are linear and may stand under a secure sum."""
