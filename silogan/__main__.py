"""`python -m silogan`."""

from silogan.cli import main

if __name__ == "__main__":
    main()
