"""G-code as clients of Klipper write it, for machines that speak Marlin, and what machines answer.

- `grammar`: lines of a script, as Klipper reads them
- `table`: what a command is, and what its handler may do
- `printing`, `heat`, `motion`, `bed`, `talk`, `upkeep`: the handlers
- `registry`: all commands, and what of them a printer has
- `interpreter`: a script carried out
- `store`: the last things said, and those who are told
- `routes`: the endpoints

Words are ours, but for those that clients compare or take apart, which are facts: ``Must home axis first`` and
``Unknown command:"…"`` (screens offer to home, or show them), ``Klipper state: …``, ``probe: z_offset: …``,
``stepper_z: position_endstop: …`` and ``SAVE_CONFIG`` beside them (offered to be saved), ``Malformed command '…'`` and
``Error on '…': …`` (consoles mark the command), ``SD busy`` and ``Unable to open file`` (slicers' scripts).

Upstream: Klipper's docs/G-Codes.md; specification, 2.2.
"""
