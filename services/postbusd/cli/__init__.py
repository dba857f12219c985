"""The command line: one file a noun, over the API and the runtime."""
