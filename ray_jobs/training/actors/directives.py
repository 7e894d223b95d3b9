"""What does the driver ask of the workers, and have they been told?"""

from ray_jobs.training.directive import Directive


class Mailbox:
    """The greatest directive since the workers last looked."""

    def __init__(self) -> None:
        self.directive = Directive.GO

    def put(self, directive: Directive) -> None:
        """Ask for something; nothing takes back STOP."""
        self.directive = max(self.directive, directive)

    def take(self) -> Directive:
        """Return what is asked for, once; STOP from then on."""
        taken = self.directive
        self.directive = Directive.STOP if taken is Directive.STOP else Directive.GO
        return taken

    @property
    def is_stopping(self) -> bool:
        """Is the end asked for?"""
        return self.directive is Directive.STOP
