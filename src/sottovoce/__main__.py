"""`python -m sottovoce`, and so `accelerate launch -m sottovoce`."""

from sottovoce.cli import main

main()
