"""Every verb of the command line as one call from Python; what is returned prints as something readable."""
