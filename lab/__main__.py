"""``python -m lab``."""

from lab.app import main

main()
