"""G-code as clients of Klipper write it, for machines that speak Marlin, and what machines answer.

- `grammar`: lines of a script, as Klipper reads them
- `table`: what a command is, and what its handler may do
- `printing`, `heat`, `motion`, `bed`, `talk`, `upkeep`: the handlers
- `registry`: all commands, and what of them a printer has
- `interpreter`: a script carried out
- `store`: the last things said, and those who are told
- `routes`: the endpoints

Upstream: Klipper's docs/G-Codes.md; specification, 2.2.
"""
