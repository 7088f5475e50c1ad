"""`python -m spotlight`, for launchers such as ``torchrun -m``."""

from spotlight import stopping


def main() -> None:
    """Run the command line; Ctrl-C is quiet from here on, while all else is still being imported."""
    stopping.install()
    from spotlight.cli import main as run

    run()


if __name__ == "__main__":
    main()
