"""The one error a user of Spotlight meets."""


class SpotlightError(Exception):
    """Something in the data, the settings or the machine cannot work.

    The message names the file or setting, says what was found and what was expected, and ends with a
    remedy. The command line prints it without a traceback and exits with status 2.
    """
