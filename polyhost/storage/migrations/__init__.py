"""Numbered steps of the schema, as ``NNNN_name.sql``; each is run once, in order, by `storage.schema`."""
