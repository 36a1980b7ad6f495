"""Every verb of the command line as one call from Python; what is returned prints as something readable."""


class Text(str):
    """A text of several lines that a notebook shows as lines, and not as one quoted string."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
