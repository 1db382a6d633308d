"""The sandbox: child processes that decode untrusted media."""
