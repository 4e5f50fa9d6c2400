"""What synthetic records are worth."""
