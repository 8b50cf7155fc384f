"""The lift in place: f finds the caller's array by itself, and for one run finds a bundle there.

``numerical_gradient(lambda W: net.loss(x, t), net.params["W1"])`` is how a textbook asks: f ignores its argument and
reads the array through objects. f cannot be given a bundle, but the places where it finds the array can hold one. An f
that takes its argument but keeps what it computes, as a method that counts its calls, is run likewise, by either lift.
"""

from .transaction import InPlace, alone

__all__ = ["InPlace", "alone"]
