"""`python -m sottovoce`, and so `accelerate launch -m sottovoce`."""

from sottovoce.start import main

main()
