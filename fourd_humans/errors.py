"""Errors that a user can cause and correct: one line that says what is wrong and what to do."""


class FourDHumansError(Exception):
    """A failure with a message for the user. The command line prints it and exits with 1, without a traceback."""


class UsageError(FourDHumansError):
    """The request itself is wrong (an option, a path, a key). The command line exits with 2."""
