"""One hospital: its data, its private training, its ledger."""
