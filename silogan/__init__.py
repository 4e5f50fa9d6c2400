"""SiloGAN: private, federated training of generators of medical images and patient records."""

import os

# Flower phones home and looks for updates unless it is told not to before it is imported.
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
# Threads that spin while they wait cost minutes where another program wants the processor too. Some microseconds of it
# cost nothing, and spare most of the waking.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

__version__ = "0.1.0"
