"""`python -m fouriscale` is the `fouriscale` command."""

from .cli import main

main()
