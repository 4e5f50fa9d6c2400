"""The release of a finished run: examined, exported as one signed file, and verified."""
