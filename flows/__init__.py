"""The wiring: configuration, builds, the command line and the Prefect flows."""
