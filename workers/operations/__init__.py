"""What an operator asks and does: every verb of the command line is a function in here, so that a console can call the same."""
