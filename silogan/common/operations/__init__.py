"""Long-running programs: supervision, certificates, logs."""
