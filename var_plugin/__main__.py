"""`python -m var_plugin` is the command line."""

from var_plugin.cli import main

main()
