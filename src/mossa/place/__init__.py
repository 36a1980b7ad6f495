"""Which layer does it: readings that take the layers of a tuned model apart, one against its base's."""

from mossa.place.locate import READINGS, Located, locate_update
from mossa.place.stack import Stack

__all__ = ["READINGS", "Located", "Stack", "locate_update"]
