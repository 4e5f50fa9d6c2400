"""Models: networks, losses, learning rates."""
