"""`python -m spotlight`, for launchers such as ``torchrun -m``."""

from spotlight.cli import main

main()
