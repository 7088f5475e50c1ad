"""The one error a user of Spotlight meets."""

from spotlight.quoting import shortened


class SpotlightError(Exception):
    """Something in the data, the settings or the machine cannot work.

    The message names the file or setting, says what was found and what was expected, and ends with a
    remedy. The command line prints it without a traceback and exits with status 2. A message of more than some
    thousand characters is cut in its middle.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(shortened(message))
