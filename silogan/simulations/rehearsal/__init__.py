"""A realistic federation on one machine."""
