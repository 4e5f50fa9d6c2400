"""Fixed features: maps from records to numbers in which there is no data, whose sums hospitals may release."""
