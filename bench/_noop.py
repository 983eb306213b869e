"""The job that both sides of a bench run; on its own, so that the stock worker imports nothing of ours."""


def noop() -> None:
    """Do nothing."""
