"""The clipped sum of gradients of a critic, by book-keeping: `module.py` first, then the rules of its layers."""

from silogan.client.mechanism.dpsgd.module import BookKeepingModule, bag_mean

__all__ = ["BookKeepingModule", "bag_mean"]
