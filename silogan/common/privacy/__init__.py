"""The privacy plan and the arithmetic behind it."""
