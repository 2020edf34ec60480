"""``python -m dpctl``, for a checkout whose commands are not on PATH."""

from dpctl.app import main

main()
