"""The one exception type whose message is written for the person at the keyboard."""


class LunarError(Exception):
    """Something the user can mend. The message names the file, field or device and the remedy, in one sentence.

    The command line prints it without a traceback and exits with status 2.
    """
