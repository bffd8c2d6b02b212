"""The contracts between receiver, workers and everybody else: pure data, no IO but the settings reader."""
