"""The guarantee under attack."""
