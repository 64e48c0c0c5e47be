"""The HTTP kit under every dialect: routes, the guard, bodies, uploads, downloads, the listening sockets.

A plain ASGI application, so that a status request costs no more than finding its route and sending bytes that
may already be encoded.  It knows no dialect.  Bounds and doors are those of ``docs/ARCHITECTURE.md``.
"""
