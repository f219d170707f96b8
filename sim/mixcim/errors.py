"""The one exception that a user's mistake raises."""


class MixcimError(Exception):
    """Bad input. The message is one line that names the thing, its value and the remedy.

    The command line prints it and exits with code 2; library users catch it. Anything else that is raised is a bug.
    """
