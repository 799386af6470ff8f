"""What things are: frozen values that every other part passes along. No input or output, no clock."""
