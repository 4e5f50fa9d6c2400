"""What is trained: networks, losses, learning rates."""
