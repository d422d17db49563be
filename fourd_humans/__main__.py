"""``python -m fourd_humans`` is the command ``4dhumans``."""

from fourd_humans.cli import main

if __name__ == "__main__":
    main()
