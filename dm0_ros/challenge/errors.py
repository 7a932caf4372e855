# SPDX-License-Identifier: Apache-2.0
"""What may go wrong between the platform and its client."""

from dm0_ros.errors import Dm0Error


class ChallengeError(Dm0Error):
    """A job, a table or an answer of the platform cannot be used."""


class PayloadError(ChallengeError):
    """An answer of the platform is malformed."""


class ForbiddenPayload(PayloadError):
    """An answer asks for something to be built or called that is no plain data. It was not."""


class Unreachable(ChallengeError):
    """The platform did not answer, or answered that it cannot."""


class Rejected(ChallengeError):
    """The platform answered that the request is wrong."""


class JournalError(ChallengeError):
    """What is on disk of earlier runs does not belong to this one."""
