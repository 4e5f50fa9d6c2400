"""The narrow door: the only code that turns patients' tensors into something that leaves the hospital.

clip → add up → round to a public grid → add noise on that grid. Read in this order:

patients.py     the door itself: what a hospital's patients can be asked
units.py        who takes part in a sum, in blocks of a fixed shape and a secret order
clip.py         how much one unit can add, whatever weights arrive
dpsgd/          the clipped sum of gradients: norms and sums layer by layer
noisy_sum.py    grid, noise and release, with the proof
noise.py        Gaussian noise rounded exactly onto the grid
randomness.py   where sampling and noise come from

`docs/guarantee.md` states the theorem, its assumptions and the test of each.
"""

from silogan.client.mechanism.patients import Patients, Terms
from silogan.client.mechanism.randomness import Randomness

__all__ = ["Patients", "Randomness", "Terms"]
