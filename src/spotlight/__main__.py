"""`python -m spotlight`, for launchers such as ``torchrun -m``."""

from spotlight import stopping


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback, also during the imports."""
    stopping.install()
    from spotlight.cli import main as run

    run()


if __name__ == "__main__":
    main()
