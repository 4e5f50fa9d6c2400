"""Programs that run on: kept running, certified, logged."""
