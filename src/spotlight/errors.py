"""`SpotlightError`, the base class of all errors that users of Spotlight see."""

from spotlight.quoting import shortened


class SpotlightError(Exception):
    """The data, the settings or the machine do not allow what was asked for.

    The message names the file or setting, states what was found and what was expected, and ends with a
    remedy. The command line prints it without a traceback and exits with status 2. Messages of several thousand
    characters are shortened in the middle.

    Examples
    --------
    >>> import spotlight
    >>> try:
    ...     spotlight.read("missing.tif")
    ... except spotlight.SpotlightError as error:
    ...     print("missing.tif" in str(error))
    True
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(shortened(message))
