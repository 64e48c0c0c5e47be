"""``python -m polyhost`` is `polyhost`."""

from polyhost.cli import main

main()
