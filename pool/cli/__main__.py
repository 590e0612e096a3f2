"""Run the command line as a module."""

from pool.cli.app import main

main()
