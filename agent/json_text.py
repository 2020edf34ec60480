"""What msgspec raises of bytes that are no JSON: of a file, of a pod, of an API server, of another program."""

from typing import Final

import msgspec

# text that is not UTF-8 has an exception of its own, and so has what is nested too deep
NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
