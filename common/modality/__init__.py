"""What a record is: its public schema, and how it becomes a tensor and back."""
