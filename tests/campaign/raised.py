"""What the bodies of wrong programs raise."""


class Boom(Exception):
    """An exception as any other."""


class Gone(BaseException):
    """One that is no Exception."""


class Stuck(Exception):
    """One that is raised with what cannot be pickled."""
