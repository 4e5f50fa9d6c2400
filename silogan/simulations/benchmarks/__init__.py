"""Measurements that anyone can repeat; results are recorded beside them."""
