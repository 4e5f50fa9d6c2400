"""A coordinator's folder, programs and hospitals."""
