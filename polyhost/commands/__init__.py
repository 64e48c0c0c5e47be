"""What `polyhost` does on the command line, one module per noun.

Modules here import nothing heavy at the top: `polyhost --help` loads them all and has 0.3 s.  What talks to a running
host goes through `client` and the native API; `serve`, `demo`, `init` and `doctor` work without one.
"""
