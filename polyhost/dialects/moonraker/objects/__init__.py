"""Printer objects: what Klippy would say of a machine, said of one that has never met it.

One module for each group, of pure functions of a `View`.  ``synthesised`` puts them together, ``tree`` keeps since when
each field is as it is, ``source`` is the seam: where a printer's status comes from.

Upstream: docs/printer_objects.md (Moonraker), docs/Status_Reference.md (Klipper); specification, 3.
"""
