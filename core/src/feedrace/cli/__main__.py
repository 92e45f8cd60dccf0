"""`python -m feedrace.cli`."""

from feedrace.cli import main

main()
