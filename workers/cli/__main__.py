"""`python -m workers.cli` is `muster`."""

from workers.cli import main

main(prog_name="muster")
