"""Attacks on the guarantee."""
