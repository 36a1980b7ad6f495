"""Which layers matter: readings that compare each layer of a tuned model with its base's."""

from mossa.place.locate import READINGS, Located, locate_update
from mossa.place.stack import Stack

__all__ = ["READINGS", "Located", "Stack", "locate_update"]
