"""The private discriminator step: who clips, who adds the noise, and how that is made cheap."""

from client.dpsgd.engines import DP_ENGINES, Engine, PlainEngine
from client.dpsgd.module import BookKeepingModule, bag_mean
from client.dpsgd.optimizer import ClippedSumOptimizer, PerUnitOptimizer, PrivateOptimizer

__all__ = [
    "DP_ENGINES",
    "BookKeepingModule",
    "ClippedSumOptimizer",
    "Engine",
    "PerUnitOptimizer",
    "PlainEngine",
    "PrivateOptimizer",
    "bag_mean",
]
