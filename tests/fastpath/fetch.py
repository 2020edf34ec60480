"""Downloads what the guests are made of, before two of them want it at once."""

from tests.fastpath import run

if __name__ == "__main__":
    run.fetch()
